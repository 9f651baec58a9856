package proxy

import (
	"bufio"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/proxy/handshake"
)

// overTLS makes the clients of all rigs TLS ones, so that every test of the room is one of TLS as well: IRCFERRY_TEST_TLS=1 go test ./proxy.
var overTLS bool

// plaintextOnly skips a test that is about what happens without TLS, or before it.
func plaintextOnly(t testing.TB) {
	t.Helper()
	if overTLS {
		t.Skip("about clients without TLS")
	}
}

// serverTLS is a listener's configuration with a certificate of its own, as cmd makes it.
func serverTLS(t testing.TB, minVersion uint16) *tls.Config {
	t.Helper()
	pair := certtest.SelfSigned(t, certtest.Options{})
	return handshake.ServerConfig(handshake.ServerOptions{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair.Cert, nil },
		MinVersion:     minVersion, RequestCert: true, Tickets: handshake.NewTickets(),
	})
}

// secure shakes hands on a connection that was just dialled.
func (c *conn) secure(cfg *tls.Config) {
	c.t.Helper()
	c.tls = tls.Client(c.TCPConn, cfg)
	if err := c.tls.Handshake(); err != nil {
		c.t.Fatalf("TLS handshake: %v", err)
	}
	c.r.Reset(c.tls)
}

func (c *conn) Write(p []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Write(p)
	}
	return c.TCPConn.Write(p)
}

// CloseWrite ends the direction as a client does that knows how: close_notify, FIN.
func (c *conn) CloseWrite() error {
	if c.tls != nil {
		c.tls.CloseWrite()
	}
	return c.TCPConn.CloseWrite()
}

func (c *conn) Close() error {
	if c.tls != nil {
		c.tls.CloseWrite()
	}
	return c.TCPConn.Close()
}

// shake takes a connection that shakes hands; one that does not was a check or a client that did not trust us.
func (d *ircd) shake(tcp *net.TCPConn, cfg *tls.Config) {
	tcp.SetDeadline(time.Now().Add(patience))
	c := &conn{TCPConn: tcp, tls: tls.Server(tcp, cfg), t: d.t, r: bufio.NewReaderSize(tcp, 64<<10)}
	if c.tls.Handshake() != nil {
		tcp.Close()
		return
	}
	c.r.Reset(c.tls)
	d.t.Cleanup(func() { tcp.Close() })
	d.secured <- c
}
