package admin

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ircferry/ircferry/handoff"
)

// statusMoves is how many moves a status shows: those that run, and some of what happened last.
const statusMoves = 5

// A page of sessions. 9,000 sessions in one answer are 3 MB of JSON, which is still fine for a program that asks for it.
const (
	defaultPage = 100
	maxPage     = 10000
)

func (s *Server) getVersion(*http.Request) (any, error) {
	if s.opt.Process == nil {
		return BuildVersion(), nil
	}
	return s.opt.Process.Info().Version, nil
}

func (s *Server) getStatus(*http.Request) (any, error) { return s.Status(), nil }

// Status is the picture that GET /v1/status answers. Any goroutine may call it.
func (s *Server) Status() Status {
	st := Status{Version: BuildVersion(), State: "running"}
	if s.opt.Process != nil {
		st = s.opt.Process.Info()
	}
	if !st.Started.IsZero() {
		st.UptimeSeconds = time.Since(st.Started).Round(time.Millisecond).Seconds()
	}
	st.Pools = s.pools()
	st.Sessions.States = map[string]int{}
	if s.opt.Sessions != nil {
		st.Listeners, st.Sessions = s.opt.Sessions.Listeners(), s.opt.Sessions.Counts()
	}
	st.Certificates = s.certificates()
	st.Moves, st.Cluster = s.recentMoves(), s.cluster()
	st.Warnings = append(st.Warnings, warnings(st)...)
	st.Listeners, st.Moves = orEmpty(st.Listeners), orEmpty(st.Moves)
	st.Pools, st.Warnings = orEmpty(st.Pools), orEmpty(st.Warnings)
	return st
}

// orEmpty keeps null out of documents: a list that programs walk is a list, also when it is empty.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (s *Server) pools() []Pool {
	if s.opt.Pools == nil {
		return nil
	}
	pools := s.opt.Pools.Pools()
	for _, r := range s.underWay() {
		for i := range pools {
			if pools[i].Name == r.Pool && pools[i].Topology == "standalone" {
				pools[i].Gated = true
			}
		}
	}
	return pools
}

// underWay lists the moves that have not ended.
func (s *Server) underWay() []handoff.Report {
	if s.opt.Moves == nil {
		return nil
	}
	return slices.DeleteFunc(s.opt.Moves.Moves(), func(r handoff.Report) bool { return r.State.Ended() })
}

// recentMoves lists the moves that have not ended, then the newest others.
func (s *Server) recentMoves() []Move {
	if s.opt.Moves == nil {
		return nil
	}
	reports := s.opt.Moves.Moves()
	slices.SortStableFunc(reports, func(a, b handoff.Report) int { return cmp.Compare(rank(a), rank(b)) })
	moves := make([]Move, 0, statusMoves)
	for _, r := range reports {
		if len(moves) >= statusMoves && r.State.Ended() {
			break
		}
		moves = append(moves, picture(r))
	}
	return moves
}

func rank(r handoff.Report) int {
	if r.State.Ended() {
		return 1
	}
	return 0
}

func (s *Server) getBackends(r *http.Request) (any, error) {
	if s.opt.Pools == nil {
		return nil, errUnsupported
	}
	backends := []Backend{}
	for _, p := range s.pools() {
		backends = append(backends, p.Backends...)
	}
	return backends, nil
}

func (s *Server) getSessions(r *http.Request) (any, error) {
	if s.opt.Sessions == nil {
		return nil, errUnsupported
	}
	q := r.URL.Query()
	for k := range q {
		if !slices.Contains([]string{"backend", "nick", "state", "limit", "after"}, k) {
			return nil, fail(CodeBadRequest, "use backend, nick, state, limit, after", "query key %q is not known", k)
		}
	}
	limit, err := pageSize(q.Get("limit"))
	if err != nil {
		return nil, err
	}
	if name := q.Get("backend"); name != "" {
		if _, err := s.backend(name); err != nil {
			return nil, err
		}
	}
	if state := q.Get("state"); state != "" {
		if states := s.opt.Sessions.Counts().States; !hasKey(states, state) {
			return nil, fail(CodeBadRequest, "there are "+strings.Join(slices.Sorted(maps.Keys(states)), ", "), "no session is ever in state %q", state)
		}
	}
	sessions, err := s.matching(r.Context(), q.Get("backend"), q.Get("nick"), q.Get("state"))
	if err != nil {
		return nil, err
	}
	return page(sessions, q.Get("after"), limit), nil
}

