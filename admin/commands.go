package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ircferry/ircferry/handoff"
)

// Done is the answer of a changing command.
type Done struct {
	Move    *Move         `json:"move,omitempty"`    // the move that was begun or goes on
	Plan    *handoff.Plan `json:"plan,omitempty"`    // of a dry run
	Backend *Backend      `json:"backend,omitempty"` // as it is now, if its state was set
	Reload  *Reloaded     `json:"reload,omitempty"`
	Keys    *KeysDone     `json:"keys,omitempty"`
	Upgrade *Upgrade      `json:"upgrade,omitempty"`
	Untold  []string      `json:"untold,omitempty"` // proxies of the cluster that have not heard of it, and will when they are back
	Note    string        `json:"note,omitempty"`   // what the operator should know, a sentence
	Left    int           `json:"left,omitempty"`   // of a dry run for a backend without a driver: sessions that would stay where they are
}

type arguments interface {
	object() string
	arguments() string
}

// command serves one changing verb: a strict body, then do, then the audit line, whatever came out.
func command[A arguments](s *Server, verb string, do func(context.Context, A, Peer) (Done, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var args A
		peer, _ := peerFrom(r.Context())
		e := entry{peer: peer, verb: verb, began: time.Now()}
		var done Done
		if e.err = decode(w, r, &args); e.err == nil {
			e.object, e.arguments = args.object(), args.arguments()
			var leave func()
			if leave, e.err = s.enter(verb); e.err == nil {
				// A command that was taken is carried out, also if whoever asked hangs up meanwhile.
				done, e.err = do(context.WithoutCancel(r.Context()), args, peer)
				leave()
			}
		}
		if done.Move != nil {
			e.move = done.Move.ID
		}
		s.audit.command(e)
		if e.err != nil {
			writeError(w, e.err)
			return
		}
		writeJSON(w, http.StatusOK, done)
	}
}

// enter asks whether a command may begin now, and answers what is called at its end.
func (s *Server) enter(verb string) (leave func(), err error) {
	if s.opt.Enter == nil {
		return func() {}, nil
	}
	return s.opt.Enter(verb)
}

func (s *Server) drain(ctx context.Context, a DrainRequest, p Peer) (Done, error) {
	b, err := s.backend(a.Backend)
	if err != nil {
		return Done{}, err
	}
	if a.To != "" {
		if a.To, err = within(b.Pool, a.To); err != nil {
			return Done{}, err
		}
		to, err := s.backend(b.Pool + "/" + a.To)
		if err != nil {
			return Done{}, err
		}
		if to.Name == b.Name {
			return Done{}, fail(CodeRefused, "name another backend of pool "+b.Pool, "backend %s cannot take over its own users", b.FullName())
		}
	}
	if s.opt.Moves == nil {
		return Done{}, errUnsupported
	}
	if b.Driver != driverNative && a.To != "" {
		return Done{}, fail(CodeRefused, "drain it without --to: it gets no new sessions, and the old ones stay until they leave",
			"backend %s has no driver, so its users cannot be moved to %s", b.FullName(), a.To)
	}
	if a.Close && !a.DryRun {
		return s.closeSessions(b, a.CloseAfter, a.Notice, false)
	}
	if b.Driver != driverNative && a.DryRun {
		return s.dryRunRelayed(b)
	}
	req := handoff.Request{Kind: handoff.KindDrain, Pool: b.Pool, From: b.Name, To: a.To, Strict: a.Strict,
		AllowVisible: a.AllowVisible, Timeout: time.Duration(a.Timeout), Actor: p.Actor()}
	if a.DryRun {
		return s.dryRun(ctx, req)
	}
	id, err := s.opt.Moves.Drain(req)
	return s.began(id, s.whose(b, err))
}

func (s *Server) dryRun(ctx context.Context, req handoff.Request) (Done, error) {
	timeout := req.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	plan, err := s.opt.Moves.DryRun(ctx, req)
	if err != nil {
		return Done{}, err
	}
	return Done{Plan: whole(plan)}, nil
}

// dryRunRelayed says what the drain of a backend without a driver is: no new sessions, the old ones stay.
func (s *Server) dryRunRelayed(b Backend) (Done, error) {
	plan := handoff.Plan{Pool: b.Pool, From: b.Name}
	if !s.otherUsable(b) {
		plan.Refusals = []string{fmt.Sprintf("backend %s is the last usable one of its pool: new clients would have nowhere to go", b.FullName())}
	}
	return Done{Plan: whole(plan), Note: fmt.Sprintf("backend %s has no driver: it would get no new sessions, and the %d it has would stay until they leave",
		b.FullName(), b.Sessions), Left: b.Sessions}, nil
}

func (s *Server) otherUsable(b Backend) bool {
	for _, p := range s.pools() {
		for _, o := range p.Backends {
			if p.Name == b.Pool && o.Name != b.Name && o.Usable() {
				return true
			}
		}
	}
	return false
}

func (s *Server) hold(ctx context.Context, a HoldRequest, p Peer) (Done, error) {
	if a.Close {
		b, err := s.backend(a.Backend)
		if err != nil {
			return Done{}, err
		}
		return s.closeSessions(b, a.CloseAfter, a.Notice, true)
	}
	b, err := s.movable(a.Backend)
	if err != nil {
		return Done{}, err
	}
	kind := handoff.KindHold
	if a.Restart {
		kind = handoff.KindRestart
	}
	id, err := s.opt.Moves.Hold(handoff.Request{Kind: kind, Pool: b.Pool, From: b.Name, AllowVisible: a.AllowVisible,
		Timeout: time.Duration(a.Timeout), Actor: p.Actor()})
	return s.began(id, s.whose(b, err))
}

