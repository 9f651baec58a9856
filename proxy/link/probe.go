package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// probeTime bounds the look at one end of a link; all are looked at together.
const probeTime = 3 * time.Second

// Probe looks at what the links of a configuration lead to, and says what is wrong there or what it found: whether their listeners can be opened, and
// which server protocol and whose certificate is at the other ends. Nothing is said there and nothing is kept. It is for `ircferry check`.
func Probe(ctx context.Context, cfg config.Config) []config.Finding {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var wg sync.WaitGroup
	var all []*prober // in the order of the configuration
	each := func(key string, f func(*prober)) {
		p := &prober{key: key}
		all = append(all, p)
		wg.Go(func() { f(p) })
	}
	for _, pool := range slices.Sorted(maps.Keys(cfg.Pools)) {
		for i, b := range cfg.Pools[pool].Backends {
			if s := b.Servers; s != nil {
				each(fmt.Sprintf("pools.%s.backends[%d].servers", pool, i), func(p *prober) { p.dials(ctx, s.Address, s.TLS) })
			}
		}
		for i, l := range cfg.Pools[pool].Links {
			each(fmt.Sprintf("pools.%s.links[%d]", pool, i), func(p *prober) {
				p.listens(l)
				if l.Dial != "" {
					p.dials(ctx, l.Dial, l.TLS)
				}
			})
		}
	}
	wg.Wait()
	var out []config.Finding
	for _, p := range all {
		out = append(out, p.found...)
	}
	return out
}

// prober looks at one end.
type prober struct {
	key   string
	found []config.Finding
}

func (p *prober) add(s config.Severity, format string, args ...any) {
	p.found = append(p.found, config.Finding{Severity: s, Key: p.key, Text: fmt.Sprintf(format, args...)})
}

// listens says whether a link's listener can be opened, and which certificate peers will see.
func (p *prober) listens(l config.Link) {
	socket, err := net.Listen("tcp", l.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		p.add(config.SeverityOK, "%s is listened on: by the daemon that runs, or (ss -ltnp) by another program", l.Listen)
	case err != nil:
		p.add(config.SeverityError, "listen: %v", wayOut(err, l.Listen))
	default:
		socket.Close()
	}
	if l.TLS == nil || l.TLS.Cert == "" {
		return
	}
	if print, err := l.TLS.OwnFingerprint(); err == nil { // else config.Verify says so
		p.add(config.SeverityOK, "%s is shown our certificate with the fingerprint %s", l.Name, print)
	}
}

// dials connects to an end as a link would, hears what it says first, and leaves.
func (p *prober) dials(ctx context.Context, address string, t *config.LinkTLS) {
	var conf *tls.Config
	if t != nil {
		var err error
		if conf, err = t.DialConfig(hostOf(address)); err != nil {
			return // config.Verify says so
		}
	}
	c, err := look(ctx, address, conf)
	if err != nil {
		p.unreached(address, t, err)
		return
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetReadDeadline(deadline)
	line, err := bufio.NewReader(io.LimitReader(c, maxLine)).ReadString('\n')
	m := parse([]byte(line))
	said := m.params(2)
	switch {
	case errors.Is(err, io.EOF) && line == "":
		p.add(config.SeverityWarning, "%s closes the connection at once: a link block of its configuration must allow our address (InspIRCd: allowmask)", address)
	case err != nil || !m.is("CAPAB") || len(said) < 2:
		p.add(config.SeverityWarning, "%s does not begin as InspIRCd does with servers (CAPAB START): what is there cannot be held", address)
	default:
		p.speaks(address, said[1], c)
	}
}

// look connects, with TLS if conf is not nil: crypto/tls's own, which tells whose the other end is.
func look(ctx context.Context, address string, conf *tls.Config) (net.Conn, error) {
	c, err := dialTCP(ctx, address)
	if err != nil || conf == nil {
		return c, err
	}
	secured := tls.Client(c, conf)
	if err := secured.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return secured, nil
}

// speaks says what is there. An ircd says the newest protocol that it knows, and speaks that of its peer.
func (p *prober) speaks(address, number string, c net.Conn) {
	proto, _ := strconv.Atoi(number)
	whose := ""
	if secured, ok := c.(*tls.Conn); ok {
		whose = "; its certificate has the fingerprint " + string(config.FingerprintOf(secured.ConnectionState().PeerCertificates[0]))
	}
	if !holdable(proto) {
		p.add(config.SeverityWarning, "%s speaks server protocol %d, and links can be held that speak 1202, 1205 or 1206%s", address, proto, whose)
		return
	}
	p.add(config.SeverityOK, "%s takes servers, protocol %d%s", address, proto, whose)
}

func (p *prober) unreached(address string, t *config.LinkTLS, err error) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		p.add(config.SeverityWarning, "nobody listens at %s", address)
	case errors.Is(err, config.ErrFingerprint):
		p.add(config.SeverityError, "%s is somebody else than fingerprints say, or has a new certificate: %v", address, err)
	case t != nil && errors.Is(err, errHandshake):
		p.add(config.SeverityError, "%s: %v", address, err)
	default:
		p.add(config.SeverityWarning, "%s cannot be reached: %v", address, err)
	}
}
