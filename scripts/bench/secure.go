package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// Both proxies have the same certificate and speak TLS 1.3 with ECDSA P-256, X25519 and TLS_AES_128_GCM_SHA256: HAProxy by its
// configuration, ircferry because the clients offer no other group and crypto/tls prefers that suite. The clients see that it is so.
// Neither asks for client certificates. What else they do is each one's own: behind a full handshake OpenSSL sends two tickets,
// crypto/tls one.

// listenerTLS answers what the configuration of each proxy says of its listener. The certificate is made at the first call.
func (b *bench) listenerTLS() (haproxy, relay string, err error) {
	cert, key, both := filepath.Join(b.dir, "irc.pem"), filepath.Join(b.dir, "irc.key"), filepath.Join(b.dir, "both.pem")
	haproxy = " ssl crt " + both
	relay = fmt.Sprintf("    tls: {certs: [{cert: %q, key: %q}], client_cert: none}\n", cert, key)
	if _, err := os.Stat(both); err == nil {
		return haproxy, relay, nil
	}
	p, err := certtest.Make(nil, certtest.Options{})
	if err != nil {
		return "", "", err
	}
	for name, data := range map[string][]byte{cert: p.CertPEM, key: p.KeyPEM, both: append(bytes.Clone(p.CertPEM), p.KeyPEM...)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return "", "", fmt.Errorf("write certificate: %w", err)
		}
	}
	return haproxy, relay, nil
}

// clientTLS is what all clients offer. The chain is not verified, which is work of the client alone.
func clientTLS() *tls.Config {
	return &tls.Config{ServerName: "irc.test", InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}
}

func checkSuite(state tls.ConnectionState) error {
	if state.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || state.CurveID != tls.X25519 {
		return fmt.Errorf("%s with %s: not what is to be measured", tls.CipherSuiteName(state.CipherSuite), state.CurveID)
	}
	return nil
}

// secured is the TLS of one client: crypto/tls over a descriptor that is read when epoll says so.
type secured struct {
	*tls.Conn
	socket socket
}

func newSecured(fd int, cfg *tls.Config) *secured {
	s := &secured{socket: socket{fd: fd}}
	s.Conn = tls.Client(&s.socket, cfg)
	return s
}

// shakeHands makes the connections secure that are not yet, all at the same time.
func (c *clients) shakeHands(cfg *tls.Config) error {
	errs := make([]error, len(c.fds))
	var busy sync.WaitGroup
	for i := len(c.secure); i < len(c.fds); i++ {
		s := newSecured(c.fds[i], cfg)
		c.secure = append(c.secure, s)
		busy.Go(func() { errs[i] = s.shake() })
	}
	busy.Wait()
	return errors.Join(errs...)
}

// shake waits for the peer, which no other call here does.
func (s *secured) shake() error {
	if err := syscall.SetNonblock(s.socket.fd, false); err != nil {
		return fmt.Errorf("make blocking: %w", err)
	}
	s.socket.waits = true
	if err := s.Handshake(); err != nil {
		return err
	}
	if err := syscall.SetNonblock(s.socket.fd, true); err != nil {
		return fmt.Errorf("make non-blocking: %w", err)
	}
	s.socket.waits = false
	return checkSuite(s.ConnectionState())
}

func (s *secured) send(data []byte) error {
	_, err := s.Write(data)
	return err
}

// read answers how many line ends there were in what has come.
func (s *secured) read(buf []byte) (lines int, err error) {
	for {
		n, err := s.Read(buf)
		lines += bytes.Count(buf[:n], []byte{'\n'})
		switch {
		case errors.Is(err, errNothing):
			return lines, nil
		case errors.Is(err, io.EOF):
			return lines, errClosed
		case err != nil:
			return lines, err
		}
	}
}

// socket is the net.Conn of a secured.
type socket struct {
	fd    int
	waits bool // the descriptor is blocking
	empty bool // the last read found less than there was room for
}

// errNothing says that there is nothing to be read now. It is a net.Error and temporary, so crypto/tls goes on behind it.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing to be read now" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

func (s *socket) Read(p []byte) (int, error) {
	if s.empty {
		s.empty = false
		return 0, errNothing
	}
	for {
		n, err := syscall.Read(s.fd, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, errNothing
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0:
			return 0, io.EOF
		}
		s.empty = n < len(p) && !s.waits
		return n, nil
	}
}

func (s *socket) Write(p []byte) (int, error) {
	if err := write(s.fd, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// The rest is not used.
func (s *socket) Close() error                     { return nil }
func (s *socket) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *socket) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }
