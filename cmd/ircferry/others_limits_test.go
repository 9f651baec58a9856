package main

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// An address that has many connections at one proxy gets fewer at the other, and as many again when that one is gone.
func TestLimitsReachAcrossProxies(t *testing.T) {
	f, dir := newFleet(t), t.TempDir()
	handoffs := map[string]string{"a": "unix:" + startIrcd(t, dir, "a").socket}
	limited := func(n int) *daemon {
		cfg := f.member(testConfig(t, handoffs), n, 2)
		cfg.Listeners[0].Limits = config.Limits{PerIP: 4, Registration: config.Duration(time.Minute)}
		return startTestDaemon(t, cfg)
	}
	one, two := limited(1), limited(2)
	awaitCluster(t, one, "both see each other", alive(2))
	for _, nick := range []string{"x", "y", "z"} {
		defer dialIRC(t, one.listening(t, "irc"), nick).Close()
	}
	// Three of four are there already.
	await(t, "the other proxy counts them", func() bool {
		a, b := knockIRC(t, two), knockIRC(t, two)
		defer a.Close()
		defer b.Close()
		return refusedIRC(b)
	})
	one.others.stop(expired())
	two.others.stop(expired())
	var conns []net.Conn
	for _, nick := range []string{"p", "q", "r"} {
		conns = append(conns, dialIRC(t, two.listening(t, "irc"), nick))
	}
	for _, c := range conns {
		c.Close()
	}
}

func knockIRC(t *testing.T, d *daemon) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", d.listening(t, "irc"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refusedIRC reports whether a connection gets an ERROR line instead of nothing.
func refusedIRC(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.HasPrefix(line, "ERROR")
}
