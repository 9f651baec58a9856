package protocol

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is a Control whose other end is the test: an ircd that answers what a test wants.
func pipe(t *testing.T) (*Control, *talk) {
	t.Helper()
	near, far := net.Pipe()
	c := NewControl(near)
	t.Cleanup(func() { c.Close(); far.Close() })
	return c, &talk{t, far, bufio.NewReader(far)}
}

// A question must end with its context, not with the ircd.
func TestContextEndsABlockedQuestion(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *Control) error{
		"read": func(ctx context.Context, c *Control) error { return c.Ping(ctx) },
		"export": func(ctx context.Context, c *Control) error {
			_, err := c.Export(ctx, ExportRequest{Peek: true}, nil)
			return err
		},
		"prepare": func(ctx context.Context, c *Control) error { _, err := c.Prepare(ctx, "x"); return err },
		"write": func(ctx context.Context, c *Control) error {
			for {
				if err := c.Record(ctx, NewMessage(VerbUser, "u", "a", "x.a", strings.Repeat("x", 60_000))); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, far := pipe(t)
				if name != "write" {
					go io.Copy(io.Discard, far.conn)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				err := ask(ctx, c)
				if !errors.Is(err, ErrBroken) || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("got %v", err)
				}
				if d := time.Since(begin); d != time.Minute {
					t.Fatalf("ended after %v", d)
				}
				if err := c.Ping(t.Context()); !c.Broken() || !errors.Is(err, ErrBroken) {
					t.Fatalf("asked again: %v", err)
				}
			})
		})
	}
}

// A context that was over before anything was said breaks nothing.
func TestContextOverBeforeTheQuestion(t *testing.T) {
	r := newRig(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.c.Ping(ctx); !errors.Is(err, context.Canceled) || r.c.Broken() {
		t.Fatalf("got %v, broken %v", err, r.c.Broken())
	}
	noError(t, r.c.Ping(t.Context()))
}

// Answers that fit no question break the connection: nobody knows what the next line belongs to.
func TestAnswersThatBreak(t *testing.T) {
	tx := strings.Repeat("a", 32)
	for name, c := range map[string]struct {
		answer string
		ask    func(*Control, context.Context) error
	}{
		"another verb":  {"RESUMED tx=" + tx, func(c *Control, ctx context.Context) error { return c.Release(ctx, tx, "") }},
		"another tx":    {"RELEASED tx=b", func(c *Control, ctx context.Context) error { return c.Release(ctx, tx, "") }},
		"no line":       {"released!", func(c *Control, ctx context.Context) error { return c.Release(ctx, tx, "") }},
		"another PONG":  {"PONG t=1", func(c *Control, ctx context.Context) error { return c.Ping(ctx) }},
		"another major": {"HELLO v=2", func(c *Control, ctx context.Context) error { _, err := c.Hello(ctx, Hello{}); return err }},
		"a HELLO of -1": {"HELLO v=1 users=-1", func(c *Control, ctx context.Context) error { _, err := c.Hello(ctx, Hello{}); return err }},
		"END of another": {"END tx=b", func(c *Control, ctx context.Context) error {
			_, err := c.Export(ctx, ExportRequest{Tx: tx, Peek: true}, nil)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			con, far := pipe(t)
			go func() {
				far.r.ReadString('\n')
				fmt.Fprintln(far.conn, c.answer)
			}()
			if err := c.ask(con, t.Context()); !errors.Is(err, ErrBroken) || !con.Broken() {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// An ERROR breaks nothing, also in the midst of records.
func TestErrorAnswersBreakNothing(t *testing.T) {
	c, far := pipe(t)
	tx := strings.Repeat("a", 32)
	go func() {
		far.r.ReadString('\n')
		fmt.Fprintf(far.conn, "CHAN n=#a\nERROR code=internal tx=%s text=no\\smore\n", tx)
		far.r.ReadString('\n')
		fmt.Fprintf(far.conn, "RESUMED tx=%s\n", tx)
	}()
	_, err := c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Second}, func(Message) error { return nil })
	var e *Error
	if !errors.As(err, &e) || *e != (Error{Code: CodeInternal, Tx: tx, Text: "no more"}) || c.Broken() {
		t.Fatalf("got %#v", err)
	}
	noError(t, c.Resume(t.Context(), tx))
}

// lateConn ends a context as it gives an answer, and gives it when that has come to the connection.
type lateConn struct {
	net.Conn
	end   context.CancelFunc
	ended chan struct{}
}

func (l *lateConn) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.end(); err == nil {
		<-l.ended
	}
	return n, err
}

func (l *lateConn) SetDeadline(time.Time) error { close(l.ended); return nil }

// A HELLO that is answered as its time is over is none: with that connection a move would begin, and fail when everybody stands still.
func TestHelloAnsweredTooLate(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	ctx, cancel := context.WithCancel(t.Context())
	c := NewControl(&lateConn{Conn: near, end: cancel, ended: make(chan struct{})})
	defer c.Close()
	go func() {
		bufio.NewReader(far).ReadString('\n')
		fmt.Fprintln(far, "HELLO v=1")
	}()
	if h, err := c.Hello(ctx, Hello{}); !errors.Is(err, ErrBroken) || !errors.Is(err, context.Canceled) || !c.Broken() {
		t.Errorf("got %v, %v", h, err)
	}
}

func TestDialRefuses(t *testing.T) {
	for _, address := range []string{"", "unix", "unix:", "udp:127.0.0.1:1", "/run/sock", "tcp:"} {
		if c, err := Dial(t.Context(), address); err == nil {
			c.Close()
			t.Errorf("%q was dialled", address)
		}
	}
}

// Plaintext control leaves the machine for nobody: mutual TLS, or loopback.
func TestControlOverMutualTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", ServerTLS(cert, pool))
	noError(t, err)
	s := NewServer(newFakeIrcd(), Config{})
	ended := make(chan error)
	go func() { ended <- s.ListenControl(l) }()
	defer func() {
		l.Close()
		s.Close()
		noError(t, <-ended)
	}()
	d := Dialer{TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, ServerName: "ircd.test"}}
	c, err := d.Dial(t.Context(), "tcp:"+l.Addr().String())
	noError(t, err)
	defer c.Close()
	_, err = c.Hello(t.Context(), Hello{})
	noError(t, err)

	d.TLS.Certificates = nil
	if c, err := d.Dial(t.Context(), "tcp:"+l.Addr().String()); err == nil { // TLS 1.3 tells at the first read
		if _, err = c.Hello(t.Context(), Hello{}); err == nil {
			t.Fatal("let in without a certificate")
		}
		c.Close()
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"ircd.test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	noError(t, err)
	leaf, err := x509.ParseCertificate(der)
	noError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