func (s *Server) pause(ctx context.Context, a PauseRequest, p Peer) (Done, error) {
	b, err := s.pausable(a.Backend)
	if err != nil {
		return Done{}, err
	}
	id, err := s.opt.Moves.Pause(handoff.Request{Kind: handoff.KindPause, Pool: b.Pool, From: b.Name, Timeout: time.Duration(a.For), Actor: p.Actor()})
	done, err := s.began(id, err)
	if err == nil && b.Driver != driverNative {
		done.Note = fmt.Sprintf("backend %s has no driver, so its ircd's name is not known here: its clients' PINGs wait too", b.FullName())
	}
	return done, err
}

func (s *Server) resume(ctx context.Context, a BackendRequest, p Peer) (Done, error) {
	b, err := s.pausable(a.Backend)
	if err != nil {
		return Done{}, err
	}
	return s.began(s.opt.Moves.Resume(b.Pool, b.Name))
}

func (s *Server) pausable(name string) (Backend, error) {
	b, err := s.backend(name)
	if err == nil && s.opt.Moves == nil {
		err = errUnsupported
	}
	return b, err
}

func (s *Server) release(ctx context.Context, a ReleaseRequest, p Peer) (Done, error) {
	if b, err := s.backend(a.Backend); err == nil && b.Closing != nil {
		return s.admit(b, a.Pace)
	}
	b, err := s.movable(a.Backend)
	if err != nil {
		return Done{}, err
	}
	if a.To != "" {
		if a.To, err = within(b.Pool, a.To); err != nil {
			return Done{}, err
		}
		if _, err := s.movable(b.Pool + "/" + a.To); err != nil {
			return Done{}, err
		}
	}
	id, err := s.opt.Moves.Release(b.Pool, b.Name, a.To, p.Actor())
	return s.began(id, err)
}

func (s *Server) movable(name string) (Backend, error) {
	b, err := s.backend(name)
	if err != nil {
		return Backend{}, err
	}
	if b.Driver != driverNative && b.Driver != driverReplay {
		return Backend{}, fail(CodeRefused, "ferryctl drain "+b.FullName()+" takes no new sessions there and leaves the old ones; with --close-after, as ferryctl restart, it closes them",
			"backend %s has no driver, so its users can be neither pulled nor pushed", b.FullName())
	}
	if s.opt.Moves == nil {
		return Backend{}, errUnsupported
	}
	return b, nil
}

func (s *Server) began(id string, err error) (Done, error) {
	if err != nil {
		return Done{}, err
	}
	s.Track(id)
	r, _, ok := s.opt.Moves.Watch(id)
	if !ok {
		return Done{}, noMove(id)
	}
	m := picture(r)
	return Done{Move: &m}, nil
}

func (s *Server) cancelMove(ctx context.Context, a CancelRequest, p Peer) (Done, error) {
	if s.opt.Moves == nil {
		return Done{}, errUnsupported
	}
	if _, _, ok := s.opt.Moves.Watch(a.Move); !ok {
		return Done{}, noMove(a.Move)
	}
	return s.began(a.Move, s.opt.Moves.Cancel(a.Move))
}

func (s *Server) reload(ctx context.Context, _ ReloadRequest, _ Peer) (Done, error) {
	if s.opt.Process == nil {
		return Done{}, errUnsupported
	}
	r, err := s.opt.Process.Reload(ctx)
	if err != nil {
		return Done{}, &Error{Code: CodeFailed, Message: "reload: " + err.Error(),
			Hint: "nothing was changed; correct it and reload again"}
	}
	r.Changed, r.NeedsRestart, r.Warnings = orEmpty(r.Changed), orEmpty(r.NeedsRestart), orEmpty(r.Warnings)
	return Done{Reload: &r}, nil
}

// whole is a plan whose empty lists are lists.
func whole(p handoff.Plan) *handoff.Plan {
	p.Warnings, p.Conflicts, p.Refusals = orEmpty(p.Warnings), orEmpty(p.Conflicts), orEmpty(p.Refusals)
	p.CapsLost, p.ISupport = orEmpty(p.CapsLost), orEmpty(p.ISupport)
	p.Held, p.Unheld = orEmpty(p.Held), orEmpty(p.Unheld)
	return &p
}

// within is the name that "to" gives, which may be written POOL/BACKEND too.
func within(pool, to string) (string, error) {
	if of, name, ok := strings.Cut(to, "/"); !ok || of == pool && name != "" {
		return to[strings.Index(to, "/")+1:], nil
	}
	return "", fail(CodeBadRequest, "name another backend of pool "+pool, "users move within a pool: %q is not in pool %s", to, pool)
}

// backend finds a backend by its full name, and says which there are if it is not there.
func (s *Server) backend(full string) (Backend, error) {
	if s.opt.Pools == nil {
		return Backend{}, errUnsupported
	}
	pool, name, ok := strings.Cut(full, "/")
	if !ok || pool == "" || name == "" || strings.Contains(name, "/") {
		return Backend{}, fail(CodeBadRequest, "list them with ferryctl show backends", "backend %q is not written POOL/BACKEND", full)
	}
	var pools, backends []string
	for _, p := range s.pools() {
		pools = append(pools, p.Name)
		if p.Name != pool {
			continue
		}
		for _, b := range p.Backends {
			if b.Name == name {
				return b, nil
			}
			backends = append(backends, b.Name)
		}
	}
	if backends != nil {
		return Backend{}, fail(CodeNotFound, "it has "+strings.Join(backends, ", "), "pool %s has no backend %q", pool, name)
	}
	return Backend{}, fail(CodeNotFound, "there are "+strings.Join(pools, ", "), "pool %q does not exist", pool)
}
