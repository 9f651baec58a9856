package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

const (
	maxFollowers  = 32               // each holds a goroutine and up to 64 events
	followerStall = 10 * time.Second // a follower who takes nothing for this long is dropped
)

// getEvents streams events as one JSON document a line (application/x-ndjson). With follow=1 it goes on until the reader leaves;
// after=SEQ begins behind an event that the reader has.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var after uint64
	if a := q.Get("after"); a != "" {
		n, err := strconv.ParseUint(a, 10, 64)
		if err != nil {
			writeError(w, fail(CodeBadRequest, "give the seq of an event", "after %q is not a number", a))
			return
		}
		after = n
	}
	follow := wantsMore(r)
	if !s.admitReader() {
		writeError(w, fail(CodeBusy, "end one of them", "%d readers follow the events already", maxFollowers))
		return
	}
	defer s.leaveReader()
	w.Header().Set("Content-Type", "application/x-ndjson")
	s.stream(r.Context(), w, after, follow)
}

// wantsMore reports whether a reader goes on with what happens from now on.
func wantsMore(r *http.Request) bool {
	follow := r.URL.Query().Get("follow")
	return follow == "1" || follow == "true"
}

func (s *Server) stream(ctx context.Context, w http.ResponseWriter, after uint64, follow bool) {
	rc := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	rc.Flush()                       //nolint:errcheck // the header, so that a follower knows at once that it is connected
	rc.SetWriteDeadline(time.Time{}) //nolint:errcheck // as follows
	err := s.opt.Events.Follow(ctx, after, follow, func(ev Event) error { return sayEvent(rc, enc, ev) })
	if err != nil && ctx.Err() == nil {
		s.opt.Log.Info("a reader of the events was dropped", "component", "admin", "error", err)
	}
}

// sayEvent tells one event within followerStall. Between two there is no deadline: HTTP/2 ends a stream whose deadline is over, whether anything is written or not.
func sayEvent(rc *http.ResponseController, enc *json.Encoder, ev Event) error {
	if err := rc.SetWriteDeadline(time.Now().Add(followerStall)); err != nil {
		return err
	}
	if err := enc.Encode(ev); err != nil {
		return err
	}
	if err := rc.Flush(); err != nil {
		return err
	}
	return rc.SetWriteDeadline(time.Time{})
}

func (s *Server) admitReader() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers >= maxFollowers {
		return false
	}
	s.readers++
	return true
}

func (s *Server) leaveReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers--
}
