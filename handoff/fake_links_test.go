package handoff

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// fakeServer is an ircd's end of one server link, and what the ircd has written to it: lines as words. "burst" and "ours" are what no peer may
// ever see of a new process, "marker TX" what it may not see at all, "chat" is for it.
type fakeServer struct {
	link protocol.LinkSelection
	ircd *fakeIrcd
	in   int // epoch
	out  []string
	open bool
}

// linkLocked is a server link that is up in this process.
func (i *fakeIrcd) linkLocked(l protocol.LinkSelection, out ...string) *fakeServer {
	s := &fakeServer{link: l, ircd: i, in: i.epoch, out: out, open: true}
	i.servers[l.Name] = s
	return s
}

func (s *fakeServer) endedLocked() bool { return !s.open || s.ircd.dead || s.ircd.epoch != s.in }

// close is the proxy's close.
func (s *fakeServer) close() {
	if s == nil {
		return
	}
	s.ircd.mu.Lock()
	defer s.ircd.mu.Unlock()
	if !s.endedLocked() {
		delete(s.ircd.servers, s.link.Name)
	}
	s.open = false
}

// after is what was written behind a marker; ok false: it was not.
func (s *fakeServer) after(tx string, from int) (before, behind []string, ok bool) {
	s.ircd.mu.Lock()
	defer s.ircd.mu.Unlock()
	at := slices.Index(s.out[from:], "marker "+tx)
	if at < 0 {
		return nil, nil, false
	}
	return slices.Clone(s.out[from : from+at]), slices.Clone(s.out[from+at+1:]), true
}

// fakePeer is one server at the other end of a held link.
type fakePeer struct {
	backend.Link
	got   []string
	up    *fakeServer // what its connection is passed to
	next  *fakeServer // replayed
	tx    string      // whose marker ends the silence
	read  int         // of up.out
	cause error       // it was given up
	raw   bool
	ended int // how often it got an outcome in this move
}

// fakeLinks is those who hold the links, as strict as their contract.
type fakeLinks struct {
	mu     sync.Mutex
	peers  []*fakePeer
	barred bool
	held   *fakeHeld
	ircd   func(backendName string) *fakeIrcd
	turn   chan struct{}
	before func(call string)             // may hang, or sleep
	fails  func(call, link string) error // Hold, Cut, Replay
	late   bool                          // Hold is done also when its time is over
	wrong  []string                      // calls that the contract forbids
	quits  []backend.Quit                // of the last Live
	splits []string                      // told at the last Live
}

type fakeHeld struct {
	l                  *fakeLinks
	backend, source    string // source: tx of the cut
	cut, parted, ended bool
	resumed, live      bool
	since              time.Time
}

// called is the one thread of this proxy: what comes later waits for what hangs.
func (l *fakeLinks) called(call string) {
	l.turn <- struct{}{}
	if l.before != nil {
		l.before(call)
	}
	<-l.turn
}

func (l *fakeLinks) fail(call, link string) error {
	if l.fails == nil {
		return nil
	}
	return l.fails(call, link)
}

