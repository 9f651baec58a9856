package backend

import (
	"net/netip"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// Client is who came in: U is the session's stream id, Addr and Local are the connection's ends as the client has them, after
// the PROXY header.
type Client struct {
	U     string
	Addr  netip.AddrPort
	Local netip.AddrPort
}

// Opening is how a stream to a backend begins.
type Opening struct {
	Addr        netip.AddrPort // dial this
	Preface     []byte         // write this first: OPEN line, PROXY header, WEBIRC line, or nil. Holds secrets, never logged
	Native      bool           // the first line back is "OPENED u=.." or "ERROR code=.."; strip it
	HoldForUser bool           // keep the client's lines until USER was seen (at most 2 s), then write WebIRC(c, user) before them
}

// Backend is one ircd.
type Backend struct {
	pool *Pool
	conf config.Backend
}

// Name returns the backend's name within its pool.
func (b *Backend) Name() string { return b.conf.Name }

// FullName returns "pool/name".
func (b *Backend) FullName() string { return b.pool.name + "/" + b.conf.Name }

// Pool returns the pool it belongs to.
func (b *Backend) Pool() *Pool { return b.pool }

// Config returns its configuration.
func (b *Backend) Config() config.Backend { return b.conf }

// Native reports whether it speaks HANDOFF/1.
func (b *Backend) Native() bool { return b.conf.Native() }

// Open says how to reach the backend for this client. It never blocks; an error means that the backend is not known well enough
// yet (no HELLO, name not resolved).
func (b *Backend) Open(c Client) (Opening, error) { return Opening{Native: b.Native()}, nil }

// WebIRC returns the WEBIRC line for a backend with webirc_after: user; user is parameter 1 of the client's USER line.
func (b *Backend) WebIRC(c Client, user string) []byte { return nil }

// SessionDelta counts sessions that got (+) or lost (-) their stream at this backend.
func (b *Backend) SessionDelta(n int) {}

// DialFailed reports a connect that failed, for health and backoff.
func (b *Backend) DialFailed(err error) {}

// DialOK reports a connect that was answered.
func (b *Backend) DialOK() {}

// OpenRefused reports that OPEN was answered with "ERROR code=<code>": a new process may be there, so HELLO is asked at once.
func (b *Backend) OpenRefused(code string) {}

// Admin returns what the operator wants.
func (b *Backend) Admin() AdminState { return Ready }

// SetAdmin sets what the operator wants and remembers it over restarts.
func (b *Backend) SetAdmin(a AdminState) error { return nil }

// Oper returns what the checks say.
func (b *Backend) Oper() OperState { return Down }

// Sessions returns how many sessions have their stream here.
func (b *Backend) Sessions() int { return 0 }

// Hello returns the last HELLO of a native backend and when it was answered.
func (b *Backend) Hello() (Hello, time.Time, bool) { return Hello{}, time.Time{}, false }

// Recheck asks for a check at once.
func (b *Backend) Recheck() {}
