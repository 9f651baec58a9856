package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// headerOf is a version 2 header: version and command, family and protocol, what follows.
func headerOf(command, family byte, payload string) string {
	return headerV2[:12] + string([]byte{command, family, byte(len(payload) >> 8), byte(len(payload))}) + payload
}

// Headers that are valid and give no address: the connection's own is the client's, and what is behind them is not lost. A header may have
// 64 KiB (doc/proxy-protocol.txt of HAProxy, section 2.2).
func TestHeadersWithoutAnAddress(t *testing.T) {
	plaintextOnly(t)
	a := newNative(t, "a")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, listener: config.Listener{ProxyProtocol: fromLoopback()}})
	for name, header := range map[string]string{
		"LOCAL":                        headerOf(0x20, 0x00, ""),
		"LOCAL with addresses":         headerOf(0x20, 0x11, headerV2[16:]),
		"LOCAL with a reserved family": headerOf(0x20, 0xf3, "abc"),
		"LOCAL of 64 KiB":              headerOf(0x20, 0x00, strings.Repeat("x", 65535)),
		"UNKNOWN":                      "PROXY UNKNOWN\r\n",
		"UNSPEC":                       headerOf(0x21, 0x00, ""),
		"UNIX stream":                  headerOf(0x21, 0x31, strings.Repeat("/", 216)),
		"UDP":                          headerOf(0x21, 0x12, headerV2[16:]),
	} {
		t.Run(name, func(t *testing.T) {
			client := r.dial()
			client.t = t
			client.send(header + "NICK ann\r\n")
			server := a.next()
			line := server.expectLine("OPEN ")
			own := netip.MustParseAddrPort(client.LocalAddr().String())
			if field(line, "addr") != own.Addr().String() || field(line, "port") != strings.Split(own.String(), ":")[1] {
				t.Errorf("opened by %q, want %s", line, own)
			}
			server.send("OPENED u=" + field(line, "u") + "\n")
			server.expect("NICK ann\r\n")
		})
	}
}

// The address is there also in a header of 64 KiB that comes in small pieces.
func TestLongestHeaderGivesTheClientsAddress(t *testing.T) {
	plaintextOnly(t)
	a := newNative(t, "a")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, listener: config.Listener{ProxyProtocol: fromLoopback()}})
	client := r.dial()
	header := headerOf(0x21, 0x11, headerV2[16:]+"\x04\xff\xf0"+strings.Repeat("x", 65535-15))
	for p := header + "NICK ann\r\n"; len(p) > 0; p = p[min(len(p), 777):] {
		client.send(p[:min(len(p), 777)])
	}
	server := a.next()
	line := server.expectLine("OPEN ")
	if field(line, "addr") != "198.51.100.7" {
		t.Errorf("opened by %q", line)
	}
	server.send("OPENED u=" + field(line, "u") + "\n")
	server.expect("NICK ann\r\n")
}

