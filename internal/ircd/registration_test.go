package ircd

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/ircclient"
)

func TestWelcome(t *testing.T) {
	_, addr := startServer(t, Config{Network: "TestNet"})
	c := ircclient.Test(t, addr, ircclient.Options{})
	c.Send("PASS secret")
	c.Send("NICK alice")
	c.Send("USER al 0 * :Alice A.")
	c.Expect(
		" 001 alice :Welcome to the TestNet IRC Network alice!~al@127.0.0.1",
		" 002 alice :Your host is irc.test",
		" 003 ", " 004 alice irc.test ",
		"CASEMAPPING=rfc1459", " 005 ",
		" 251 ", " 252 ", " 254 ", " 255 ", " 265 ", " 266 ", " 375 ", " 372 ", " 376 ")
	c.Silent()
	mustContain(t, c.Ask("USER x 0 * :x"), " 462 ")
	mustContain(t, c.Ask("PASS x"), " 462 ")
}

func TestBeforeRegistration(t *testing.T) {
	_, addr := startServer(t, Config{})
	user(t, addr, "alice")
	c := ircclient.Test(t, addr, ircclient.Options{})
	c.Send("JOIN #c")
	c.Expect(" 451 * ")
	c.Send("NICK")
	c.Expect(" 431 * ")
	c.Send("NICK 1abc")
	c.Expect(" 432 * 1abc ")
	c.Send("NICK Alice")
	c.Expect(" 433 * Alice ")
	c.Send("USER x")
	c.Expect(" 461 ")
	c.Send("NICK bob")
	c.Silent() // PING is answered, too
	c.Send("USER x 0 * :x")
	c.Expect(" 001 bob ")
}

func TestNickIsHeldByUnregistered(t *testing.T) {
	_, addr := startServer(t, Config{})
	first := ircclient.Test(t, addr, ircclient.Options{})
	first.Send("NICK alice")
	first.Silent()
	second := ircclient.Test(t, addr, ircclient.Options{})
	second.Send("NICK alice")
	second.Expect(" 433 ")
	first.Close()
	for { // until the server has seen the end
		second.Send("NICK alice")
		if len(second.Fence()) == 0 {
			return
		}
	}
}

func TestCap302(t *testing.T) {
	_, addr := startServer(t, Config{})
	c := ircclient.Test(t, addr, ircclient.Options{})
	c.Send("CAP LS 302")
	c.Expect(":irc.test CAP * LS :account-tag away-notify cap-notify echo-message message-tags multi-prefix server-time")
	c.Send("NICK alice")
	c.Send("USER alice 0 * :x")
	c.Silent() // registration waits
	c.Send("CAP REQ :multi-prefix away-notify")
	c.Expect("CAP alice ACK :multi-prefix away-notify")
	c.Send("CAP REQ :echo-message no-such-cap")
	c.Expect("CAP alice NAK :echo-message no-such-cap")
	c.Send("CAP LIST")
	c.Expect("CAP alice LIST :away-notify cap-notify multi-prefix")
	c.Send("CAP END")
	c.Expect(" 001 alice ")
	c.Fence()
	mustContain(t, c.Ask("CAP REQ -away-notify"), "ACK :-away-notify")
	mustContain(t, c.Ask("CAP REQ -cap-notify"), "NAK :-cap-notify")
	mustContain(t, c.Ask("CAP LIST"), "LIST :cap-notify multi-prefix")
	mustContain(t, c.Ask("CAP WRONG"), " 410 alice WRONG ")
}

func TestCapReqAloneHoldsRegistration(t *testing.T) {
	_, addr := startServer(t, Config{})
	c := ircclient.Test(t, addr, ircclient.Options{})
	c.Send("CAP REQ echo-message")
	c.Send("NICK alice")
	c.Send("USER alice 0 * :x")
	c.Expect("ACK :echo-message")
	c.Silent()
	c.Send("CAP END")
	c.Expect(" 001 ")
}