func (l *fakeLinks) misuse(format string, args ...any) {
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

func (l *fakeLinks) Of(name string) (links []backend.Link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.peers {
		if p.Backend == name && p.raw && p.cause == nil {
			links = append(links, p.Link)
		}
	}
	return links
}

func (l *fakeLinks) Hold(ctx context.Context, name string) (HeldLinks, error) {
	l.called("Hold")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.barred {
		l.misuse("Hold before the End of another")
	}
	h := &fakeHeld{l: l, backend: name, since: time.Now()}
	for _, p := range l.peers {
		if p.Backend != name || !p.raw {
			continue
		}
		p.up.ircd.mu.Lock()
		gone := p.up.endedLocked()
		p.up.ircd.mu.Unlock()
		err := l.fail("Hold", p.Name)
		if gone {
			err = errors.New("no fence from the ircd")
		}
		if ctx.Err() != nil && !l.late {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	for _, p := range l.peers {
		if p.Backend == name && p.raw {
			p.raw, p.ended = false, 0
		}
	}
	l.barred, l.held = true, h
	return h, nil
}

// each walks the peers of the move that are not given up.
func (h *fakeHeld) each(f func(*fakePeer)) {
	for _, p := range h.l.peers {
		if !p.raw && p.cause == nil {
			f(p)
		}
	}
}

// enter is the begin of a call, whose end the caller calls. One that nobody waits for any more may come behind the end.
func (h *fakeHeld) enter(call string) func() {
	begin := time.Now()
	h.l.called(call)
	h.l.mu.Lock()
	if h.ended && time.Since(begin) < linkTime {
		h.l.misuse("%s behind the end", call)
	}
	return h.l.mu.Unlock
}

func (h *fakeHeld) Links() (links []backend.Link) {
	defer h.enter("Links")()
	h.each(func(p *fakePeer) { links = append(links, p.Link) })
	return links
}

func (h *fakeHeld) Cut(ctx context.Context, tx string) error {
	defer h.enter("Cut")()
	if h.cut {
		h.l.misuse("cut twice")
	}
	h.cut, h.source = true, tx
	var failed error
	h.each(func(p *fakePeer) {
		before, _, ok := p.up.after(tx, p.read)
		if err := h.l.fail("Cut", p.Name); err != nil || !ok || ctx.Err() != nil {
			failed = fmt.Errorf("%s: no marker (%w)", p.Name, errors.Join(err, ctx.Err()))
			return
		}
		p.got, p.read = append(p.got, before...), p.read+len(before)+1
	})
	return failed
}

func (h *fakeHeld) Resume() {
	defer h.enter("Resume")()
	if h.parted {
		h.l.misuse("Resume behind Part")
	}
	h.resumed = true
	h.each(func(p *fakePeer) {
		p.next.close()
		p.next, p.raw, p.ended = nil, true, p.ended+1
		p.pass()
	})
}

// pass gives the peer what its ircd has written, but for markers of moves that were undone.
func (p *fakePeer) pass() {
	p.up.ircd.mu.Lock()
	defer p.up.ircd.mu.Unlock()
	for ; p.read < len(p.up.out); p.read++ {
		if word := p.up.out[p.read]; !strings.HasPrefix(word, "marker ") {
			p.got = append(p.got, word)
		}
	}
}

func (h *fakeHeld) Part() {
	defer h.enter("Part")()
	h.parted = true
	h.each(func(p *fakePeer) {
		p.up.ircd.mu.Lock()
		lives := !p.up.ircd.dead && p.up.ircd.epoch == p.up.in && p.up.ircd.source[h.source] != protocol.SourceReleased
		p.up.ircd.mu.Unlock()
		if lives {
			h.l.misuse("Part of %s before its ircd has let its users go", p.Name)
		}
		p.up.close()
	})
}

func (h *fakeHeld) Replay(ctx context.Context, r backend.Replay) error {
	defer h.enter("Replay")()
	var p *fakePeer
	h.each(func(q *fakePeer) {
		if q.Name == r.Link {
			p = q
		}
	})
	lines := slices.Collect(r.Burst)
	switch {
	case p == nil:
		h.l.misuse("Replay of %s, which is not held", r.Link)
		return errors.New("not held")
	case !h.cut:
		h.l.misuse("Replay before Cut")
	case p.next != nil:
		h.l.misuse("Replay of %s, which is played already", r.Link)
	case len(lines) != 2 || lines[0] != "server "+p.Name:
		h.l.misuse("Replay of %s with the burst %q", r.Link, lines)
	case string(r.Open) != "open "+p.Name+" "+r.Tx+"\n" || string(r.Close) != "close\n":
		h.l.misuse("Replay of %s with another greeting: %q", r.Link, r.Open)
	}
	if err := h.l.fail("Replay", p.Name); err != nil {
		return err
	}
	i := h.l.ircd(r.To)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.timersLocked()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case i.dead || i.hidden:
		return errLost
	case i.servers[p.Name] != nil:
		return errors.New("server is linked already")
	}
	if im := i.imports; im == nil || !im.links || im.tx != r.Tx {
		return errors.New("the import was aborted")
	}
	p.next, p.tx = i.linkLocked(protocol.LinkSelection{Name: p.Name, SID: p.SID, Proto: p.Proto}, "burst"), r.Tx
	return nil
}

func (h *fakeHeld) Unplay() {
	defer h.enter("Unplay")()
	h.each(func(p *fakePeer) {
		p.next.close()
		p.next = nil
	})
}

func (h *fakeHeld) Live(ctx context.Context, quits []backend.Quit) []backend.LinkEnd {
	h.l.called("Live")
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if !h.parted {
		h.l.misuse("Live before Part")
	}
	h.live, h.l.quits, h.l.splits = true, quits, nil
	for _, p := range h.l.peers {
		if p.cause != nil && !p.raw {
			h.l.splits = append(h.l.splits, p.Name)
		}
	}
	h.each(func(p *fakePeer) {
		if p.next == nil {
			p.giveUp(errors.New("it was not played"))
			return
		}
		if !p.next.committed(p.tx) {
			h.l.misuse("%s is to go live in a process that has not committed it", p.Name)
		}
		before, behind, ok := p.next.after(p.tx, 0)
		if err := h.l.fail("Live", p.Name); err != nil || !ok || slices.Contains(before, "chat") {
			p.giveUp(errors.Join(errors.New("no second marker"), err))
			return
		}
		p.got = append(p.got, behind...)
		p.up, p.next, p.read, p.raw, p.ended = p.next, nil, len(before)+1+len(behind), true, p.ended+1
		p.Backend = h.l.nameOf(p.up.ircd)
	})
	return h.endsLocked()
}

// committed reports whether the ircd's process has committed the transaction, or has ended.
func (s *fakeServer) committed(tx string) bool {
	s.ircd.mu.Lock()
	defer s.ircd.mu.Unlock()
	return s.ircd.dest[tx] == protocol.DestCommitted || s.endedLocked()
}

func (l *fakeLinks) nameOf(i *fakeIrcd) string {
	for _, name := range []string{"main/a", "main/b"} {
		if l.ircd(name) == i {
			return name
		}
	}
	return ""
}

func (p *fakePeer) giveUp(cause error) {
	p.up.close()
	p.next.close()
	p.next, p.cause, p.ended = nil, cause, p.ended+1
}

func (h *fakeHeld) GiveUp(name string, cause error) {
	defer h.enter("GiveUp")()
	if cause == nil {
		h.l.misuse("%s is given up without a cause", name)
	}
	h.each(func(p *fakePeer) {
		if p.Name == name {
			p.giveUp(cause)
		}
	})
}

func (h *fakeHeld) endsLocked() (ends []backend.LinkEnd) {
	for _, p := range h.l.peers {
		ends = append(ends, backend.LinkEnd{Link: p.Link, Cause: p.cause, Away: time.Since(h.since), Kept: 7})
	}
	return ends
}

func (h *fakeHeld) Ends() []backend.LinkEnd {
	h.l.called("Ends")
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	return h.endsLocked()
}

func (h *fakeHeld) End(cause error) {
	h.l.called("End")
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	if cause == nil {
		h.l.misuse("End without a cause")
	}
	if h.ended {
		return
	}
	h.each(func(p *fakePeer) { p.giveUp(cause) })
	h.ended, h.l.barred, h.l.held = true, false, nil
}
