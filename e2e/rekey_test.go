//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// forgedConn is a forger as a connection: it seals what is written, one record a write.
type forgedConn struct {
	net.Conn // crypto/tls's, for reading
	mu       sync.Mutex
	f        *forger
}

func (c *forgedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.f.raw.Write(c.f.record(recordData, p))
	return len(p), err
}

// newKeys goes over to the next keys, and asks the daemon to do the same. Half of the message comes later than the other.
func (c *forgedConn) newKeys() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.f.keyUpdate(1)
	if _, err := c.f.raw.Write(p[:len(p)/2]); err != nil {
		return err
	}
	_, err := c.f.raw.Write(p[len(p)/2:])
	return err
}

// TestKeysChangeDuringMoves: a client changes keys, and has ours changed, while it talks and is moved ten times and
// waits for a restart; every line arrives once.
func TestKeysChangeDuringMoves(t *testing.T) {
	a, b, s := startEmbedded(t, "a"), startEmbedded(t, "b"), newSecured(t)
	f := startFerry(t, nil, s.text, a.backend(), b.backend())
	forged := s.forge(t, tls.VersionTLS13)
	_ = forged.raw.SetDeadline(time.Now().Add(2 * time.Minute))
	conn := &forgedConn{Conn: forged.tls, f: forged}
	key := &irc{t: t, conn: conn}
	go key.read()
	key.register("key")
	eye := login(t, f.port, "127.0.0.1", "eye")
	for _, c := range []*irc{key, eye} {
		c.send("JOIN " + channel)
		c.expect(" 366 ")
	}

	const moves, lines, updates = 10, 600, 24 // the daemon takes 32 updates at once, and one more each second
	var talk sync.WaitGroup
	t.Cleanup(talk.Wait)
	for _, c := range []*irc{key, eye} {
		talk.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for n := 1; n <= lines; n++ {
				<-tick.C
				c.send(fmt.Sprintf("PRIVMSG %s :%s %d", channel, c.nick, n))
				if c == key && n%(lines/updates) == 0 {
					if err := conn.newKeys(); err != nil {
						t.Errorf("change keys: %v", err)
					}
				}
			}
		})
	}
	for n := range moves {
		eye.sees(fmt.Sprintf(" :key %d", (n+1)*lines/(moves+2)))
		f.replace(n)
	}
	a.restart(f)
	talk.Wait()
	for _, c := range []*irc{key, eye, key} { // all that was said is delivered before the last answer
		c.fence()
	}
	for from, to := range map[*irc]*irc{key: eye, eye: key} {
		n := 0
		for _, line := range to.since(0) {
			if _, said, ok := strings.Cut(line, " :"+from.nick+" "); ok {
				if n++; said != fmt.Sprint(n) {
					t.Fatalf("%s hears %q where line %d of %s should come", to.nick, line, n, from.nick)
				}
			}
		}
		if n != lines {
			t.Errorf("%s hears %d lines of %s, want %d", to.nick, n, from.nick, lines)
		}
	}
}
