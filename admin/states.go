package admin

import (
	"context"
	"fmt"
	"strings"

	"github.com/ircferry/ircferry/backend"
)

// The verbs that set what the operator wants of a backend.

func (s *Server) undrain(ctx context.Context, a BackendRequest, p Peer) (Done, error) {
	b, err := s.backend(a.Backend)
	if err != nil {
		return Done{}, err
	}
	if b.Admin == string(backend.Maint) {
		return Done{}, fail(CodeRefused, "use ferryctl ready "+b.FullName(), "backend %s is in maint, not in drain", b.FullName())
	}
	return s.setAdmin(ctx, b, backend.Ready)
}

func (s *Server) ready(ctx context.Context, a BackendRequest, p Peer) (Done, error) {
	b, err := s.backend(a.Backend)
	if err != nil {
		return Done{}, err
	}
	return s.setAdmin(ctx, b, backend.Ready)
}

func (s *Server) maint(ctx context.Context, a BackendRequest, p Peer) (Done, error) {
	b, err := s.backend(a.Backend)
	if err != nil {
		return Done{}, err
	}
	done, err := s.setAdmin(ctx, b, backend.Maint)
	if err == nil && b.Serving && b.Sessions > 0 && done.Note == "" {
		done.Note = fmt.Sprintf("its %d sessions stay there and new clients go to another backend, where they do not meet them; ferryctl drain moves them", b.Sessions)
	}
	return done, err
}

func (s *Server) setAdmin(ctx context.Context, b Backend, state backend.AdminState) (Done, error) {
	if id := s.moveOf(b); id != "" {
		return Done{}, fail(CodeRefused, "wait for it, or ferryctl cancel "+id, "move %s of backend %s is under way", id, b.FullName())
	}
	if b.Closing != nil {
		s.opt.Closings.Cancel(b.Pool, b.Name)
	}
	if b.Admin == string(state) {
		return Done{Backend: &b, Note: fmt.Sprintf("backend %s was %s already", b.FullName(), state)}, nil
	}
	if err := s.opt.Pools.SetAdmin(b.Pool, b.Name, state); err != nil {
		return Done{}, fmt.Errorf("set backend %s to %s: %w", b.FullName(), state, err)
	}
	done, err := s.stateSet(b, "")
	if s.opt.Others != nil && err == nil {
		ctx, cancel := context.WithTimeout(ctx, othersTime)
		defer cancel()
		done.Untold = s.opt.Others.Tell(ctx)
	}
	return done, err
}

// moveOf is the move under way that takes users from or to a backend.
func (s *Server) moveOf(b Backend) string {
	for _, r := range s.underWay() {
		if r.Pool == b.Pool && (r.From == b.Name || r.To == b.Name) {
			return r.ID
		}
	}
	return ""
}

// stateSet answers a backend as it is after its state was set, and warns if nobody is left to take clients.
func (s *Server) stateSet(b Backend, note string) (Done, error) {
	now, err := s.backend(b.FullName())
	if err != nil {
		return Done{}, err
	}
	if now.Admin == "ready" && now.Oper != "up" {
		note += "; it takes clients as soon as a check finds it up"
	}
	for _, p := range s.pools() {
		if p.Name == b.Pool && !p.usable() {
			note += "; pool " + p.Name + " has no usable backend now: new clients wait 15s for one and are then turned away"
		}
	}
	note = strings.TrimPrefix(note, "; ")
	return Done{Backend: &now, Note: note}, nil
}
