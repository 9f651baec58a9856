package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of a question from another proxy.
const (
	maxQuestion = 1 << 20 // bytes of its body
	maxConns    = 64      // connections of all of them
	maxAtOnce   = 64      // questions of one connection
	writeTime   = 10 * time.Second
)

// Headers of a question: who asks, and in which cluster.
const (
	headerMember = "Ircferry-Member"
	headerLabel  = "Ircferry-Cluster"
)

// rpc is both ends of the questions of proxies to each other.
type rpc struct {
	c       *Cluster
	handler http.Handler
	l       net.Listener
	server  *http.Server
	id      atomic.Pointer[tls.Config] // of the server
	client  atomic.Pointer[http.Client]
}

// newRPC listens; serve answers.
func newRPC(c *Cluster, handler http.Handler) (*rpc, error) {
	id, err := readIdentity(c.conf)
	if err != nil {
		return nil, err
	}
	r := &rpc{c: c, handler: handler}
	if r.handler == nil {
		r.handler = http.NotFoundHandler()
	}
	r.use(id)
	inner, err := net.Listen("tcp", c.conf.RPC.Listen)
	if err != nil {
		return nil, fmt.Errorf("cluster.rpc.listen: %w", err)
	}
	r.l = &filtered{Listener: inner, c: c, open: make(chan struct{}, maxConns)}
	r.server = &http.Server{
		Handler:           http.HandlerFunc(r.answer),
		TLSConfig:         &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.id.Load(), nil }, MinVersion: tls.VersionTLS13},
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxAtOnce},
		ErrorLog:          log.New(handshakes{c}, "", 0),
	}
	return r, nil
}

// use takes an identity for the connections from now on; those that are open go on, but for questions that begin.
func (r *rpc) use(id identity) {
	r.id.Store(id.serverConfig())
	next := &http.Client{Transport: &http.Transport{
		DialContext:         r.dial,
		TLSClientConfig:     id.clientConfig(),
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     time.Minute,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second}, // a member that vanished is noticed
	}}
	if was := r.client.Swap(next); was != nil {
		was.CloseIdleConnections()
	}
}

// reachedAt is where others ask: at the address of the gossip, if the RPC listens at all addresses.
func (r *rpc) reachedAt(gossip netip.Addr) netip.AddrPort {
	at := netip.MustParseAddrPort(r.l.Addr().String())
	if at.Addr().IsUnspecified() {
		return netip.AddrPortFrom(gossip, at.Port())
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

func (r *rpc) serve() {
	if err := r.server.ServeTLS(r.l, "", ""); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		r.c.log.Error("RPC of the cluster ended", "err", err)
	}
}

func (r *rpc) shutdown(ctx context.Context) error {
	err := r.server.Shutdown(ctx)
	if err != nil {
		r.server.Close()
	}
	r.client.Load().CloseIdleConnections()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil // who asks is another proxy, and will ask elsewhere
	}
	return err
}

// close is for an rpc that does not serve yet.
func (r *rpc) close() { r.l.Close() }

type askerKey struct{}

// Asker is the member that has asked a question.
func Asker(ctx context.Context) string {
	name, _ := ctx.Value(askerKey{}).(string)
	return name
}

// answer lets a member through to the handler, and nobody else.
func (r *rpc) answer(w http.ResponseWriter, q *http.Request) {
	name, why, text := r.who(q)
	if text != "" {
		r.c.refused.note(why, q.RemoteAddr, text)
		http.Error(w, text, http.StatusForbidden)
		return
	}
	r.c.members.asked(name, nil)
	if q.URL.Path == pathLeave {
		r.c.members.leaving(name)
		return
	}
	q.Body = http.MaxBytesReader(w, q.Body, maxQuestion)
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime)) //nolint:errcheck // HTTP/2 has it
	r.handler.ServeHTTP(w, q.WithContext(context.WithValue(q.Context(), askerKey{}, name)))
}

// who says who asks; text is why he is none of us.
func (r *rpc) who(q *http.Request) (name string, why Reason, text string) {
	name = q.Header.Get(headerMember)
	if !wordy(name) || len(name) > maxName {
		return "", RefusedName, "who asks has no name"
	}
	if q.TLS == nil || len(q.TLS.PeerCertificates) == 0 {
		return "", RefusedCertificate, "no certificate was shown"
	}
	if err := q.TLS.PeerCertificates[0].VerifyHostname(name); err != nil {
		return "", RefusedName, "the certificate is not that of " + name
	}
	if label := q.Header.Get(headerLabel); label != r.c.config().Label {
		return "", RefusedLabel, "this is cluster " + r.c.config().Label
	}
	m, known := r.c.members.get(name)
	switch {
	case !known:
		return "", RefusedMember, name + " is no member as far as the gossip knows here"
	case m.Self:
		return "", RefusedName, name + " is the name of this proxy"
	}
	return name, "", ""
}

// handshakes takes the lines of net/http about connections that came to nothing.
type handshakes struct{ c *Cluster }

func (h handshakes) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	rest, ok := strings.CutPrefix(text, "http: TLS handshake error from ")
	if !ok {
		h.c.log.Log(context.Background(), slog.LevelInfo, "RPC of the cluster", "text", text)
		return len(line), nil
	}
	from, text, _ := strings.Cut(rest, ": ")
	if strings.HasSuffix(text, "EOF") || bytes.Contains(line, []byte("use of closed")) || strings.Contains(text, "connection reset") {
		return len(line), nil // a scan, a check, or we end
	}
	h.c.refused.note(RefusedCertificate, from, text)
	return len(line), nil
}

// filtered lets connections in that come from a network of allow, and not too many at a time.
type filtered struct {
	net.Listener
	c    *Cluster
	open chan struct{}
}

func (f *filtered) Accept() (net.Conn, error) {
	for {
		conn, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := conn.RemoteAddr().String()
		a, err := netip.ParseAddrPort(from)
		if err != nil || !f.c.allow.has(a.Addr()) {
			f.c.refused.note(RefusedNetwork, from, "its address is in no network of cluster.allow")
			conn.Close()
			continue
		}
		select {
		case f.open <- struct{}{}:
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { <-f.open })}, nil
		default:
			f.c.refused.note(RefusedMany, from, "too many connections of the RPC are open")
			conn.Close()
		}
	}
}

type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}
