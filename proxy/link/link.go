package link

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// link is one server link: the peer's connection, the ircd's, and what is between them. All is its loop's (run), but for info.
type link struct {
	port    *port
	conf    config.Link // as it was when the link came up
	backend string      // "pool/name"
	from    string      // the peer's address
	log     *slog.Logger
	asks    chan ask
	over    chan struct{}

	state      State
	since      time.Time // of the state
	held       time.Time // since when a move holds it
	peer, ircd *side     // ircd: nil while there is none, from the cut until Replay or Resume
	us         intro     // the ircd, as the peer knows it
	kept       kept
	memory     memory // of the peer
	own        memory // of the ircd, as the peer knows it
	late       *time.Timer
	fence      fence
	number     uint32 // names it for the keeper
	guard      guard
	relives    bool // it hears what it has heard before, in another process

	// While a move holds it.
	holder *Held
	waiter func(error) // who waits for the next step; see answer
	old    *side       // the process of before, from the cut until Part or Resume
	paused bool        // the ircd is not read, because it has said a marker
	marked string      // of which transaction
	wanted string      // of which one is waited for
	to     string      // the backend of the replay
	fresh  memory      // own, of the process that the link is replayed into
	stop   func()      // ends the walk through the burst
	lost   error       // why the last replay is no more
	left   error       // why the peer is gone
	cause  Cause       // of giving it up

	mu   sync.Mutex
	info Info
}

// newLink makes the link of two connections, which stand. run is its loop.
func newLink(p *port, conf config.Link, backend, from string, peer, ircd *side) *link {
	l := &link{port: p, conf: conf, backend: backend, from: from, peer: peer, ircd: ircd, since: time.Now(),
		log: p.set.log.With("link", conf.Name, "backend", backend), asks: make(chan ask), over: make(chan struct{}), late: time.NewTimer(fenceTime)}
	l.late.Stop()
	l.publish()
	return l
}

// run carries the link to its end. Nothing in it blocks but the wait for what comes next.
func (l *link) run() {
	defer close(l.over)
	defer l.forgetGuard()
	l.begin()
	for l.state != Down {
		select {
		case b, ok := <-l.fromPeer():
			l.peerSaid(b, ok)
		case b, ok := <-l.fromIrcd():
			l.ircdSaid(b, ok)
		case <-l.peer.room():
		case <-l.ircdRoom():
		case <-l.late.C:
			l.tooLate()
		case a := <-l.asks:
			a.f()
			l.turned()
			close(a.done)
			continue
		}
		l.turned()
	}
}

// begin works off what has come inside TLS with the end of its handshake, and lets both sides go on.
func (l *link) begin() {
	if l.state == Flushing {
		l.late.Reset(fenceTime)
	}
	for _, said := range [...]struct {
		by   *side
		hear func([]byte)
	}{{l.peer, l.hearPeer}, {l.ircd, l.hearIrcd}} {
		if said.by.tls != nil && !said.by.ended && l.state != Down {
			said.hear(nil)
			l.flush()
		}
	}
	if l.goes() && l.port.set.keeper != nil {
		l.protect()
	}
	l.publish()
	l.peer.goOn()
	l.ircd.goOn()
}

// turned is the end of each turn of the loop.
func (l *link) turned() {
	if l.guard.on && !l.goes() {
		l.unprotect() // before anything is said that no journal has
	}
	l.flush()
	if !l.guard.on && !l.guard.lost && l.goes() && l.port.set.keeper != nil {
		l.peer.stand()
		l.ircd.stand()
		l.protect()
		l.peer.goOn()
		l.ircd.goOn()
	}
	l.publish()
}

// ask is what somebody else wants of the loop; done is closed when it was carried out and others can see it.
type ask struct {
	f    func()
	done chan struct{}
}

