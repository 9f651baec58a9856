package link

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/loop"
)

// What is done while all is well so that a process that comes after a crash of this one can go on with the links: see Recover. Without a keeper nothing
// is, and nothing costs.

// Keeper holds duplicates of our descriptors: see proxy.Keeper. Any goroutine calls it, and it never blocks.
type Keeper interface {
	Keep(tag uint64, fd int) error // leg.ErrKeeperBusy: it has no room for now; another error: the descriptor is served without it
	Drop(tags ...uint64) error
}

// A tag names a descriptor for the keeper: bit 31, which no session's has, the number of the link above it and one of these below.
const (
	tagPeer = iota
	tagIrcd
	tagJournal

	tagOfLink = 1 << 31
)

func tagOf(link uint32, of uint64) uint64 { return uint64(link)<<32 | tagOfLink | of }

// Tagged reports whether a tag is that of a link's descriptor.
func Tagged(tag uint64) bool { return tag>>32 != 0 && tag&tagOfLink != 0 }

// Sides of a link, as journals name them.
const (
	sidePeer = iota
	sideIrcd
)

// guard is what protects one link. It is its loop's.
type guard struct {
	journal *journal // nil: there was none yet
	before  *journal // of the process before: true until this one's is kept
	on      bool
	lost    bool // the link could not be protected: it is not tried again before there is another keeper
	left    bool // another process has the link
	sides   [2]counts32
	streams []stream // that read into the journal
}

// counts32 are the kernel's and ours of one stream, from when it was protected; modulo 2^32.
type counts32 struct {
	In0, Out0 uint32 // the kernel's at that time, less what lay here unread
	Taken     uint32 // bytes that are in pictures and logs
}

// goes reports whether another process could go on with the link: what a move does to it is in no journal.
func (l *link) goes() bool { return l.holder == nil && (l.state == Linking || l.state == Raw) }

// protect begins a journal, and has the keeper hold what it is about. The streams stand, and this turn has nothing for them any more.
func (l *link) protect() {
	l.unprotected(l.tryProtect())
}

func (l *link) unprotected(err error) {
	if l.guard.lost = err != nil; err != nil {
		l.log.Warn("the link is lost if this process crashes", "err", err)
	}
}

func (l *link) tryProtect() (err error) {
	g := &l.guard
	if g.journal == nil {
		if g.journal, err = newJournal(); err != nil {
			return err
		}
	}
	var fds [3]int
	for i, s := range [...]*side{l.peer, l.ircd} {
		if fds[i], err = s.readInto(g.journal.staging(i), &g.sides[i]); err != nil {
			return err
		}
		g.streams = append(g.streams, s.stream)
	}
	if fds[tagJournal], err = descriptorOf(g.journal.file); err != nil {
		return err
	}
	if err := l.draw(); err != nil {
		return err
	}
	g.on = true
	for of, fd := range fds {
		if err := l.keepOne(tagOf(l.number, uint64(of)), fd); err != nil {
			l.unprotect()
			return err
		}
	}
	g.forgetBefore()
	return nil
}

func (g *guard) forgetBefore() {
	if g.before != nil {
		g.before.wipe()
		g.before.close()
		g.before = nil
	}
}

const (
	keepRetry = 5 * time.Millisecond
	keepTries = 400 // a keeper that stays busy is given up
)

func (l *link) keepOne(tag uint64, fd int) (err error) {
	for range keepTries {
		if err = l.port.set.keeper.Keep(tag, fd); !errors.Is(err, leg.ErrKeeperBusy) {
			return err
		}
		time.Sleep(keepRetry)
	}
	return err
}

// unprotect has the link end with this process.
func (l *link) unprotect() {
	l.guard.on = false
	l.guard.journal.void()
	l.guard.forgetBefore()
	l.port.set.keeper.Drop(tagOf(l.number, tagJournal), tagOf(l.number, tagPeer), tagOf(l.number, tagIrcd)) //nolint:errcheck // there is no keeper any more, then
}

// readInto has the stream read into buf, and begins its counts. It stands.
func (s *side) readInto(buf []byte, c *counts32) (fd int, err error) {
	unread, socket := s.stage(buf)
	if fd, err = descriptorOf(socket); err != nil {
		return -1, err
	}
	k := loop.Counts(fd)
	*c = counts32{In0: k.In - uint32(unread), Out0: k.Out - s.wrote()}
	return fd, nil
}

// note writes down what a side has said, before anything is made of it.
func (l *link) note(side int, b []byte) {
	g := &l.guard
	if !g.on {
		return
	}
	if !g.journal.note(side, b) {
		if err := l.draw(); err != nil {
			l.unprotect()
			l.unprotected(err)
			return
		}
		g.journal.note(side, b)
	}
	g.sides[side].Taken += uint32(len(b))
	atPoint("noted")
}

// atPoint lets a test end the process where that is worst.
var atPoint = func(point string) {}

// pictureState is a link for a journal.
type pictureState struct {
	Number uint32 `json:"number"`
	Link   linkState
	Sides  [2]struct {
		counts32
		Wrote uint32 // what the kernel has taken of what was sent, without Unsent
	}
}

// draw puts a picture of the link into its journal. It is between two turns.
func (l *link) draw() error {
	p := pictureState{Number: l.number}
	p.Link = l.described()
	for i, s := range [...]struct {
		side *side
		st   *sideState
	}{{l.peer, &p.Link.Peer}, {l.ircd, &p.Link.Ircd}} {
		p.Sides[i].counts32 = l.guard.sides[i]
		var err error
		if *s.st, p.Sides[i].Wrote, err = s.side.pictured(); err != nil {
			return err
		}
	}
	text, err := json.Marshal(p)
	for _, s := range [...]*sideState{&p.Link.Peer, &p.Link.Ircd} {
		clear(s.TLS)
	}
	if err != nil {
		return fmt.Errorf("picture of the link: %w", err)
	}
	return l.guard.journal.draw(text)
}

// pictured is the side as it is now, without what was read and nobody has received: that is in the staging.
func (s *side) pictured() (st sideState, wrote uint32, err error) {
	st = s.described()
	if s.tls != nil {
		if st.TLS, err = s.tls.copied(); err != nil {
			return st, 0, err
		}
	}
	st.Stream.Unsent, wrote = s.unsent()
	return st, wrote, nil
}

// forgetGuard gives back what protected a link that is no more. What is still to be sent to its sides goes on being sent.
func (l *link) forgetGuard() {
	g := &l.guard
	if g.on {
		l.unprotect()
	}
	g.forgetBefore()
	if g.journal == nil {
		return
	}
	l.port.set.running.Go(func() {
		for _, s := range g.streams {
			s.wait()
		}
		if !g.left {
			g.journal.wipe()
		}
		g.journal.close()
	})
}
