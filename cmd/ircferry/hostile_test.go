package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// hostileDaemon is a daemon in front of one ircd process, with a client who must never notice what others do.
func hostileDaemon(t *testing.T, change func(*config.Listener)) (d *daemon, addr string, witness *ircclient.Tester) {
	t.Helper()
	a := startIrcd(t, t.TempDir(), "a")
	cfg := testConfig(t, map[string]string{"a": "unix:" + a.socket})
	if change != nil {
		change(&cfg.Listeners[0])
	}
	d = startTestDaemon(t, cfg)
	addr = d.address(t)
	return d, addr, ircclient.TestUser(t, addr, "witness")
}

// ended sums the close reasons that the metrics tell.
func (d *daemon) ended(t *testing.T, reason string) int {
	t.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		if f.GetName() != "ircferry_sessions_ended_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "reason" && l.GetValue() == reason {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return int(n)
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// send writes what it can and answers all that came back until the other end closed.
func send(t *testing.T, addr string, p []byte) string {
	t.Helper()
	c := dial(t, addr)
	var got bytes.Buffer
	read := make(chan struct{})
	go func() { io.Copy(&got, c); close(read) }()
	c.Write(p)
	<-read
	return got.String()
}

// rss is the resident memory of this process in bytes, without what waits to be collected.
func rss(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestMegabyteLineIsRefusedWithItsReason(t *testing.T) {
	t.Parallel() // most of it is waiting for the end
	d, addr, witness := hostileDaemon(t, nil)
	for range 20 {
		if got := send(t, addr, bytes.Repeat([]byte("x"), 1<<20)); !strings.Contains(got, "ERROR") {
			t.Fatalf("answered %q", got)
		}
	}
	await(t, "counted", func() bool { return d.ended(t, "line_too_long") == 20 })
	await(t, "no chunk left", func() bool { return d.proxy.Arena().Chunks == 0 })
	witness.Fence()
}

func TestRandomBytes(t *testing.T) {
	d, addr, witness := hostileDaemon(t, nil)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(i)})
			for range 30 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				c.SetDeadline(time.Now().Add(patience))
				p := make([]byte, 1+random.Uint64()%20000)
				random.Read(p)
				c.Write(p)
				c.Close()
			}
		})
	}
	all.Wait()
	witness.Fence()
	await(t, "all gone", func() bool { return d.proxy.Counts().Sessions == 1 })
	if n := d.ended(t, "internal"); n != 0 {
		t.Errorf("%d sessions ended by a panic", n)
	}
}

func TestC7_53HeaderFromAStranger(t *testing.T) {
	t.Parallel() // most of it is waiting for the end
	d, addr, witness := hostileDaemon(t, nil)
	got := send(t, addr, []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 6667\r\nNICK x\r\nUSER x 0 * :x\r\n"))
	if !strings.Contains(got, "ERROR") || strings.Contains(got, " 001 ") {
		t.Errorf("answered %q", got)
	}
	await(t, "counted", func() bool { return d.ended(t, "header_refused") == 1 })
	witness.Fence()
}

// Protocol verbs on a client port are a client's lines for the ircd and nothing else (lessons C7.50).
func TestC7_50ProtocolVerbsOnAClientPort(t *testing.T) {
	d, addr, witness := hostileDaemon(t, nil)
	skey := d.backends.Pools()[0].Backends()[0]
	hello, _, _ := skey.Hello()
	for _, verb := range []string{
		"HELLO v=1 role=coordinator name=evil", "EXPORT tx=0123456789abcdef0123456789abcdef peek",
		"OPEN k=" + hello.SKey + " u=evil.1 addr=192.0.2.9 port=1 laddr=192.0.2.1 lport=6667",
		"ATTACH k=" + hello.SKey + " tx=0123456789abcdef0123456789abcdef u=evil.2 tok=0123456789abcdef0123456789abcdef",
		"RELEASE tx=0123456789abcdef0123456789abcdef",
	} {
		c := dial(t, addr)
		c.Write([]byte(verb + "\r\nNICK evil\r\nUSER evil 0 * :evil\r\nQUIT :x\r\n"))
		text, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", verb, err)
		}
		for _, answer := range []string{"OPENED", "ATTACHED", "END tx", "RELEASED", "HELLO v="} {
			if strings.Contains(string(text), answer) {
				t.Errorf("%s was carried out: %q", verb, text)
			}
		}
	}
	witness.Fence()
	if got := witness.Ask("WHOIS witness"); !strings.Contains(got, "127.0.0.1") {
		t.Errorf("whois: %q", got)
	}
}

// Slow loris: a byte now and then, never a line; the registration limit ends it, and a half line costs no more than itself.
func TestSlowLorisEndsAtTheRegistrationLimit(t *testing.T) {
	t.Parallel() // most of it is the loris waiting
	d, addr, witness := hostileDaemon(t, func(l *config.Listener) { l.Limits.Registration = config.Duration(time.Second) })
	conns := make([]net.Conn, 200)
	for i := range conns {
		conns[i] = dial(t, addr)
	}
	deadline := time.Now().Add(patience)
	for d.ended(t, "registration_timeout") < len(conns) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d were ended", d.ended(t, "registration_timeout"), len(conns))
		}
		for _, c := range conns {
			c.Write([]byte("N"))
		}
		time.Sleep(20 * time.Millisecond) // the loris' own pace
	}
	witness.Fence()
}

// Ten thousand connects from one address: the limits hold, the reasons are counted, others come in, and memory stays flat.
func TestTenThousandConnectsFromOneAddress(t *testing.T) {
	d, addr, witness := hostileDaemon(t, func(l *config.Listener) {
		l.Limits.PerIP, l.Limits.PerIPRate = 16, config.Rate{N: 1000, Per: 10 * time.Minute}
	})
	flood := func(n int) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range n / 4 {
					c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, 9, 9)}}).Dial("tcp", addr)
					if err != nil {
						t.Error(err)
						return
					}
					c.(*net.TCPConn).SetLinger(0) // or ten thousand ports rest in TIME_WAIT
					c.Close()
				}
			})
		}
		all.Wait()
	}
	flood(2000)          // warm
	debug.FreeOSMemory() // what is kept counts, not when garbage is collected
	before := rss(t)
	flood(8000)
	// A refused connect is no session: it may wait in the listener's queue long after its client is gone, so the counts are what to wait for.
	await(t, "the flood is over", func() bool {
		return d.ended(t, "limit_rate")+d.ended(t, "limit_per_ip") >= 8900 && d.proxy.Counts().Sessions == 1
	})
	debug.FreeOSMemory()
	if grown := rss(t) - before; grown > 24<<20 {
		t.Errorf("memory grew by %d KiB over 8,000 refused connects", grown>>10)
	}
	other, err := ircclient.Dial(t.Context(), addr, ircclient.Options{Source: netip.MustParseAddr("127.0.0.7")})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Register("other"); err != nil {
		t.Errorf("somebody else during the flood: %v", err)
	}
	witness.Fence()
}
