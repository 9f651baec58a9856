package handshake

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// ended is a handshake whose Result has arrived where the bytes are fed.
type ended struct {
	Result
	rest []byte
	conn net.Conn
}

// pair is two ends of a TCP connection.
func pair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{a, b} {
		c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { c.Close() })
	}
	return a, b
}

// carry does what the loop does: it feeds the handshake from the connection until the Result is there. most bounds a read.
func carry(conn net.Conn, most int, start func(Options) *Handshake) <-chan ended {
	out := make(chan ended, 1)
	over := make(chan Result, 1)
	h := start(Options{
		Local: conn.LocalAddr(), Remote: conn.RemoteAddr(),
		Write: func(p []byte) { conn.Write(p) },
		Done: func(r Result) {
			over <- r
			conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
		},
	})
	go func() {
		buf := make([]byte, most)
		for {
			n, err := conn.Read(buf)
			h.Feed(buf[:n])
			if err != nil {
				if !errors.Is(err, net.ErrClosed) && !isTimeout(err) {
					h.End(io.EOF)
				}
				break
			}
		}
		r := <-over
		conn.SetDeadline(time.Now().Add(patience))
		out <- ended{r, h.Rest(), conn}
	}()
	return out
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func serve(conn net.Conn, cfg *tls.Config) <-chan ended {
	return carry(conn, 16<<10, func(o Options) *Handshake { return Server(cfg, o) })
}

func shakeAsClient(conn net.Conn, cfg *tls.Config) <-chan ended {
	return carry(conn, 16<<10, func(o Options) *Handshake {
		h := Client(cfg, o)
		h.Start()
		return h
	})
}

func wait(t testing.TB, c <-chan ended) ended {
	t.Helper()
	select {
	case e := <-c:
		return e
	case <-time.After(patience):
		t.Fatal("handshake has not ended")
		panic("unreachable")
	}
}

func must(t testing.TB, c <-chan ended) ended {
	t.Helper()
	e := wait(t, c)
	if e.Err != nil {
		t.Fatal(e.Err)
	}
	return e
}

// serverConfig is that of a listener with this certificate.
func serverConfig(p *certtest.Pair, o ServerOptions) *tls.Config {
	o.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &p.Cert, nil }
	return ServerConfig(o)
}

// talk has both sides say something, several times.
func talk(t testing.TB, peer *tls.Conn, e ended) {
	t.Helper()
	c := newCodec(&e.Params, e.rest, e.conn)
	for i := range 5 {
		ping := bytes.Repeat([]byte{'a' + byte(i)}, 1+i*700)
		if _, err := peer.Write(ping); err != nil {
			t.Fatal("peer writes:", err)
		}
		if got, err := c.next(); err != nil || !bytes.Equal(got, ping) {
			t.Fatalf("from the peer: %d bytes, %v", len(got), err)
		}
		c.Write(ping)
		got := make([]byte, len(ping))
		if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, ping) {
			t.Fatalf("to the peer: %v", err)
		}
	}
	if err := peer.Close(); err != nil {
		t.Fatal("peer closes:", err)
	}
	if _, err := c.next(); !errors.Is(err, io.EOF) {
		t.Fatal("close_notify:", err)
	}
}
