//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// irc is a bare IRC client: it answers PING, keeps all other lines, and reads as a dialogue.
type irc struct {
	t    *testing.T
	nick string
	conn net.Conn

	mu    sync.Mutex
	lines []string
	seen  int // lines before this one were taken by expect
	err   error
}

// dial connects from a source address of 127/8. header, if any, goes first, as a balancer in front would send it.
func dial(t *testing.T, port int, from, header string) *irc {
	t.Helper()
	d := net.Dialer{Timeout: slack, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatalf("dial port %d from %s: %v", port, from, err)
	}
	c := &irc{t: t, conn: conn}
	t.Cleanup(func() { _ = conn.Close() })
	c.write(header)
	go c.read()
	return c
}

// login registers and returns when the welcome is there.
func login(t *testing.T, port int, from, nick string) *irc {
	t.Helper()
	c := dial(t, port, from, "")
	c.register(nick)
	return c
}

func (c *irc) register(nick string) {
	c.t.Helper()
	c.nick = nick
	c.send("NICK " + nick)
	c.send("USER " + nick + " 0 * :" + nick)
	c.expect(" 001 " + nick)
	c.fence()
}

func (c *irc) write(s string) {
	if _, err := c.conn.Write([]byte(s)); err != nil {
		c.t.Errorf("%s writes: %v", c.nick, err)
	}
}

func (c *irc) send(line string) { c.write(line + "\r\n") }

func (c *irc) read() {
	in := bufio.NewScanner(c.conn)
	for in.Scan() {
		line := in.Text()
		if token, ok := strings.CutPrefix(line, "PING "); ok {
			_, _ = c.conn.Write([]byte("PONG " + token + "\r\n"))
			continue
		}
		c.mu.Lock()
		c.lines = append(c.lines, line)
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err = in.Err(); c.err == nil {
		c.err = net.ErrClosed
	}
}

// expect waits for a line that contains the text, after those that were expected before.
func (c *irc) expect(text string) string {
	c.t.Helper()
	var found string
	eventually(c.t, 15*time.Second, fmt.Sprintf("%s sees %q", c.nick, text), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for ; c.seen < len(c.lines); c.seen++ {
			if strings.Contains(c.lines[c.seen], text) {
				found = c.lines[c.seen]
				c.seen++
				return true
			}
		}
		if c.err != nil {
			c.t.Fatalf("%s waits for %q: %v after:\n%s", c.nick, text, c.err, strings.Join(c.lines, "\n"))
		}
		return false
	})
	return found
}

// sees waits for a line that contains the text, wherever it is among the others.
func (c *irc) sees(text string) {
	c.t.Helper()
	eventually(c.t, time.Minute, fmt.Sprintf("%s sees %q", c.nick, text), func() bool {
		for _, line := range c.since(0) {
			if strings.Contains(line, text) {
				return true
			}
		}
		return false
	})
}

// fence returns when the ircd has read all that was sent.
func (c *irc) fence() {
	c.t.Helper()
	token := fmt.Sprintf("fence-%d", time.Now().UnixNano())
	c.send("PING " + token)
	c.expect(token)
}

// since is what came after the first n lines; count is how many there are now.
func (c *irc) since(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines[n:]...)
}

func (c *irc) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lines)
}

// closed waits for the end of the connection.
func (c *irc) closed(within time.Duration) {
	c.t.Helper()
	eventually(c.t, within, c.nick+"'s connection ends", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err != nil
	})
}
