package ircd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// HandoffConfig is how a server speaks HANDOFF/1.
type HandoffConfig struct {
	Control  string      // "unix:/path" (made with mode 0600) or "tcp:host:port"
	Stream   string      // host:port for streams; "": a free port of 127.0.0.1
	TLS      *tls.Config // of a tcp control listener, with client certificates demanded (protocol.ServerTLS); nil: loopback addresses only
	Pass     string      // secret that a coordinator must tell; "": none
	MaxUsers int         // users in one transaction; 0: the protocol package's choice
	Faults   []Fault     // from the beginning; see SetFaults
	Killed   func()      // called by the fault "exit"; nil: the process ends at once with status 137
}

// Handoff is a server's end of HANDOFF/1: it can be source and destination. Its methods may be called from any goroutine.
type Handoff struct {
	srv     *Server
	end     *handoffEnd
	proto   *protocol.Server
	control net.Listener
	stream  net.Listener
	address string
	running sync.WaitGroup
	close   sync.Once
}

// StartHandoff opens the control and stream listeners and serves them until Close or the server's Close.
func (s *Server) StartHandoff(cfg HandoffConfig) (*Handoff, error) {
	network, addr, ok := strings.Cut(cfg.Control, ":")
	if !ok || (network != "unix" && network != "tcp") {
		return nil, fmt.Errorf("ircd handoff control %q: want unix:/path or tcp:host:port", cfg.Control)
	}
	setDefault(&cfg.Stream, "127.0.0.1:0")
	h := &Handoff{srv: s}
	var err error
	if h.control, err = listenControl(network, addr, cfg.TLS); err != nil {
		return nil, fmt.Errorf("ircd handoff control: %w", err)
	}
	if h.stream, err = net.Listen("tcp", cfg.Stream); err != nil {
		h.control.Close()
		return nil, fmt.Errorf("ircd handoff streams: %w", err)
	}
	h.address = network + ":" + h.control.Addr().String()
	h.end = &handoffEnd{srv: s, streams: make(map[string]*Client)}
	h.end.faults.init(cfg)
	h.proto = protocol.NewServer(h.end, protocol.Config{
		Pass: cfg.Pass, Stream: h.stream.Addr().String(), MaxUsers: cfg.MaxUsers, Intercept: h.end.faults.intercept,
	})
	h.running.Go(func() { h.proto.ListenControl(h.control) })
	h.running.Go(func() { h.proto.ListenStream(h.stream) })
	s.onClose(h.Close)
	return h, nil
}

// listenControl also takes the place of a socket that a killed process has left behind.
func listenControl(network, addr string, secure *tls.Config) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	if network != "unix" {
		return secureControl(l, err, secure)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		if conn, dialErr := net.Dial(network, addr); dialErr == nil {
			conn.Close()
			return nil, err // somebody listens
		}
		os.Remove(addr)
		l, err = net.Listen(network, addr)
	}
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(addr, 0o600)
}

// secureControl puts TLS on a TCP listener, or lets plaintext pass on loopback.
func secureControl(l net.Listener, err error, secure *tls.Config) (net.Listener, error) {
	switch {
	case err != nil:
		return nil, err
	case secure != nil:
		return tls.NewListener(l, secure), nil
	case !l.Addr().(*net.TCPAddr).IP.IsLoopback():
		l.Close()
		return nil, fmt.Errorf("listen %s: control in plaintext is for loopback addresses only", l.Addr())
	}
	return l, nil
}

// Address answers the control address in the form of HandoffConfig, with the real port.
func (h *Handoff) Address() string { return h.address }

// Stream answers the address of the stream listener.
func (h *Handoff) Stream() netip.AddrPort { return h.stream.Addr().(*net.TCPAddr).AddrPort() }

// SetFaults replaces the faults: how to misbehave from now on.
func (h *Handoff) SetFaults(faults ...Fault) { h.end.faults.set(faults) }

