package handshake

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/ircferry/ircferry/proxy/wire"
)

// Options say where a handshake's bytes go and who hears of its end.
type Options struct {
	// Slots bounds how many handshakes compute at a time; one that waits for its peer holds none. nil: no bound.
	Slots *Slots

	// Local and Remote are the addresses that callbacks of the tls.Config see. They may be nil.
	Local, Remote net.Addr

	// Write takes what is to be sent. It is called on the handshake's goroutine, never after Done, and must not block. p is the
	// callee's from then on, to be read only.
	Write func(p []byte)

	// Done is called once, on the handshake's goroutine, which ends with it.
	Done func(Result)
}

// Result is the end of a handshake. Either Err is set, or all the rest is.
type Result struct {
	Params wire.TLSParams // its secrets are the receiver's: NewTLS zeroes them, else Params.Wipe does
	Facts  Facts
	Err    error // an *Error. The alerts that are due have gone through Write
}

// Handshake is one TLS handshake. Feed, End and Rest may be called from any goroutine, Rest after Done.
type Handshake struct {
	cfg    *tls.Config
	client bool
	done   func(Result)
	slots  *Slots

	begun   sync.Once
	started atomic.Bool
	gate    gate
	secrets secrets
}

// Server prepares a handshake with a client. Nothing runs before the first Feed. cfg is not changed and must not have a GetConfigForClient
// of its own; see ServerConfig.
func Server(cfg *tls.Config, o Options) *Handshake { return prepare(cfg, o, false) }

// Client prepares a handshake with a server; Start begins it. Sessions are never resumed. See ClientConfig.
func Client(cfg *tls.Config, o Options) *Handshake { return prepare(cfg, o, true) }

func prepare(cfg *tls.Config, o Options, client bool) *Handshake {
	h := &Handshake{cfg: cfg, client: client, done: o.Done, slots: o.Slots}
	h.gate.open(o, client)
	return h
}

// Start begins the handshake of a client.
func (h *Handshake) Start() {
	h.begun.Do(func() {
		h.started.Store(true)
		go h.run()
	})
}

// Begun reports whether the goroutine has begun: before, there is nothing of the handshake but what was fed.
func (h *Handshake) Begun() bool { return h.started.Load() }

// Feed gives the handshake what came from the peer. p is copied.
func (h *Handshake) Feed(p []byte) {
	if h.gate.feed(p) {
		h.Start()
	}
}

// End says that nothing more comes: the peer has ended (io.EOF), or the time is over (os.ErrDeadlineExceeded). Records
// that are there whole are still worked off; then the handshake fails with err. Done comes in each case.
func (h *Handshake) End(err error) {
	h.gate.end(err)
	h.Start()
}

// Rest is what was fed and lies behind the handshake: the beginning of the peer's application records. It is for who feeds, when the
// Result has reached it: what it has fed between the end of the handshake and that moment is in it.
func (h *Handshake) Rest() []byte { return h.gate.rest() }

func (h *Handshake) run() {
	h.slots.take(h.client)
	res := h.shake()
	h.slots.give()
	h.done(res)
}

// shake runs crypto/tls to its end and takes over. A panic costs this connection only.
func (h *Handshake) shake() (res Result) {
	defer h.wipe()
	defer func() {
		if v := recover(); v != nil {
			res.Params.Wipe()
			res = Result{Err: &Error{Reason: reasonInternal, Cause: fmt.Errorf("panic with %T", v)}}
		}
	}()
	conn := tls.Server(&h.gate, h.config())
	if h.client {
		conn = tls.Client(&h.gate, h.config())
	}
	if err := conn.HandshakeContext(context.Background()); err != nil {
		return Result{Err: h.gate.explain(err)}
	}
	state := conn.ConnectionState()
	p, err := h.takeOver(&state)
	if err != nil {
		return Result{Err: &Error{Reason: reasonTakeOver, Cause: err}}
	}
	return Result{Params: p, Facts: factsOf(&state, &p)}
}

// wipe forgets what only the handshake needed.
func (h *Handshake) wipe() {
	h.secrets.wipe()
	h.gate.seen = capture{}
}

// config is the configuration for this connection alone: it brings the secrets here.
func (h *Handshake) config() *tls.Config {
	c := h.cfg.Clone()
	c.KeyLogWriter = &h.secrets
	c.ClientSessionCache = nil
	if h.client || c.SessionTicketsDisabled {
		return c
	}
	unwrap := h.cfg.UnwrapSession
	if unwrap == nil { // the keys must be the base's: a clone would make its own
		unwrap, c.WrapSession = h.cfg.DecryptTicket, h.cfg.EncryptTicket
	}
	c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		s, err := unwrap(identity, cs)
		if s != nil && cs.Version == tls.VersionTLS12 {
			h.secrets.resume(s)
		}
		return s, err
	}
	return c
}
