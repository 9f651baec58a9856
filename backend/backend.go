package backend

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// Backend is one ircd. It keeps its identity, sessions and health over reloads for as long as its pool and name stay the same. All
// methods may be called from any goroutine and none but SetAdmin and DialControl ever blocks.
type Backend struct {
	set        *Set
	pool       *Pool
	name, full string

	sessions  atomic.Int64
	picked    atomic.Int64  // chosen lately and not yet among sessions, so that a storm of clients is spread
	anyTurned atomic.Bool   // a client was turned away since the last that was let in: Welcomed has something to do
	troubled  atomic.Bool   // a connect failed since the last good one: DialOK has something to do
	wake      chan struct{} // capacity 1: check now
	removed   atomic.Bool   // by a reload; sessions may be left
	stop      func()        // ends the check goroutine and waits for it; of Apply and Close only

	mu         sync.Mutex // guards all below; never held while calling out
	plan       plan
	version    int // of plan
	admin      AdminState
	health     health
	backoff    backoff
	turned     turned
	proof      proof
	fresh      bool                    // the next check must use a new connection
	lenient    int                     // calls of PauseChecks that are not over
	addr       netip.AddrPort          // where streams go. relay: the one of known that is in use; native: as HELLO tells
	known      []netip.AddrPort        // of the name in the plan, the one in use first; native: of the control address
	failed     map[netip.AddrPort]bool // those of known that clients could not connect to since the last good check
	hello      Hello
	helloAt    time.Time // zero: no HELLO known
	lastCheck  time.Time
	took       time.Duration
	lastErr    string
	lastReason Reason // of lastErr
}

// plan is a backend's configuration, read and resolved. It is built before it is used and never changed.
type plan struct {
	conf     config.Backend
	check    config.Check
	password string         // of webirc, or what HELLO tells a native backend; never logged
	tls      *tls.Config    // of streams to a relay backend, of the control connection to a native one; nil: plaintext
	literal  netip.AddrPort // the address, or the control address over TCP, if it is no host name
	host     string         // and its parts
	port     string
	network  string       // of the control connection of a native backend
	proven   *atomic.Bool // over an exposed control connection the ircd has proven that it knows the secret
	control  string
}

func newBackend(p *Pool, name string) *Backend {
	b := &Backend{set: p.set, pool: p, name: name, full: p.name + "/" + name, wake: make(chan struct{}, 1), admin: Ready}
	b.health.forget("not checked yet", time.Now())
	return b
}

// Name returns the backend's name within its pool.
func (b *Backend) Name() string { return b.name }

// FullName returns "pool/name".
func (b *Backend) FullName() string { return b.full }

// Pool returns the pool it belongs to.
func (b *Backend) Pool() *Pool { return b.pool }

// Config returns its configuration.
func (b *Backend) Config() config.Backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.plan.conf
}

// Native reports whether it speaks HANDOFF/1.
func (b *Backend) Native() bool { return b.Config().Native() }

// Replays reports whether its users are made again on it behind a restart, and their streams listened to for that.
func (b *Backend) Replays() bool { return b.Config().Replays() }

// Movable reports whether its users can be held.
func (b *Backend) Movable() bool { return b.Native() || b.Replays() }

// Sessions returns how many sessions have their stream here.
func (b *Backend) Sessions() int { return int(b.sessions.Load()) }

// Admin returns what the operator wants.
func (b *Backend) Admin() AdminState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admin
}

// SetAdmin sets what the operator wants and remembers it over restarts; it writes to disk. If that fails the state holds all the same
// and the error says that a restart will not know it.
func (b *Backend) SetAdmin(a AdminState) error {
	if _, err := ParseAdmin(string(a)); err != nil {
		return err
	}
	b.mu.Lock()
	was := b.admin
	b.admin = a
	if was != a && (was == Maint || a == Maint) {
		b.health.forget("not checked: "+string(a), time.Now())
	}
	b.mu.Unlock()
	if was != a {
		b.set.event(b, EventAdmin, string(was)+" -> "+string(a))
		b.Recheck()
	}
	if err := b.set.memory.setAdmin(b.full, a); err != nil {
		return fmt.Errorf("%s is %s, but a restart will not know it: %w", b.full, a, err)
	}
	return nil
}

// Oper returns what the checks say. A backend that was not checked yet is down.
func (b *Backend) Oper() OperState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.health.oper
}

// Silent reports whether the backend is down because nothing is heard of its host, as against one that refuses, or answers in a wrong way.
func (b *Backend) Silent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.health.oper == Down && b.health.checked && (b.lastReason == ReasonTimeout || b.lastReason == ReasonUnreachable)
}

// Hello returns the last HELLO of a native backend and when it was answered.
func (b *Backend) Hello() (Hello, time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hello, b.helloAt, !b.helloAt.IsZero()
}

// Recheck asks for a check at once. At most ten a second are made, however often it is called.
func (b *Backend) Recheck() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// PauseChecks makes checks that get no answer in time count for nothing until resume is called, once: a move stops the world of an
// ircd on purpose, and a slow start after a hold is no failure. A refused connect still counts.
func (b *Backend) PauseChecks() (resume func()) {
	b.mu.Lock()
	b.lenient++
	b.mu.Unlock()
	return sync.OnceFunc(func() {
		b.mu.Lock()
		b.lenient--
		b.mu.Unlock()
		b.Recheck()
	})
}

// Status returns a picture of the backend.
func (b *Backend) Status() Status {
	serving := b.pool.Serving() == b.name
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.plan.conf
	s := Status{Pool: b.pool.name, Name: b.name, Native: c.Native(), Where: c.Handoff + c.Address, Identity: string(c.Identity),
		Admin: b.admin, Oper: b.health.oper, Checked: b.health.checked, Cause: b.health.cause, Since: b.health.since,
		Weight: c.Weight, Backup: c.Backup, Serving: serving && b.admin == Ready, Removed: b.removed.Load(), Sessions: b.Sessions(),
		LastCheck: b.lastCheck, CheckTook: b.took, CheckError: b.lastErr, Doubt: b.proof.doubt, Refusing: b.turned.text(), RefusedFrom: len(b.turned.from)}
	if b.addr.IsValid() {
		s.Stream = b.addr.String()
	}
	if !b.helloAt.IsZero() {
		h := b.hello
		s.Software, s.Epoch = h.Software+" "+h.Version, h.Epoch
		s.Users, s.Unmovable, s.Channels, s.Links = h.Users, h.Unmovable, h.Channels, h.Links
	}
	return s
}