// A balancer's checks are about itself: they are refused by no limit and take no client's place, also over TLS, also when they say nothing at
// all (haproxy#511: the 33rd of per_ip_rate was refused, and the balancer took its server out).
func TestChecksOfABalancerAreNotLimited(t *testing.T) {
	plaintextOnly(t)
	const checks = 20 // at once
	for name, header := range map[string]string{"LOCAL": headerOf(0x20, 0x00, ""), "UNKNOWN": "PROXY UNKNOWN\r\n", "own address": "own", "bare": ""} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", name, secure), func(t *testing.T) {
				d := newIRCd(t)
				o := rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}, listener: config.Listener{
					ProxyProtocol: fromLoopback(), Limits: config.Limits{Connections: 2, PerIP: 2, PerIPRate: config.Rate{N: 4, Per: time.Hour}}}}
				if secure {
					o.listener.TLS, o.secure = &config.ListenerTLS{}, map[string]*tls.Config{"irc": serverTLS(t, 0)}
				}
				r := newRig(t, o)
				r.up("main/a")
				dial := func(header string) *conn {
					c := r.dial()
					if header == "own" { // as HAProxy's checks in version 1
						own := netip.MustParseAddrPort(c.LocalAddr().String())
						header = fmt.Sprintf("PROXY TCP4 %s 192.0.2.1 %d 6667\r\n", own.Addr(), own.Port())
					}
					c.send(header)
					if secure && header != "" {
						c.secure(&tls.Config{InsecureSkipVerify: true})
					}
					return c
				}
				next := d.firstLines()
				says := func(c *conn, line string) {
					c.send(line)
					if got := next(); got != line {
						t.Fatalf("the ircd gets %q, want %q", got, line)
					}
				}
				const client = "PROXY TCP4 127.0.0.1 192.0.2.1 4711 6667\r\n" // on the balancer's own host
				says(dial(client), "NICK ann\r\n")
				var all []*conn
				for range checks {
					all = append(all, dial(header))
				}
				says(dial(client), "NICK ben\r\n") // the last that the limits allow
				if header != "" {
					says(all[checks-1], "NICK check\r\n") // a check that goes as far as the ircd
				}
				if n := r.Counts().Listeners["irc"]; n != 2 {
					t.Errorf("%d clients are counted, want 2", n)
				}
				for _, c := range all {
					c.expectNothingNow()
					c.Close()
				}
				refused := r.dial()
				refused.send(client)
				refused.expectGone()
				r.eventually("a refused client", func() bool { return r.Taken()["irc"].Rejected["limit_connections"] == 1 })
				for reason, n := range r.Taken()["irc"].Rejected {
					if reason != "limit_connections" {
						t.Errorf("%d are refused: %s", n, reason)
					}
				}
			})
		}
	}
}

// firstLines are the first lines of connections, as they come, until the test ends. Who says nothing holds nobody up.
func (d *ircd) firstLines() (next func() string) {
	lines, over := make(chan string, 100), d.t.Context().Done()
	first := func(c net.Conn) {
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			lines <- line
			<-over
		}
	}
	go func() {
		for {
			select {
			case c := <-d.accepted:
				go first(c)
			case <-over:
				return
			}
		}
	}()
	return func() string {
		select {
		case line := <-lines:
			return line
		case <-time.After(patience):
			return "nothing"
		}
	}
}

// Most checks of a balancer end as soon as they have their answer: the ircd need not hear of them, and must not ban us for them. One that goes
// on comes to the ircd as anybody else.
func TestShortChecksDoNotReachTheIRCd(t *testing.T) {
	plaintextOnly(t)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			d := newIRCd(t)
			o := rigOptions{inter: time.Hour, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}, listener: config.Listener{
				ProxyProtocol: fromLoopback()}}
			if secure {
				o.listener.TLS, o.secure = &config.ListenerTLS{}, map[string]*tls.Config{"irc": serverTLS(t, 0)}
			}
			r := newRig(t, o)
			r.up("main/a")
			d.connected().Close() // our own check
			check := func() *conn {
				c := r.dial()
				c.send(headerOf(0x20, 0x00, ""))
				if secure {
					c.secure(&tls.Config{InsecureSkipVerify: true})
				}
				return c
			}
			for range 5 {
				check().Close()
				check().reset()
			}
			r.eventually("the end of all checks", func() bool {
				return r.Taken()["irc"].Accepted == 10 && r.Counts().Sessions == 0
			})
			if n := len(d.accepted); n > 0 {
				t.Errorf("the ircd got %d connections", n)
			}
			long := check()
			server := newConn(t, d.connected()) // though it has said nothing
			server.send("NOTICE * :hello\r\n")
			long.expect("NOTICE * :hello\r\n")
		})
	}
}

// connected is the next connection, whether it says something or not.
func (d *ircd) connected() *net.TCPConn {
	d.t.Helper()
	select {
	case c := <-d.accepted:
		return c
	case <-time.After(patience):
		d.t.Fatal("no connection at the backend")
		return nil
	}
}