func TestProxyV1(t *testing.T) {
	_, addr := startServer(t, Config{Listen: []Listener{{Address: "127.0.0.1:0", ProxyV1: true}}})
	// Lines in the same segment as the header must not be lost in the library's buffer.
	c := ircclient.Test(t, addr, ircclient.Options{
		Before: "PROXY TCP4 192.0.2.7 198.51.100.1 40000 6667\r\nNICK alice\r\nUSER a 0 * :x\r\n",
	})
	c.Await(" 376 ")
	mustContain(t, c.Ask("WHOIS alice"), " 378 alice alice :is connecting from ~a@192.0.2.7 192.0.2.7")

	six := ircclient.Test(t, addr, ircclient.Options{Before: "PROXY TCP6 2001:db8::7 2001:db8::1 40000 6667\r\n"})
	six.Register("bob")
	mustContain(t, six.Ask("WHOIS bob"), " 378 bob bob :is connecting from ~bob@2001:db8::7 2001:db8::7")

	bad := ircclient.Test(t, addr, ircclient.Options{Before: "PROXY NONSENSE\r\n"})
	if lines := bad.Gone(); len(lines) > 0 {
		t.Errorf("a wrong header was answered with %q", ircclient.Texts(lines))
	}
}

func TestAddStream(t *testing.T) {
	s, _ := startServer(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := ircclient.Test(t, ln.Addr().String(), ircclient.Options{})
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	st := Stream{
		U: "x.1", Remote: netip.MustParseAddrPort("[2001:db8::1]:5"), Local: netip.MustParseAddrPort("[2001:db8::2]:6667"),
		TLS: "TLSv1.3/TLS_AES_128_GCM_SHA256", CertFP: "abcd",
	}
	if err := s.AddStream(nc, []byte("NICK al"), st); err != nil {
		t.Fatal(err)
	}
	c.Send("ice")
	c.Send("USER a 0 * :x")
	c.Await(" 376 ")
	mustContain(t, c.Ask("WHOIS alice"), " 378 alice alice :is connecting from ~a@2001:db8::1 2001:db8::1",
		" 671 alice alice ", " 276 alice alice :has client certificate fingerprint abcd")
}

func TestServerBan(t *testing.T) {
	_, addr := startServer(t, Config{Bans: []Ban{{Mask: "evil!*@127.0.0.*", Reason: "go away"}}})
	c := ircclient.Test(t, addr, ircclient.Options{})
	c.Send("NICK evil")
	c.Send("USER a 0 * :x")
	c.Expect(" 465 evil :You are banned from this server: go away", "ERROR :Closing link: ")
	user(t, addr, "good")
}

func TestServerFull(t *testing.T) {
	_, addr := startServer(t, Config{Limits: Limits{Clients: 1}})
	user(t, addr, "alice")
	c := ircclient.Test(t, addr, ircclient.Options{})
	c.Expect("[Server is full]")
	c.Gone()
}

func TestRegistrationTimeout(t *testing.T) {
	_, addr := startServer(t, Config{Limits: Limits{Registration: 50 * time.Millisecond}})
	c := ircclient.Test(t, addr, ircclient.Options{})
	c.Send("NICK slow")
	mustContain(t, ircclient.Texts(c.Gone()), "[Registration timed out]")
}

func TestPingTimeout(t *testing.T) {
	_, addr := startServer(t, Config{Limits: Limits{PingTimeout: 100 * time.Millisecond}})
	alive, dead := user(t, addr, "alive"), user(t, addr, "dead")
	alive.Join("#c")
	dead.Join("#c")
	dead.Pause() // its reader does not answer any more
	l := alive.Await(" QUIT ")
	if !strings.Contains(l.Text, ":dead!~dead@127.0.0.1 QUIT :Ping timeout: ") {
		t.Errorf("got %q", l.Text)
	}
	if alive.Pings() == 0 {
		t.Error("the one that is there was never asked")
	}
}