func hasKey(m map[string]int, key string) bool { _, ok := m[key]; return ok }

func pageSize(s string) (int, error) {
	if s == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxPage {
		return 0, fail(CodeBadRequest, "", "limit %q is not a number from 1 to %d", s, maxPage)
	}
	return n, nil
}

func (s *Server) matching(ctx context.Context, backendName, nick, state string) ([]Session, error) {
	var sessions []Session
	var err error
	if nick != "" {
		sessions, err = s.byNick(ctx, nick)
	} else {
		sessions, err = s.opt.Sessions.Sessions(ctx, backendName)
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(sessions, func(x Session) bool {
		return backendName != "" && x.Backend != backendName || state != "" && x.State != state
	}), nil
}

func page(sessions []Session, after string, limit int) SessionPage {
	slices.SortFunc(sessions, func(a, b Session) int { return compareIDs(a.ID, b.ID) })
	p := SessionPage{Matched: len(sessions), Sessions: []Session{}}
	for _, x := range sessions {
		if after != "" && compareIDs(x.ID, after) <= 0 {
			continue
		}
		if len(p.Sessions) == limit {
			p.Next = p.Sessions[limit-1].ID
			break
		}
		p.Sessions = append(p.Sessions, x)
	}
	return p
}

// compareIDs orders "x-9" before "x-10": ids are a prefix and a counter, and operators read them in the order of arrival.
func compareIDs(a, b string) int {
	pa, na := splitCounter(a)
	pb, nb := splitCounter(b)
	return cmp.Or(strings.Compare(pa, pb), cmp.Compare(len(na), len(nb)), strings.Compare(na, nb))
}

func splitCounter(id string) (prefix, counter string) {
	cut := strings.LastIndexAny(id, "-._") + 1
	return id[:cut], id[cut:]
}

func (s *Server) getSession(r *http.Request) (any, error) {
	if s.opt.Sessions == nil {
		return nil, errUnsupported
	}
	name := r.PathValue("id")
	x, ok, err := s.opt.Sessions.Session(r.Context(), name)
	if err != nil {
		return nil, err
	}
	if ok {
		return x, nil
	}
	found, err := s.byNick(r.Context(), name)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, s.unknownSession(name)
	}
	return found[0], nil
}

// unknownSession says how far was looked: an ircd without a driver cannot be asked for a nick.
func (s *Server) unknownSession(name string) error {
	for _, p := range s.pools() {
		for _, b := range p.Backends {
			if b.Driver != driverNative && b.Sessions > 0 {
				return fail(CodeNotFound, "list them with ferryctl show sessions --backend "+b.FullName(),
					"no session has the id %q, and no user of a backend with a driver has that nick; those of %s cannot be asked for", name, b.FullName())
			}
		}
	}
	return fail(CodeNotFound, "list them with ferryctl show sessions", "no session has the id or nick %q", name)
}

// byNick asks the native backends. A user whom an ircd knows and who has no session here came in past us.
func (s *Server) byNick(ctx context.Context, nick string) ([]Session, error) {
	if s.opt.Finder == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	found, findErr := s.opt.Finder.Find(ctx, nick)
	var sessions []Session
	for _, f := range found {
		x, ok, err := s.opt.Sessions.Session(ctx, f.U)
		if err != nil {
			return nil, err
		}
		if ok {
			x.Nick = f.Nick
			sessions = append(sessions, x)
		}
	}
	if len(sessions) == 0 && len(found) > 0 {
		return nil, fail(CodeNotFound, "", "nick %q is at backend %s, but has no session here: it came in past ircferry", nick, found[0].Backend)
	}
	if len(sessions) == 0 && findErr != nil {
		return nil, fail(CodeFailed, "ask again, or list sessions by id", "ask who has nick %q: %v", nick, findErr)
	}
	return sessions, nil
}

// findTimeout bounds FIND at all backends together. An ircd that is frozen in a move does not answer for a second.
const findTimeout = 3 * time.Second
