package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// Held are the links of one move: handoff.HeldLinks. Only the move's goroutine calls it.
type Held struct {
	set     *Set
	backend string // whose links they are, and were barred with it
	links   []*link
	ended   sync.Once

	mu    sync.Mutex // guards all below, which the links' loops write
	fates map[*link]*fate
}

// fate is how it stands with one link.
type fate struct {
	link  backend.Link
	since time.Time // of the cut; zero: it was not cut
	end   backend.LinkEnd
	over  bool // nothing holds it any more
	gone  bool // and it is closed on both sides, so that other peers have to hear of it
}

// closing is what users of other servers read of a link that was given up.
const closing = "Connection closed"

// soon bounds what a loop only has to be told: it never blocks.
const soon = 5 * time.Second

// newHeld makes all of them links of one move.
func newHeld(s *Set, full string, links []*link) *Held {
	h := &Held{set: s, backend: full, links: links, fates: map[*link]*fate{}}
	for _, l := range links {
		k := l.picture().link()
		h.fates[l] = &fate{link: k, end: backend.LinkEnd{Link: k}}
	}
	return h
}

// Links lists them, without those that were given up.
func (h *Held) Links() (all []backend.Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.links {
		if f := h.fates[l]; !f.over {
			all = append(all, f.link)
		}
	}
	return all
}

// Cut returns when the marker of tx has come on each link; see handoff.HeldLinks, as for the following.
func (h *Held) Cut(ctx context.Context, tx string) error {
	return h.first(h.each(ctx, func(l *link, done func(error)) { l.cut(tx, done) }), "no marker of the export")
}

// Resume makes all links raw again with the process of before.
func (h *Held) Resume() { h.tell(func(l *link) { l.resume() }) }

// Part closes the old process's side.
func (h *Held) Part() { h.tell(func(l *link) { l.part() }) }

// Unplay closes the replayed sides.
func (h *Held) Unplay() { h.tell(func(l *link) { l.unplay(errUnplay) }) }

// Replay plays one link into a process.
func (h *Held) Replay(ctx context.Context, r backend.Replay) error {
	l := h.named(r.Link)
	if l == nil {
		return fmt.Errorf("replay link %s: it is not held any more", r.Link)
	}
	err := h.replay(ctx, l, r)
	h.set.metrics.replayed(l.picture(), err)
	if err != nil {
		return fmt.Errorf("replay link %s into %s: %w", r.Link, r.To, err)
	}
	return nil
}

func (h *Held) replay(ctx context.Context, l *link, r backend.Replay) error {
	b, ok := h.set.backends.Backend(r.To)
	if !ok {
		return errors.New("there is no such backend")
	}
	c, err := h.set.dialServers(ctx, b)
	if err != nil {
		return err
	}
	s := newSide(c, &h.set.running)
	s.goOn()
	taken := false
	err = h.one(ctx, l, func(l *link, done func(error)) { taken = true; l.replay(s, r, done) })
	if !taken {
		s.close()
		return err
	}
	if err != nil { // it may be under way still
		h.do(l, func() { l.unplay(err) })
	}
	return err
}

// Live makes those raw that were replayed, and gives the others up.
func (h *Held) Live(ctx context.Context, quits []backend.Quit) []backend.LinkEnd {
	for l, err := range h.each(ctx, func(l *link, done func(error)) { l.awaitMarker(done) }) {
		cause := CauseMarker
		switch {
		case err == nil:
			continue
		case errors.Is(err, errNoReplay):
			cause = CauseReplay
		case !errors.Is(err, errEnded):
			err = fmt.Errorf("no marker of the new process: %w", err)
		}
		h.do(l, func() { l.giveUp(cause, err) })
	}
	splits := h.splits()
	h.tell(func(l *link) { l.live(splits, quits) })
	return h.Ends()
}

func (h *Held) splits() (all []split) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.links {
		if f := h.fates[l]; f.gone {
			all = append(all, split{f.link.SID, closing})
		}
	}
	return all
}

// GiveUp closes both sides of one link.
func (h *Held) GiveUp(name string, cause error) {
	if l := h.named(name); l != nil {
		h.do(l, func() { l.giveUp(CauseMove, cause) })
	}
}

// Ends tells how it stands with every link that was held.
func (h *Held) Ends() (all []backend.LinkEnd) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.links {
		f := h.fates[l]
		e := f.end
		if !f.over && !f.since.IsZero() {
			e.Away = time.Since(f.since)
		}
		all = append(all, e)
	}
	return all
}

// End gives up what is held still, and lets new links come.
func (h *Held) End(cause error) {
	h.ended.Do(func() {
		h.tell(func(l *link) { l.giveUp(CauseMove, cause) })
		h.set.unbar(h.backend)
	})
}

func (h *Held) named(name string) *link {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.links, func(l *link) bool { return h.fates[l].link.Name == name && !h.fates[l].over })
	if i < 0 {
		return nil
	}
	return h.links[i]
}

// one lets a link's loop do f, and waits until it has called done.
func (h *Held) one(ctx context.Context, l *link, f func(l *link, done func(error))) error {
	answer := make(chan error, 1)
	if err := l.do(ctx, func() {
		if l.holder != h {
			answer <- errEnded
			return
		}
		f(l, func(err error) { answer <- err })
	}); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// each is one for all links that are held, at once.
func (h *Held) each(ctx context.Context, f func(l *link, done func(error))) map[*link]error {
	var mu sync.Mutex
	var asked sync.WaitGroup
	errs := map[*link]error{}
	for _, l := range h.links {
		if h.isOver(l) {
			continue
		}
		asked.Go(func() {
			err := h.one(ctx, l, f)
			mu.Lock()
			defer mu.Unlock()
			errs[l] = err
		})
	}
	asked.Wait()
	return errs
}

func (h *Held) isOver(l *link) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fates[l].over
}

// do lets the loop of one link that is held do f.
func (h *Held) do(l *link, f func()) {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	l.do(ctx, func() {
		if l.holder == h {
			f()
		}
	})
}

// tell is do for all, one after the other.
func (h *Held) tell(f func(l *link)) {
	for _, l := range h.links {
		h.do(l, func() { f(l) })
	}
}

// first is the error of the first link that has one, with its name.
func (h *Held) first(errs map[*link]error, what string) error {
	for _, l := range h.links {
		if err := errs[l]; err != nil {
			return fmt.Errorf("link %s: %s: %w", l.picture().Name, what, err)
		}
	}
	return nil
}

// cutNow notes that a link was cut. It is called by its loop, as are the following.
func (h *Held) cutNow(l *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fates[l].since = time.Now()
}

// kept notes what the peer has said.
func (h *Held) kept(l *link, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fates[l].end.Kept += int64(n)
}

// over notes that a link is not held any more; gone: that it is closed.
func (h *Held) over(l *link, err error, gone bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.fates[l]
	f.over, f.gone, f.end.Cause = true, gone, err
	if !f.since.IsZero() {
		f.end.Away = time.Since(f.since)
	}
	h.set.metrics.away(l.port, f.end.Away)
}
