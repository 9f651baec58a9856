package proxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
)

func fromLoopback() *config.ProxyProtocol {
	return &config.ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
}

// The headers of a client from 198.51.100.7 port 4711, in both versions.
const (
	headerV1 = "PROXY TCP4 198.51.100.7 192.0.2.1 4711 6667\r\n"
	headerV2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\xc0\x00\x02\x01\x12\x67\x1a\x0b"
)

func TestProxyHeaderGivesTheClientsAddress(t *testing.T) {
	plaintextOnly(t)
	for name, header := range map[string]string{"v1": headerV1, "v2": headerV2} {
		t.Run(name, func(t *testing.T) {
			a := newNative(t, "a")
			r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, listener: config.Listener{ProxyProtocol: fromLoopback()}})
			client := r.dial()
			client.send(header[:7])
			client.expectNothingYet()
			client.send(header[7:] + "NICK ann\r\nUS")
			server := a.next()
			line := server.expectLine("OPEN ")
			if field(line, "addr") != "198.51.100.7" || field(line, "port") != "4711" || field(line, "lport") != "6667" {
				t.Errorf("opened by %q", line)
			}
			server.send("OPENED u=" + field(line, "u") + "\n")
			server.expect("NICK ann\r\n")
			client.send("ER a 0 * :x\r\n")
			server.expect("USER a 0 * :x\r\n")
		})
	}
}

func TestC7_53ProxyHeaderFromAnUntrustedAddress(t *testing.T) {
	plaintextOnly(t)
	for name, l := range map[string]config.Listener{
		"listener without": {},
		"other address":    {ProxyProtocol: fromLoopback()},
	} {
		for kind, header := range map[string]string{"v1": headerV1, "v2": headerV2[:14]} {
			t.Run(name+" "+kind, func(t *testing.T) {
				r, d := relay(t, l)
				d.endsToo()
				client := r.dialFrom("127.0.0.2")
				for i := range header {
					if _, err := io.WriteString(client, header[i:i+1]); err != nil {
						break
					}
				}
				client.expectLine("ERROR :Closing link: (ircferry) PROXY header refused")
				client.Close()
				r.ended("header_refused")
			})
		}
	}
}

func TestProxyHeaderIsRequired(t *testing.T) {
	plaintextOnly(t)
	r, _ := relay(t, config.Listener{ProxyProtocol: fromLoopback()})
	client := r.dial()
	client.send("NICK ann\r\n")
	client.expectGone()
	r.ended("header_bad")
}

func TestC7_53ProxyHeaderTimeIsOver(t *testing.T) {
	plaintextOnly(t)
	r, _ := relay(t, config.Listener{ProxyProtocol: fromLoopback()})
	client := r.dial()
	client.send("PROXY TCP4 198.51.")
	r.turnTime(t, headerTime)
	client.expectLine("ERROR :Closing link: (ircferry) PROXY header timeout")
	client.expectGone()
	r.ended("header_timeout")
}

func TestLimitsHold(t *testing.T) {
	plaintextOnly(t)
	exempt := []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	for _, c := range []struct {
		reason string
		limits config.Limits
	}{
		{"limit_connections", config.Limits{Connections: 2}},
		{"limit_per_ip", config.Limits{PerIP: 2, Exempt: exempt}},
		{"limit_rate", config.Limits{PerIPRate: config.Rate{N: 2, Per: time.Hour}, Exempt: exempt}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			r, d := relay(t, config.Listener{Limits: c.limits})
			r.joined(d, "a")
			last, lastServer := r.joined(d, "b")
			refused := r.dial()
			refused.expectLine("ERROR :Closing link: (ircferry)")
			refused.expectGone()
			r.ended(c.reason)
			if c.reason != "limit_connections" {
				free := r.dialFrom("127.0.0.9")
				free.send("NICK c\r\n")
				d.next().expect("NICK c\r\n")
			}
			if c.reason != "limit_rate" {
				last.Close()
				lastServer.expectEnd()
				lastServer.Close()
				r.ended("client_closed")
				next := r.dial()
				next.send("NICK d\r\n")
				d.next().expect("NICK d\r\n")
			}
		})
	}
}

// A second daemon must not be let in beside us in silence.
func TestAddressInUseIsAnError(t *testing.T) {
	r, _ := relay(t, config.Listener{})
	p2, err := New(Options{Instance: "other", Loops: 1, MaxSessions: 10, Backends: r.set})
	if err != nil {
		t.Fatal(err)
	}
	defer p2.Close()
	if err := p2.SetListeners([]config.Listener{{Name: "irc", Address: r.addr(), Pool: "main"}}, nil); err == nil {
		t.Fatal("a second daemon listens on the same address")
	}
}

