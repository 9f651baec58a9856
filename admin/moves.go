package admin

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"net/http"
	"strconv"
	"time"

	"github.com/ircferry/ircferry/handoff"
)

// maxWait bounds a long poll, so that a connection whose other end is gone is noticed.
const maxWait = time.Minute

// picture gives a report its revision, a sum over the report itself: equal reports have equal revisions, also across restarts.
func picture(r handoff.Report) Move {
	r.Named, r.Warnings = orEmpty(r.Named), orEmpty(r.Warnings)
	b, err := json.Marshal(r)
	if err != nil {
		return Move{Report: r, Rev: "0"} // a report is plain data; a rev that never changes makes waiting end by time
	}
	h := fnv.New64a()
	h.Write(b)
	return Move{Report: r, Rev: strconv.FormatUint(h.Sum64(), 16)}
}

func (s *Server) getMoves(*http.Request) (any, error) {
	if s.opt.Moves == nil {
		return nil, errUnsupported
	}
	moves := []Move{}
	for _, r := range s.opt.Moves.Moves() {
		moves = append(moves, picture(r))
	}
	return moves, nil
}

func (s *Server) getMove(r *http.Request) (any, error) {
	if s.opt.Moves == nil {
		return nil, errUnsupported
	}
	q := r.URL.Query()
	var wait time.Duration
	if w := q.Get("wait"); w != "" {
		d, err := time.ParseDuration(w)
		if err != nil || d < 0 {
			return nil, fail(CodeBadRequest, "", "wait %q is not a duration like \"30s\"", w)
		}
		wait = min(d, maxWait)
	}
	return s.awaitMove(r.Context(), r.PathValue("id"), q.Get("after"), wait)
}

// awaitMove answers at once if the move's revision is not after or the move has ended, else at its next change, or with what
// there is when wait is over or the server shuts down.
func (s *Server) awaitMove(ctx context.Context, id, after string, wait time.Duration) (Move, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		r, changed, ok := s.opt.Moves.Watch(id)
		if !ok {
			return Move{}, noMove(id)
		}
		m := picture(r)
		if m.Rev != after || r.State.Ended() {
			return m, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return m, nil
		}
	}
}

func noMove(id string) error {
	return fail(CodeNotFound, "list them with ferryctl show moves", "move %q does not exist", id)
}

// Track follows a move to its end: its events, its line in the audit log and its metrics come from here. Moves that the API
// starts are tracked already; cmd tracks those that a start of the daemon finds in its journals. Any goroutine may call it.
func (s *Server) Track(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tracked[id] || s.ctx.Err() != nil {
		return
	}
	s.tracked[id] = true
	s.work.Go(func() { s.track(id, handoff.Report{}) })
}

// TrackOn is Track for a move that another process has tracked as far as it is now.
func (s *Server) TrackOn(id string) {
	r, _, ok := s.opt.Moves.Watch(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok || s.tracked[id] || s.ctx.Err() != nil {
		return
	}
	s.tracked[id] = true
	s.work.Go(func() { s.track(id, r) })
}

// track follows a move; seen is what of it was told already.
func (s *Server) track(id string, seen handoff.Report) {
	last := seen
	for begun := false; ; begun = true {
		r, changed, ok := s.opt.Moves.Watch(id)
		if !ok {
			return
		}
		if !begun {
			s.opt.Metrics.MoveStarted(r)
		}
		if r.State != last.State || r.Step != last.Step {
			s.opt.Events.Publish(moveEvent(r))
		}
		if r.State.Ended() {
			s.opt.Metrics.MoveEnded(r)
			s.audit.moveEnded(r)
			if !balanced(r) {
				s.opt.Log.Error("the books of a move do not balance", "component", "admin", "move", r.ID, "attempted", r.Attempted,
					"moved", r.Moved, "reverted", r.Reverted, "failed", r.Failed, "left", r.Left)
			}
			return
		}
		last = r
		select {
		case <-changed:
		case <-s.ctx.Done():
			return
		}
	}
}

func moveEvent(r handoff.Report) Event {
	word := string(r.State)
	if r.State == handoff.StateRunning {
		word = string(r.Step)
	}
	text := string(r.Kind) + " " + r.Pool + "/" + r.From
	if r.To != "" {
		text += " to " + r.To
	}
	if r.Error != "" {
		text += ": " + r.Error
	}
	return Event{Kind: EventMove, Object: r.ID, Word: word, Text: text}
}
