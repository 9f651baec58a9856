package backend

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ircferry/ircferry/internal/config"
)

// ErrNone is the answer of Choose when no backend of the pool can take a client now. It may pass: a first check, a HELLO or a wait
// after a failed connect may be under way.
var ErrNone = errors.New("no usable backend")

// Pool is the backends that are one choice for a client. Any goroutine may call its methods.
type Pool struct {
	set  *Set
	name string

	mu       sync.Mutex // guards all below; a Backend's mutex may be taken under it, never the reverse
	conf     config.Pool
	backends []*Backend // in configuration order
	serving  string     // standalone: the one that takes clients
	turns    map[*Backend]int
	doubt    doubt // about who serves
}

// Name returns the pool's name.
func (p *Pool) Name() string { return p.name }

// Config returns the configuration of the pool; do not change it.
func (p *Pool) Config() config.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conf
}

// Backends lists the backends in configuration order.
func (p *Pool) Backends() []*Backend {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.backends)
}

// Backend returns a configured backend by its name within the pool.
func (p *Pool) Backend(name string) (*Backend, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.findLocked(name)
	return b, b != nil
}

func (p *Pool) findLocked(name string) *Backend {
	for _, b := range p.backends {
		if b.name == name {
			return b
		}
	}
	return nil
}

// Serving is the name of the backend that a standalone pool serves from, "" if there is none yet or the pool is linked. It need not be
// up: another one takes its place only when a client asks.
func (p *Pool) Serving() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conf.Topology == config.Linked {
		return ""
	}
	return p.serving
}

// SetServing makes a backend of a standalone pool the serving one and remembers it over restarts; it writes to disk. If that fails the
// choice holds all the same and the error says that a restart will not know it. In a linked pool it does nothing.
func (p *Pool) SetServing(name string) error {
	p.mu.Lock()
	b, was := p.findLocked(name), p.serving
	standalone := p.conf.Topology != config.Linked
	if b != nil && standalone {
		p.serving = name
	}
	p.mu.Unlock()
	if b == nil {
		return fmt.Errorf("serve pool %s: there is no backend %q", p.name, name)
	}
	if !standalone {
		return nil
	}
	if was != name {
		p.set.event(b, EventServing, "in the place of "+orNone(was))
	}
	if err := p.set.memory.setServing(p.name, name); err != nil {
		return fmt.Errorf("%s is served from %s, but a restart will not know it: %w", p.name, name, err)
	}
	return nil
}

// Candidates lists who could take over the users of the backend except: ready, up, native and able to import; non-backup first, then by
// weight, then in configuration order.
func (p *Pool) Candidates(except string) []*Backend {
	type candidate struct {
		b    *Backend
		conf config.Backend
	}
	var cs []candidate
	for _, b := range p.Backends() {
		h, _, _ := b.Hello()
		if b.name != except && h.Can("import") && b.Admin() == Ready && b.Oper() == Up {
			cs = append(cs, candidate{b, b.Config()})
		}
	}
	slices.SortStableFunc(cs, func(x, y candidate) int {
		if x.conf.Backup != y.conf.Backup {
			if x.conf.Backup {
				return 1
			}
			return -1
		}
		return cmp.Compare(y.conf.Weight, x.conf.Weight)
	})
	out := make([]*Backend, len(cs))
	for i, c := range cs {
		out[i] = c.b
	}
	return out
}

func orNone(name string) string {
	if name == "" {
		return "none"
	}
	return name
}

func (p *Pool) standalone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conf.Topology != config.Linked
}
