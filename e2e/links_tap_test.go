//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// linkTap is a relay of the test's own in a server link: it records every line of both directions, and does what a test wants at one. With TLS it shows to
// each end the other one's certificate.
type linkTap struct {
	t           *testing.T
	port        int
	listener    net.Listener
	front, back *tls.Config // to who dials, to who is dialled; nil: plaintext
	peerDialled bool        // it is the ircd's side that dials
	wg          sync.WaitGroup

	mu    sync.Mutex
	to    int // the port that it leads to
	conns []*tapConn
	at    []tapAct
}

// tapAct is done before a line is passed.
type tapAct struct {
	line *regexp.Regexp
	act  func() (pass bool)
}

// tapConn is one connection through a tap. Its fields are the tap's, under its mutex.
type tapConn struct {
	began      time.Time
	name       string // how the peer calls itself
	lines      []tapLine
	ended      bool // either end has closed it
	near, away net.Conn
}

type tapLine struct {
	at   time.Time
	up   bool // from the peer
	text string
}

// newLinkTap listens, and dials a port of 127.0.0.1 for each connection.
func newLinkTap(t *testing.T, to int) *linkTap {
	t.Helper()
	return newTLSTap(t, to, nil, nil)
}

func newTLSTap(t *testing.T, to int, front, back *tls.Config) *linkTap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &linkTap{t: t, to: to, front: front, back: back, listener: l, port: l.Addr().(*net.TCPAddr).Port}
	p.wg.Go(p.accept)
	t.Cleanup(func() { _ = l.Close(); p.sever(); p.wg.Wait() })
	return p
}

func (p *linkTap) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		to := p.to
		p.mu.Unlock()
		away, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
		if err != nil {
			_ = near.Close() // as if nobody had listened
			continue
		}
		if p.front != nil {
			near, away = tls.Server(near, p.front), tls.Client(away, p.back)
		}
		c := &tapConn{began: time.Now(), near: near, away: away}
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.mu.Unlock()
		var both sync.WaitGroup
		both.Go(func() { p.relay(c, away, near, !p.peerDialled) })
		both.Go(func() { p.relay(c, near, away, p.peerDialled) })
		p.wg.Go(func() {
			both.Wait()
			_, _ = near.Close(), away.Close()
		})
	}
}

var introduces = regexp.MustCompile(`^(?::\S+ )?SERVER (\S+) `)

func (p *linkTap) relay(c *tapConn, to, from net.Conn, up bool) {
	lines := bufio.NewReaderSize(from, 1<<16)
	for {
		line, err := lines.ReadString('\n')
		if line != "" && p.record(c, strings.TrimRight(line, "\r\n"), up) {
			if _, failed := io.WriteString(to, line); failed != nil {
				err = failed
			}
		}
		if err != nil {
			break
		}
	}
	p.mu.Lock()
	c.ended = true
	p.mu.Unlock()
	_ = to.(interface{ CloseWrite() error }).CloseWrite()
}

// record answers whether the line is to be passed.
func (p *linkTap) record(c *tapConn, text string, up bool) bool {
	p.mu.Lock()
	if m := introduces.FindStringSubmatch(text); m != nil && up && c.name == "" {
		c.name = m[1]
	}
	c.lines = append(c.lines, tapLine{time.Now(), up, text})
	var act func() bool
	for n, a := range p.at {
		if a.line.MatchString(text) {
			act = a.act
			p.at = append(p.at[:n:n], p.at[n+1:]...)
			break
		}
	}
	p.mu.Unlock()
	return act == nil || act()
}

// when has act done, once, before the next line that matches is passed on, which is not done if act answers false.
func (p *linkTap) when(line string, act func() (pass bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = append(p.at, tapAct{regexp.MustCompile(line), act})
}

// done reports whether all that when was told has been done.
func (p *linkTap) done() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.at) == 0
}

// sever ends all connections, as a network does that fails.
func (p *linkTap) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_, _ = c.near.Close(), c.away.Close()
	}
}

// of is the connections of a server until now, in order.
func (p *linkTap) of(name string) (conns []tapConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if c.name == name {
			kept := *c
			kept.lines = append([]tapLine(nil), c.lines...)
			conns = append(conns, kept)
		}
	}
	return conns
}

// saw waits until a line of the last connection of a server, after the first n, has gone the one way or the other.
func (p *linkTap) saw(name string, up bool, n int, line string) string {
	p.t.Helper()
	re, found := regexp.MustCompile(line), ""
	eventually(p.t, 20*time.Second, fmt.Sprintf("the link of %s carries %q", name, line), func() bool {
		conns := p.of(name)
		if len(conns) == 0 {
			return false
		}
		lines := conns[len(conns)-1].lines
		for _, l := range lines[min(n, len(lines)):] {
			if l.up == up && re.MatchString(l.text) {
				found = l.text
				return true
			}
		}
		return false
	})
	return found
}

// count is how many lines the last connection of a server has carried.
func (p *linkTap) count(name string) (lines int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if c.name == name {
			lines = len(c.lines)
		}
	}
	return lines
}
