package wire_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/handshake"
)

// echoDir says to a process of this test binary that it is one of those that echo, and where the certificates are.
const echoDir = "IRCFERRY_TEST_ECHO"

// report is a line that such a process says to the test.
type report struct {
	ID    string
	Addr  string  // it listens there for the session
	Over  *course // the session has ended well
	Error string
}

// echoProcess takes new sessions as the test wants it, on standard input, and others from the process before it, and gives them to the
// process behind it.
type echoProcess struct {
	dir     string
	certs   []tls.Certificate
	tickets *handshake.Tickets
	in, out *net.UnixConn

	mu sync.Mutex // of out and standard output
}

// TestEchoProcess is a process of TestHandOver; it is no test.
func TestEchoProcess(t *testing.T) {
	dir := os.Getenv(echoDir)
	if dir == "" {
		return
	}
	p := &echoProcess{dir: dir, tickets: handshake.NewTickets(), in: inherited(t, 3), out: inherited(t, 4)}
	for _, name := range certNames {
		c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		p.certs = append(p.certs, c)
	}
	go p.takeOver()
	for d := json.NewDecoder(os.Stdin); ; {
		var c course
		if d.Decode(&c) != nil {
			return // the test has ended
		}
		go func() { p.failed(c.ID, p.take(c)) }()
	}
}

func inherited(t *testing.T, fd uintptr) *net.UnixConn {
	f := os.NewFile(fd, "ring")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

func (p *echoProcess) say(r report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	json.NewEncoder(os.Stdout).Encode(r)
}

func (p *echoProcess) failed(id string, err error) {
	if err != nil {
		p.say(report{ID: id, Error: fmt.Sprintf("process %d: %v", os.Getpid(), err)})
	}
}

// take makes a connection, shakes hands and echoes.
func (p *echoProcess) take(c course) error {
	conn, err := p.connect(c)
	if err != nil {
		return err
	}
	res, rest, err := p.shake(conn, c.Dial != "")
	if err != nil {
		return err
	}
	c.Resumed, c.Cipher = res.Facts.Resumed, res.Facts.Cipher
	fd, err := descriptor(conn)
	if err != nil {
		return err
	}
	e, err := newEcho(c, fd)
	if err != nil {
		return err
	}
	return p.echo(e, e.begin(&res.Params, rest))
}

func (p *echoProcess) connect(c course) (*net.TCPConn, error) {
	if c.Dial != "" {
		conn, err := net.Dial("tcp", c.Dial)
		if err != nil {
			return nil, err
		}
		return conn.(*net.TCPConn), nil
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	p.say(report{ID: c.ID, Addr: ln.Addr().String()})
	conn, err := ln.Accept()
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// shake runs the handshake. conn is read in pieces of any size, also beyond its end.
func (p *echoProcess) shake(conn *net.TCPConn, client bool) (handshake.Result, []byte, error) {
	conn.SetDeadline(time.Now().Add(patience))
	conn.SetWriteBuffer(8 << 10) // so that the socket does not take all
	over := make(chan handshake.Result, 1)
	o := handshake.Options{
		Write: func(b []byte) { conn.Write(b) },
		Done: func(r handshake.Result) {
			over <- r
			conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
		},
	}
	var h *handshake.Handshake
	if client {
		h = handshake.Client(p.clientConfig(), o)
		h.Start()
	} else {
		h = handshake.Server(handshake.ServerConfig(handshake.ServerOptions{GetCertificate: p.choose, Tickets: p.tickets}), o)
	}
	for left := 50 << 10; left > 0; { // of which a part may be Rest, and that is to be kept
		buf := make([]byte, min(5000, left))
		n, err := conn.Read(buf)
		left -= n
		h.Feed(buf[:n])
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				h.End(err)
			}
			break
		}
	}
	res := <-over
	return res, h.Rest(), res.Err
}

func (p *echoProcess) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	for i := range p.certs {
		if hello.SupportsCertificate(&p.certs[i]) == nil {
			return &p.certs[i], nil
		}
	}
	return nil, errors.New("no certificate")
}

func (p *echoProcess) clientConfig() *tls.Config {
	roots := x509.NewCertPool()
	for _, c := range p.certs {
		roots.AddCert(c.Leaf)
	}
	return handshake.ClientConfig(handshake.ClientOptions{RootCAs: roots, ServerName: serverName})
}

// descriptor takes the socket out of the runtime's hands. It stays non-blocking.
func descriptor(conn *net.TCPConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	e := raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(e, err, conn.Close())
}

// echo echoes until the session is over or handed over.
func (p *echoProcess) echo(e *echo, err error) error {
	defer e.end()
	if err != nil {
		return err
	}
	over, err := e.run()
	switch {
	case err != nil:
		return fmt.Errorf("%w, after %d bytes; to come %q, seen %+v", err, e.Echoed, e.Moments, e.Seen)
	case over:
		p.say(report{ID: e.ID, Over: &e.course})
		return nil
	}
	c, state, err := e.handOver()
	if err != nil {
		return err
	}
	return p.pass(c, state, e.fd)
}

// pass gives a session to the process behind: two lengths with the descriptor, course, and state.
func (p *echoProcess) pass(c course, state []byte, fd int) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(len(b))), uint32(len(state)))
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, _, err := p.out.WriteMsgUnix(head, unix.UnixRights(fd), nil); err != nil {
		return err
	}
	_, err = p.out.Write(append(b, state...))
	return err
}

// takeOver takes the sessions of the process before.
func (p *echoProcess) takeOver() {
	for {
		c, state, fd, err := p.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.failed("", err)
			}
			return
		}
		go func() {
			e, err := newEcho(c, fd)
			if err == nil {
				err = p.echo(e, e.resume(state))
			}
			p.failed(c.ID, err)
		}()
	}
}

func (p *echoProcess) next() (c course, state []byte, fd int, err error) {
	head, rights := make([]byte, 8), make([]byte, unix.CmsgSpace(4))
	n, rn, _, _, err := p.in.ReadMsgUnix(head, rights)
	if err != nil || n != len(head) {
		return c, nil, 0, errors.Join(err, io.EOF)
	}
	ms, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil || len(ms) != 1 {
		return c, nil, 0, fmt.Errorf("%d control messages: %w", len(ms), err)
	}
	fds, err := unix.ParseUnixRights(&ms[0])
	if err != nil {
		return c, nil, 0, err
	}
	unix.CloseOnExec(fds[0])
	b, state := make([]byte, binary.BigEndian.Uint32(head)), make([]byte, binary.BigEndian.Uint32(head[4:]))
	if _, err := io.ReadFull(p.in, b); err != nil {
		return c, nil, 0, err
	}
	if _, err := io.ReadFull(p.in, state); err != nil {
		return c, nil, 0, err
	}
	return c, state, fds[0], json.Unmarshal(b, &c)
}
