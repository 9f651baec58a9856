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
