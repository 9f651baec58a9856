package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// ErrTLS marks a handshake that failed for a reason of TLS: a certificate that is not good, or no common version or suite. Whoever shakes
// hands by Opening.TLS wraps it in what it gives to DialFailed.
var ErrTLS = errors.New("TLS handshake")

// ErrNotTried is for DialFailed too: a handshake that waited for others for too long to be begun, which says nothing of the backend.
var ErrNotTried = errors.New("not begun in time")

// readTLS reads what the plan needs for TLS, at start and at each reload.
func (pl *plan) readTLS(host string) error {
	t := pl.conf.TLS
	if t == nil {
		return nil
	}
	var err error
	switch {
	case pl.network == "unix":
		return errors.New("tls: a unix socket has none; leave it out")
	case !pl.conf.Native() && t.Cert+t.Key != "":
		return errors.New("tls.cert: the ircd would take it for the certificate of every client; leave cert and key out")
	case pl.conf.Native() && (t.Cert == "" || t.Key == ""):
		return errors.New("tls: a control connection wants to know both ends; name cert and key")
	}
	pl.tls, err = t.ClientConfig(host)
	return err
}

// streamTLS is for streams: those of a native backend have none, whatever its control connection has.
func (pl plan) streamTLS() *tls.Config {
	if pl.conf.Native() {
		return nil
	}
	return pl.tls
}

// secure shakes hands on a connection that was dialled for a check, if the plan wants TLS. It owns conn if it fails.
func (pl plan) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if pl.tls == nil {
		return conn, nil
	}
	tc := tls.Client(conn, pl.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, pl.explain(fmt.Errorf("%w: %w", ErrTLS, err))
	}
	return tc, nil
}

// remoteAlert is the operation in which crypto/tls tells that the peer has sent an alert (crypto/tls/conn.go, readRecordOrCCS); the alert
// itself is of a type that is not exported.
const remoteAlert = "remote error"

// explain adds the way out to an error of TLS and to a refused secret; others it leaves alone.
func (pl plan) explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case protocol.HasCode(err, protocol.CodeDenied) && pl.password == "":
		return fmt.Errorf("%w: it wants a secret; write the one of its configuration into a file, and the file's name as handoff_pass_file", err)
	case protocol.HasCode(err, protocol.CodeDenied):
		return fmt.Errorf("%w: the secret in %s is not that of its configuration", err, pl.conf.HandoffPassFile)
	case errors.Is(err, protocol.ErrImpostor):
		return fmt.Errorf("%w: the secret in %s is not that of its configuration, or somebody else has its port", err, pl.conf.HandoffPassFile)
	case errors.As(err, &unknown):
		roots := "of the system's roots; name its CA's certificate, or its own, as tls.ca"
		if pl.conf.TLS.CA != "" {
			roots = "of the certificates in " + pl.conf.TLS.CA
		}
		return fmt.Errorf("%w: its certificate leads to none %s", err, roots)
	case errors.As(err, &name):
		return fmt.Errorf("%w: a name of its certificate must be that of the address, or tls.server_name", err)
	case errors.As(err, &record):
		return fmt.Errorf("%w: there is no TLS; name its TLS port, or leave tls out", err)
	case errors.As(err, &op) && op.Op == remoteAlert && pl.conf.TLS.Cert != "":
		return fmt.Errorf("%w: it may not know our certificate, %s", err, pl.conf.TLS.Cert)
	}
	return err
}

// DialControl opens a control connection to a native backend as it is configured now, over TLS if it has that, and says HELLO in the name of
// name. The connection is the caller's. It blocks until ctx ends at most; it is not for event loops.
func (b *Backend) DialControl(ctx context.Context, name string) (*protocol.Control, Hello, error) {
	b.mu.Lock()
	pl, known := b.plan, b.known
	b.mu.Unlock()
	hi, _, err := pl.dialControl(ctx, b.set.opt.reach(), known, name)
	return hi.control, hi.hello, err
}

// greeted is a control connection and what was answered to HELLO.
type greeted struct {
	control *protocol.Control
	hello   Hello
}

// errHello marks a failure at HELLO: somebody is there.
var errHello = errors.New("hello")

// dialControl finds the ircd and says HELLO. With TLS 1.3 it is at HELLO that a refusal of our certificate is heard.
func (pl plan) dialControl(ctx context.Context, way reach, known []netip.AddrPort, name string) (greeted, found, error) {
	hi, f, err := find(ctx, way, pl, known, func(ctx context.Context, conn net.Conn) (greeted, error) {
		control, h, err := pl.greet(ctx, name, pl.over(ctx, way, conn, func(conn net.Conn) *protocol.Control { return protocol.NewControl(conn) }))
		if err != nil && control != nil {
			control.Close()
			err = fmt.Errorf("%w: %w", errHello, err)
		}
		if err != nil {
			return greeted{}, err
		}
		return greeted{control, h}, nil
	}, func(hi greeted) { hi.control.Close() })
	if err != nil {
		return greeted{}, f, fmt.Errorf("dial handoff %s: %w", pl.conf.Handoff, bare(err))
	}
	return hi, f, nil
}

// sameTLS reports whether two configurations want the same of TLS; what is in the files may differ.
func sameTLS(a, b config.Backend) bool {
	if a.TLS == nil || b.TLS == nil {
		return a.TLS == b.TLS
	}
	return *a.TLS == *b.TLS
}
