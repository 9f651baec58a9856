//go:build e2e

package e2e

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tap stands between ircferry and an ircd's control socket, and does what a test wants at a line of the ircd.
type tap struct {
	t    *testing.T
	to   string // the ircd's socket
	path string

	wg    sync.WaitGroup
	conns sync.Map

	mu       sync.Mutex
	listener *net.UnixListener
	verb     string // of the ircd; "": nothing is waited for
	act      func() (pass bool)
}

// newTap listens for the address that the ircd would have.
func newTap(t *testing.T, handoff string) *tap {
	t.Helper()
	p := &tap{t: t, to: strings.TrimPrefix(handoff, "unix:"), path: filepath.Join(shortDir(t), "tap.sock")}
	p.open()
	t.Cleanup(func() {
		p.refuse()
		p.conns.Range(func(conn, _ any) bool { _ = conn.(net.Conn).Close(); return true })
		p.wg.Wait()
	})
	return p
}

// open listens, as the ircd does from its start on.
func (p *tap) open() {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.path, Net: "unix"})
	if err != nil {
		p.t.Errorf("listen for control: %v", err)
		return
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.conns.Store(conn, nil)
			p.wg.Go(func() { p.serve(conn); p.conns.Delete(conn) })
		}
	})
}

// refuse is how the socket of an ircd is that has ended.
func (p *tap) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.listener.Close()
}

func (p *tap) handoff() string { return "unix:" + p.path }

// at has act called once, before the ircd's next line that begins with verb is passed on; that is not done if act answers false, and the
// connection ends.
func (p *tap) at(verb string, act func() (pass bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verb, p.act = verb, act
}

// done reports whether what at was told has been done.
func (p *tap) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.act == nil
}

func (p *tap) serve(client net.Conn) {
	defer client.Close()
	ircd, err := net.Dial("unix", p.to)
	if err != nil {
		return // to the client the ircd is gone, too
	}
	defer ircd.Close()
	go func() {
		_, _ = io.Copy(ircd, client)
		_ = ircd.(*net.UnixConn).CloseWrite()
	}()
	lines := bufio.NewReader(ircd)
	for {
		line, err := lines.ReadString('\n')
		if err != nil || !p.pass(line) {
			return
		}
		if _, err := io.WriteString(client, line); err != nil {
			return
		}
	}
}

func (p *tap) pass(line string) bool {
	verb, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	p.mu.Lock()
	act := p.act
	if verb != p.verb || act == nil {
		p.mu.Unlock()
		return true
	}
	p.act = nil
	p.mu.Unlock()
	return act()
}