// do lets the loop carry out f, and reports whether it did. It is for other goroutines.
func (l *link) do(ctx context.Context, f func()) error {
	a := ask{f, make(chan struct{})}
	select {
	case l.asks <- a:
		<-a.done
		return nil
	case <-l.over:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fromPeer is where the next bytes of the peer come from, or nil as long as none are to be read.
func (l *link) fromPeer() <-chan []byte {
	if l.peer.ended || l.passing() && l.ircd.full() || l.state == Flushing && l.kept.size > int64(l.conf.Hold) {
		return nil
	}
	return l.peer.received()
}

// fromIrcd is the same of the ircd.
func (l *link) fromIrcd() <-chan []byte {
	dropped := l.state == Replaying || l.state == Swallowing
	if l.ircd == nil || l.ircd.ended || l.paused || l.peer.full() && !dropped {
		return nil
	}
	return l.ircd.received()
}

func (l *link) ircdRoom() <-chan struct{} {
	if l.ircd == nil {
		return nil
	}
	return l.ircd.room()
}

// passing reports whether what the peer says goes to the ircd as it comes.
func (l *link) passing() bool { return l.state == Linking || l.state == Raw }

// flush gives to the kernel what this turn has gathered.
func (l *link) flush() {
	l.peer.flush()
	if l.ircd != nil {
		l.ircd.flush()
	}
}

// peerSaid works off what the peer has said; ok is false at its end.
func (l *link) peerSaid(b []byte, ok bool) {
	if !ok {
		l.peer.over()
		l.peerEnded()
		return
	}
	defer l.peer.took()
	l.note(sidePeer, b)
	l.hearPeer(b)
}

func (l *link) hearPeer(b []byte) {
	l.peer.last = !l.peer.take(b)
	for l.state != Down {
		line, ok := l.peer.line()
		if !ok {
			break
		}
		if len(line) > maxLine {
			l.end(EndLine, errLongLine("the peer"))
			return
		}
		l.peerLine(line)
	}
	if l.state != Down && l.peer.tooLong() {
		l.end(EndLine, errLongLine("the peer"))
	}
	if l.state != Down && l.peer.last {
		l.peer.over()
		l.peerEnded()
	}
}

// ircdSaid is the same for the ircd.
func (l *link) ircdSaid(b []byte, ok bool) {
	if !ok {
		l.ircd.over()
		l.ircdEnded()
		return
	}
	defer l.ircd.took()
	l.note(sideIrcd, b)
	l.hearIrcd(b)
}

func (l *link) hearIrcd(b []byte) {
	l.ircd.last = !l.ircd.take(b)
	l.work()
}

// work works off the whole lines of the ircd, up to a marker, and its end behind the last one.
func (l *link) work() {
	for l.state != Down && l.ircd != nil && !l.paused {
		line, ok := l.ircd.line()
		switch {
		case ok && len(line) <= maxLine:
			l.ircdLine(line)
		case ok || l.ircd.tooLong():
			l.end(EndLine, errLongLine("the ircd"))
		case l.ircd.last && !l.ircd.ended:
			l.ircd.over()
			l.ircdEnded()
		default:
			return
		}
	}
}

func errLongLine(who string) error {
	return fmt.Errorf("%s said a line of more than %d bytes, which no server protocol has that we know", who, maxLine)
}

func (l *link) peerLine(line []byte) {
	m := parse(line)
	if !l.peer.who.burst {
		l.peer.who.hear(m)
		if l.misnamed() {
			return
		}
		l.linked()
	}
	l.memory.note(m, line)
	switch {
	case l.passing():
		l.ircd.pass(line)
	case !l.ponged(line):
		l.keep(line)
	}
}

func (l *link) ircdLine(line []byte) {
	m := parse(line)
	if l.answered(m) {
		return
	}
	if tx, ok := l.dialect().marker(m); ok {
		l.mark(tx)
		return
	}
	switch l.state {
	case Replaying, Swallowing:
		l.swallow(m, line)
		return
	case Holding, Flushing:
		if pong, ok := l.dialect().ircdPong(m); ok { // the peer's own would stand behind all that is kept
			l.ircd.pass([]byte(pong))
			return
		}
	}
	l.peer.pass(line)
	l.us.hear(m)
	if m.from(l.us.sid) {
		l.own.note(m, line)
	}
	l.linked()
}

// dialect is how this link is spoken, as far as both have introduced themselves.
func (l *link) dialect() dialect {
	return dialect{proto: l.peer.who.proto, peer: l.peer.who.sid, ircd: l.us.sid}
}

// enter changes the state.
func (l *link) enter(s State) { l.state, l.since = s, time.Now() }

// misnamed ends a link whose peer is another one than the configuration says, before the ircd hears of it: by the name a move would ask for it.
func (l *link) misnamed() bool {
	name := l.peer.who.name
	if name == "" || strings.EqualFold(name, l.conf.Name) {
		return false
	}
	l.end(EndName, fmt.Errorf("the peer at links %s calls itself %q; give it that name in links, or a link of its own", l.conf.Name, name))
	return true
}

// linked makes the link raw when both bursts are over.
func (l *link) linked() {
	if l.state != Linking || !l.peer.who.burst || !l.us.burst {
		return
	}
	l.log.Info("link up", "peer", l.peer.who.sid, "ircd", l.us.name, "proto", l.peer.who.proto, "after", time.Since(l.since).Round(time.Millisecond))
	if !holdable(l.peer.who.proto) {
		l.log.Warn("the peer's server protocol is none that can be held: a move would split it", "proto", l.peer.who.proto)
	}
	l.notice("up", fmt.Sprintf("%s, protocol %d, with %s", l.peer.who.sid, l.peer.who.proto, l.backend))
	l.enter(Raw)
}

// peerEnded is the end of what the peer says.
func (l *link) peerEnded() {
	switch {
	case l.passing():
		l.end(EndPeer, l.peer.err())
	case l.state.held():
		err := errLeft
		if cause := l.peer.err(); cause != nil {
			err = fmt.Errorf("%w: %w", errLeft, cause)
		}
		l.leave(err)
	}
}

// ircdEnded is the end of what the ircd says.
func (l *link) ircdEnded() {
	switch l.state {
	case Replaying, Swallowing:
		l.replayEnded()
	default:
		l.end(EndIrcd, l.ircd.err())
	}
}

// end closes all sides, each behind what it was to be told, half a line of the other one included.
func (l *link) end(why End, err error) {
	if why == EndPeer && l.passing() {
		l.ircd.pass(l.peer.buf)
	}
	if why == EndIrcd {
		l.peer.pass(l.ircd.buf)
	}
	up := l.state != Linking
	l.flush()
	if l.holder != nil {
		if err == nil {
			err = fmt.Errorf("%w (%s)", errEnded, why)
		}
		l.holder.over(l, err, true)
		l.holder = nil
	}
	l.port.set.ended(l, why, err, up)
	for _, s := range []*side{l.peer, l.ircd, l.old} {
		if s != nil {
			s.finish()
		}
	}
	l.endPlay()
	l.late.Stop()
	l.enter(Down)
	l.answer(errEnded)
}