func TestReloadKeepsAddsAndRemovesListeners(t *testing.T) {
	plaintextOnly(t)
	r, d := relay(t, config.Listener{})
	client, server := r.joined(d, "ann")
	old := r.addr()
	same := config.Listener{Name: "renamed", Address: "127.0.0.1:0", Pool: "main"}
	bad := config.Listener{Name: "bad", Address: "192.0.2.1:1", Pool: "main"}
	if err := r.SetListeners([]config.Listener{same, bad}, nil); err == nil {
		t.Fatal("an address that is not ours was bound")
	}
	if got := r.addr(); got != old {
		t.Errorf("a failed reload changed %s to %s", old, got)
	}
	if err := r.SetListeners([]config.Listener{same, {Name: "irc", Address: "127.0.0.2:0", Pool: "main"}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := r.Addrs()["renamed"][0].String(); got != old {
		t.Errorf("an unchanged address moved from %s to %s", old, got)
	}
	r.joined(d, "bob")
	if err := r.SetListeners([]config.Listener{{Name: "irc", Address: "127.0.0.2:0", Pool: "main"}}, nil); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", old); err == nil {
		c.Close()
		t.Error("the removed listener still accepts")
	}
	client.send("PRIVMSG #x :a\r\n")
	server.expect("PRIVMSG #x :a\r\n")
}

// Lessons C5.35: running out of descriptors is our trouble, not the backend's; clients wait in the kernel's queue meanwhile.
func TestC5_35OutOfDescriptorsPausesAccept(t *testing.T) {
	plaintextOnly(t)
	d := newIRCd(t)
	r := newRig(t, rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}, inter: time.Hour})
	r.up("main/a")
	b, _ := r.set.Backend("main/a")
	client := r.dial() // before there are none
	client.send("NICK early\r\n")
	server := d.next()
	server.expect("NICK early\r\n")

	var late []int // who connects when there are none
	for range 8 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		late = append(late, fd)
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: uint64(slices.Max(late)) + 50, Max: was.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	fill := func() {
		for {
			fd, err := unix.Dup(late[0])
			if err != nil {
				return
			}
			t.Cleanup(func() { unix.Close(fd) })
		}
	}
	restored := false
	restore := func() {
		if !restored {
			restored = true
			unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		}
	}
	defer restore()
	addr := netip.MustParseAddrPort(r.addr())
	next := 0
	r.eventually("paused accept", func() bool {
		fill() // with what is given back still by what ran before
		if r.Counts().Paused > 0 {
			return true
		}
		if next < len(late) {
			if err := unix.Connect(late[next], &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(late[next], []byte("NICK late\r\n")); err != nil {
				t.Fatal(err)
			}
			next++
		}
		return false
	})
	client.send("PRIVMSG #x :a\r\n")
	server.expect("PRIVMSG #x :a\r\n")
	if b.Oper() != "up" {
		t.Errorf("the backend is %s", b.Oper())
	}
	restore()
	d.next().expect("NICK late\r\n")
	r.eventually("accept again", func() bool { return r.Counts().Paused == 0 })
}

func TestManyConnectsFromOneAddress(t *testing.T) {
	plaintextOnly(t)
	r, d := relay(t, config.Listener{Limits: config.Limits{PerIP: 16}})
	const n = 500
	for i := range n {
		c, err := net.Dial("tcp", r.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if i < 16 {
			fmt.Fprintf(c, "NICK a%d\r\n", i)
			d.next()
		}
	}
	r.eventually("refusals", func() bool { return strings.Count(r.logs.String(), "reason=limit_per_ip") == n-16 })
	r.eventually("the others", func() bool { c := r.Counts(); return c.Sessions == 16 && c.Listeners["irc"] == 16 })
}

// A host that vanishes is noticed on both sides in the same time; our own does not vanish.
func TestStreamsToOtherHostsAreWatchful(t *testing.T) {
	r, _ := relay(t, config.Listener{})
	for address, want := range map[string]bool{"192.0.2.1:6667": true, "[2001:db8::1]:6667": true, "127.0.0.1:6667": false} {
		fd, errno := r.workers[0].socketTo(backend.Opening{Addr: netip.MustParseAddrPort(address)}) // nothing is sent there
		if errno != 0 {
			t.Fatal(errno)
		}
		for _, o := range loop.Watchful {
			if v, err := unix.GetsockoptInt(fd, o.Level, o.Name); err != nil || (v == o.Value) != want {
				t.Errorf("%s: option %d/%d is %d (%v)", address, o.Level, o.Name, v, err)
			}
		}
		loop.Close(fd)
	}
}

// A stream to a host that checks do not hear is watched closely, and no more when they do again; that to our own host never is.
func TestStreamsToSilentHostsAreWatchedClosely(t *testing.T) {
	r, d := relay(t, config.Listener{})
	r.joined(d, "ann")
	r.joined(d, "ben")
	var seen atomic.Int32
	r.onAll(ctxOf(t), func(w *worker) {
		w.each(func(s *session) {
			fd, closely := s.backend.FD(), seen.Add(1) == 1
			if closely {
				loop.SetOption(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1) // as if it were another host
			}
			for _, silent := range []bool{true, false} {
				s.peer.silent = silent
				s.watchBackend()
				for _, o := range loop.Doubtful {
					if v, err := unix.GetsockoptInt(fd, o.Level, o.Name); err != nil || (v == o.Value) != (silent && closely) {
						t.Errorf("silent %v, another host %v: option %d/%d is %d (%v)", silent, closely, o.Level, o.Name, v, err)
					}
				}
			}
		})
	})
}

func TestStreamsToOurHostHaveNoUserTimeout(t *testing.T) {
	r, d := relay(t, config.Listener{})
	r.joined(d, "ann")
	r.onAll(ctxOf(t), func(w *worker) {
		w.each(func(s *session) {
			if v, err := unix.GetsockoptInt(s.backend.FD(), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || v != 0 {
				t.Errorf("user timeout of the backend stream is %d (%v)", v, err)
			}
		})
	})
}
