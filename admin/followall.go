package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	lookForOthers = 3 * time.Second // how often who follows all looks for proxies that came, and asks those anew that broke off
	waitingEvents = 256             // of all others, for one reader; who sends more waits
)

// getAllEvents streams the events of all proxies as they come, each with its proxy. A proxy whose events cannot be read is told as one of kind
// member, word unreachable; with follow=1 it is asked again.
func (s *Server) getAllEvents(w http.ResponseWriter, r *http.Request) {
	if !s.admitReader() {
		writeError(w, fail(CodeBusy, "end one of them", "%d readers follow the events already", maxFollowers))
		return
	}
	defer s.leaveReader()
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	rc.Flush() //nolint:errcheck // the header, so that a follower knows at once that it is connected
	enc := json.NewEncoder(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	for ev := range s.everybodys(ctx, wantsMore(r)) {
		if err := sayEvent(rc, enc, ev); err != nil {
			if r.Context().Err() == nil {
				s.opt.Log.Info("a reader of the events was dropped", "component", "admin", "error", err)
			}
			return
		}
	}
}

// everybodys is a channel of all events, which is closed when they have ended, at the latest after ctx.
func (s *Server) everybodys(ctx context.Context, follow bool) <-chan Event {
	all := make(chan Event, waitingEvents)
	put := func(name string) func(Event) error {
		return func(ev Event) error {
			ev.Proxy = name
			select {
			case all <- ev:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	var readers sync.WaitGroup
	self := ""
	if c := s.cluster(); c != nil {
		self = c.Name
	}
	readers.Go(func() { s.opt.Events.Follow(ctx, 0, follow, put(self)) }) //nolint:errcheck // it is ctx's, or put's
	readers.Go(func() { s.followOthers(ctx, follow, put) })
	go func() { readers.Wait(); close(all) }()
	return all
}

// followOthers reads the events of each other proxy, and with follow of those that come later too.
func (s *Server) followOthers(ctx context.Context, follow bool, put func(name string) func(Event) error) {
	var mu sync.Mutex
	running, trouble, seqs := map[string]bool{}, map[string]string{}, map[string]uint64{}
	var readers sync.WaitGroup
	defer readers.Wait()
	for {
		for _, name := range s.others() {
			mu.Lock()
			busy, after := running[name], seqs[name]
			running[name] = true
			mu.Unlock()
			if busy {
				continue
			}
			readers.Go(func() {
				last, err := s.followOther(ctx, name, after, follow, put(name))
				mu.Lock()
				text, was := "", trouble[name]
				if err != nil {
					text = err.Error()
				}
				running[name], seqs[name], trouble[name] = false, last, text
				mu.Unlock()
				if text != "" && text != was && ctx.Err() == nil {
					put(name)(Event{Time: time.Now(), Kind: EventMember, Object: name, Word: "unreachable", Text: text}) //nolint:errcheck // it is ctx's
				}
			})
		}
		if !follow {
			return
		}
		select {
		case <-time.After(lookForOthers):
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) others() (names []string) {
	c := s.cluster()
	if c == nil {
		return nil
	}
	for _, m := range c.Members {
		if !m.Self && m.State != "left" {
			names = append(names, m.Name)
		}
	}
	return names
}

// followOther answers the number of the last event that was read.
func (s *Server) followOther(ctx context.Context, name string, after uint64, follow bool, yield func(Event) error) (last uint64, err error) {
	path := fmt.Sprintf("/v1/events?after=%d", after)
	if follow {
		path += "&follow=1"
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, othersTime)
		defer cancel()
	}
	body, err := s.opt.Others.Get(ctx, name, path)
	if err != nil {
		return after, err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var ev Event
		if err := dec.Decode(&ev); errors.Is(err, io.EOF) {
			return after, nil
		} else if err != nil {
			return after, fmt.Errorf("read events: %w", err)
		}
		if err := yield(ev); err != nil {
			return after, err
		}
		after = ev.Seq
	}
}