// Close ends control and streams that have no user yet; a stopped world goes on, an open import is aborted. Clients stay.
func (h *Handoff) Close() {
	h.close.Do(func() {
		h.control.Close()
		h.stream.Close()
		h.proto.Close()
		h.running.Wait()
	})
}

// handoffEnd is the server as protocol.Ircd sees it. It is guarded by Server.mu but for faults.
type handoffEnd struct {
	srv      *Server
	faults   faults
	streams  map[string]*Client // by stream id; nil: announced, the client comes at once. Those who are gone are swept now and then
	selected []*Client          // between Freeze and Resume or Release, while Server.mu is held
	staged   *staged            // between Begin and Commit or Abort
}

// Hello tells the server's facts. It waits while the world stands still.
func (e *handoffEnd) Hello(coordinator string) protocol.Hello {
	s := e.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	return protocol.Hello{
		Feat: e.faults.feats(), Software: software, Version: s.cfg.Version, Name: s.cfg.Name, SID: s.cfg.SID,
		Users: s.Users(), Unmovable: e.unmovable(coordinator), Channels: s.Channels(),
		Caps: strings.Fields(allCaps.names()), ISupport: s.isupport(),
	}
}

// software is what HELLO says; x. keys of records are named after it.
const software = "ircferry-ircd"

// unmovable counts the registered users who did not come by a stream of this coordinator.
func (e *handoffEnd) unmovable(coordinator string) (n int) {
	for c := range e.srv.clients {
		if c.registered && !protocol.Movable(c.u, coordinator) {
			n++
		}
	}
	return n
}

// Find answers who has a nick.
func (e *handoffEnd) Find(nick string) (u, exact string, ok bool) {
	e.srv.mu.Lock()
	defer e.srv.mu.Unlock()
	if c := e.srv.find(nick); c != nil {
		return c.u, c.nick, true
	}
	return "", "", false
}

// Open makes room for a new client; the function that it answers takes the stream over.
func (e *handoffEnd) Open(o protocol.Open) (func(net.Conn, []byte), error) {
	s := e.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, &protocol.Error{Code: protocol.CodeRefused, Text: "shutting down"}
	}
	if e.client(o.U) != nil || e.announced(o.U) {
		return nil, &protocol.Error{Code: protocol.CodeUInUse, U: o.U, Text: "the stream id is in use"}
	}
	e.sweep()
	e.streams[o.U] = nil
	st := Stream{U: o.U, Remote: o.Remote, Local: o.Local, TLS: o.TLS, CertFP: o.CertFP}
	return func(conn net.Conn, rest []byte) { e.serve(conn, rest, st) }, nil
}

// serve makes an opened stream a client.
func (e *handoffEnd) serve(conn net.Conn, rest []byte, st Stream) {
	s := e.srv
	fd, err := takeSocket(conn)
	s.do(func() {
		delete(e.streams, st.U)
		if err != nil {
			return
		}
		if s.closing {
			closeFD(fd)
			return
		}
		s.prepareSocket(fd)
		c, err := s.adopt(fd, st)
		if err != nil {
			return
		}
		e.streams[st.U] = c
		c.conn.feed(rest)
	})
	if err != nil {
		s.log.Warn("stream refused", "err", err)
	}
}

// client answers who has a stream id, or nil.
func (e *handoffEnd) client(u string) *Client {
	if c := e.streams[u]; c != nil && !c.gone {
		return c
	}
	return nil
}

// announced reports whether OPEN was taken and the client has not come yet.
func (e *handoffEnd) announced(u string) bool {
	c, ok := e.streams[u]
	return ok && c == nil
}

// sweep forgets who is gone, once they are the half: stream ids are never used again.
func (e *handoffEnd) sweep() {
	if len(e.streams) < 2*len(e.srv.clients)+64 {
		return
	}
	for u, c := range e.streams {
		if c != nil && c.gone {
			delete(e.streams, u)
		}
	}
}
