package handoff

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// Times of links within a move.
const (
	fenceTime  = 5 * time.Second  // for an ircd to read what was passed to it, what was kept in a move just before included; no client waits for it
	markTime   = 2 * time.Second  // for EXPORT's marker to come
	greetTime  = 2 * time.Second  // for a process to see that a link of before has ended
	replayTime = 15 * time.Second // for one link to be played into a process: 100,000 users behind it, with room
	liveTime   = 10 * time.Second // for COMMIT's marker to come, and what waited to go in
	linkTime   = time.Second      // for what takes a moment: clients may wait for it
)

// linkTrouble is an error of one server link: without it the step would have been taken.
type linkTrouble struct {
	name string // "": it is of none, or of all
	err  error
}

func (t *linkTrouble) Error() string {
	if t.name == "" {
		return "server links: " + t.err.Error()
	}
	return fmt.Sprintf("server link %s: %v", t.name, t.err)
}
func (t *linkTrouble) Unwrap() error { return t.err }

// askLinks holds the links of a backend. One that hangs is left alone, and what it holds late goes on at once.
func askLinks(ctx context.Context, links Links, name string) (HeldLinks, error) {
	type answer struct {
		held HeldLinks
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTime)
	defer cancel()
	answers := make(chan answer, 1)
	got, late := within(ctx, func() answer {
		held, err := links.Hold(ctx, name)
		answers <- answer{held, err}
		return answer{held, err}
	})
	if late == nil {
		return got.held, got.err
	}
	go func() {
		if a := <-answers; a.err == nil {
			a.held.Resume()
			a.held.End(late)
		}
	}()
	return nil, late
}

// cut waits for the marker on each link.
func cut(ctx context.Context, h HeldLinks, tx string) error {
	ctx, cancel := context.WithTimeout(ctx, markTime)
	defer cancel()
	err, late := within(ctx, func() error { return h.Cut(ctx, tx) })
	return errors.Join(err, late)
}

// replay plays one link into a process.
func replay(ctx context.Context, h HeldLinks, r backend.Replay) error {
	ctx, cancel := context.WithTimeout(ctx, replayTime)
	defer cancel()
	err, late := within(ctx, func() error { return h.Replay(ctx, r) })
	return errors.Join(err, late)
}

// goLive is HeldLinks.Live. Of one that hangs nothing is known: the caller's End gives up what it has not made live.
func goLive(h HeldLinks, quits []backend.Quit) []backend.LinkEnd {
	ctx, cancel := context.WithTimeout(context.Background(), liveTime)
	defer cancel()
	ends, late := within(ctx, func() []backend.LinkEnd { return h.Live(ctx, quits) })
	if late != nil {
		return nil
	}
	return ends
}

// linksOf and the following take a moment, and are bounded all the same.
func linksOf(h HeldLinks) []backend.Link {
	all, _ := soon(linkTime, h.Links)
	return all
}

func endsOf(h HeldLinks) []backend.LinkEnd {
	all, _ := soon(linkTime, h.Ends)
	return all
}
