package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

const (
	// connectTime bounds each step until a link's lines are passed: TLS handshakes, and the dial of the other side.
	connectTime = 10 * time.Second
	// maxConnections of one link at once: one is up, and one may try whether it is still needed; the ircd refuses what is too much.
	maxConnections = 4
)

// port is one link of the configuration: who may connect, and where that leads. It is replaced as a whole by a reload.
type port struct {
	set   *Set
	pool  string
	conf  config.Link
	allow []netip.Prefix
	full  []string    // of the backends whose link it is, "pool/name"
	tls   *tls.Config // of the peer's side; nil: plaintext
}

func (p *port) key() string { return p.pool + "/" + p.conf.Name }

// planPort reads what the link's files say.
func (s *Set) planPort(pool string, conf config.Pool, l config.Link) (*port, error) {
	p := &port{set: s, pool: pool, conf: l, allow: l.Allow}
	if len(p.allow) == 0 {
		p.allow = config.LoopbackOnly()
	}
	for _, name := range conf.LinkBackends(l) {
		p.full = append(p.full, pool+"/"+name)
	}
	if l.TLS == nil {
		return p, nil
	}
	var err error
	if l.Dial == "" {
		p.tls, err = l.TLS.ListenConfig()
	} else {
		p.tls, err = l.TLS.DialConfig(hostOf(l.Dial))
	}
	if err != nil {
		return nil, fmt.Errorf("link %s/%s: %w", pool, l.Name, err)
	}
	return p, nil
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

// serve carries one connection that came in from its first byte to the link's end; it owns c. It is a goroutine of its own.
func (p *port) serve(ctx context.Context, c net.Conn) {
	l, why, err := p.connect(ctx, c)
	if err != nil {
		p.set.refused(p, c.RemoteAddr(), why, err)
		return
	}
	l.run()
	p.set.remove(l)
}

// connect makes a link of a connection that came in, or closes it and says why.
func (p *port) connect(ctx context.Context, c net.Conn) (*link, Refusal, error) {
	if !p.allows(c.RemoteAddr()) {
		c.Close()
		return nil, RefusedAddress, errors.New("allow does not have its address")
	}
	if p.conf.Dial == "" && p.tls != nil {
		secured, err := p.set.records.secure(ctx, c, p.tls, false)
		if err != nil {
			return nil, RefusedTLS, err
		}
		c = secured
	}
	if err := p.set.await(ctx, p, c); err != nil {
		c.Close()
		return nil, RefusedHeld, err
	}
	if err := p.twin(); err != nil {
		c.Close()
		return nil, RefusedTwin, err
	}
	b := p.choose()
	if b == nil {
		c.Close()
		return nil, RefusedBackend, fmt.Errorf("none of %v is ready and up", p.full)
	}
	other, err := p.dialOther(ctx, b)
	if err != nil {
		c.Close()
		return nil, RefusedDial, err
	}
	peer, ircd := c, other
	if p.conf.Dial != "" {
		peer, ircd = other, c
	}
	l, why, err := p.set.add(p, b.FullName(), peer, ircd)
	if err != nil {
		c.Close()
		other.Close()
	}
	return l, why, err
}

// twin is why an ircd that connects cannot be the one whose link this is: that one has it, and the peer would only tell its operators that a server of
// this name is linked already. An idle InspIRCd of the same name whose <autoconnect> tries all the time is such a one.
func (p *port) twin() error {
	if p.conf.Dial == "" {
		return nil
	}
	for _, l := range p.set.all() {
		if i := l.picture(); i.key() == p.key() && (i.State == Raw || i.State == Flushing) {
			return fmt.Errorf("the link is up with %s; take the autoconnect off the ircd that tries too", i.Backend)
		}
	}
	return nil
}

func (p *port) allows(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(p.allow, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// choose is the backend that gets a new connection: the first that is ready and up. An ircd that has connected is there, whatever is wanted of it
// and whatever the checks say.
func (p *port) choose() (chosen *backend.Backend) {
	for _, full := range p.full {
		b, ok := p.set.backends.Backend(full)
		switch {
		case !ok:
		case b.Admin() == backend.Ready && b.Oper() == backend.Up:
			return b
		case p.conf.Dial != "" && chosen == nil && b.Admin() != backend.Maint:
			chosen = b
		}
	}
	return chosen
}

// dialOther connects to the other side: the ircd's port for servers, or the peer.
func (p *port) dialOther(ctx context.Context, b *backend.Backend) (net.Conn, error) {
	if p.conf.Dial == "" {
		return p.set.dialServers(ctx, b)
	}
	c, err := p.set.dial(ctx, p.conf.Dial, p.tls)
	if err != nil {
		return nil, fmt.Errorf("dial peer %s: %w", p.conf.Name, err)
	}
	return c, nil
}

// dialServers connects to where an ircd takes server links.
func (s *Set) dialServers(ctx context.Context, b *backend.Backend) (net.Conn, error) {
	conf := b.Config().Servers
	if conf == nil {
		return nil, fmt.Errorf("backend %s has no servers in the configuration", b.FullName())
	}
	c, err := s.dial(ctx, conf.Address, s.serversTLS(b.FullName()))
	if err != nil {
		return nil, fmt.Errorf("dial servers of %s: %w", b.FullName(), err)
	}
	return c, nil
}

// dial connects, with TLS if conf is not nil.
func (s *Set) dial(ctx context.Context, address string, conf *tls.Config) (net.Conn, error) {
	c, err := dialTCP(ctx, address)
	if err != nil || conf == nil {
		return c, err
	}
	return s.records.secure(ctx, c, conf, true)
}

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

var errHandshake = errors.New("TLS handshake")
