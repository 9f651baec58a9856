package proxy

import (
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

func TestSTARTTLSBeforeRegistration(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client := r.dial()
	client.send("CAP LS 302\r\nstarttls\r\nNICK a")
	client.expectLine(":ircferry 691 * :STARTTLS failed (")
	client.send("nn\r\n")
	d.next().expect("CAP LS 302\r\nNICK ann\r\n")
}

func TestSTARTTLSAfterRegistration(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client, server := r.joined(d, "ann")
	sent := uint64(len("NICK ann\r\n"))
	for _, c := range []struct {
		say     []string
		reaches string
	}{
		{[]string{"PING a\r\nStartTLS\r\nPING b\r\nPI", "NG c\r\n"}, "PING a\r\nPING b\r\nPING c\r\n"},
		{[]string{"STAR", "TT", "LS\nPING d\r\n"}, "PING d\r\n"},
		{[]string{"PING e\r\n  @a=b :x  STARTTLS", " now\r\nPING f\r\nS"}, "PING e\r\nPING f\r\n"},
		{[]string{"TARTTLS\r\nSTATS u\r\n"}, "STATS u\r\n"},
	} {
		for i, text := range c.say {
			client.send(text)
			sent += uint64(len(text))
			if i < len(c.say)-1 {
				r.eventually("read", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].BytesIn == sent })
			}
		}
		client.expectLine(":ircferry 691 * :STARTTLS failed (")
		server.expect(c.reaches)
	}
	for _, other := range []string{"STARTTLSX\r\n", "PRIVMSG STARTTLS :STARTTLS\r\n", ":STARTTLS PING x\r\n"} {
		client.send(other)
		server.expect(other)
	}
	client.expectNothingYet()
}

// The answer is a line of its own, also when it falls into the middle of one of the ircd's.
func TestSTARTTLSInTheMiddleOfALine(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client, server := r.joined(d, "ann")
	server.send(":x PRIVMSG ann :hel")
	client.expect(":x PRIVMSG ann :hel")
	client.send("STARTTLS\r\nPING x\r\n")
	server.expect("PING x\r\n")
	server.send("lo\r\n:irc PONG")
	client.expect("lo\r\n:irc PONG")
	server.send(" x\r\n")
	client.expect(" x\r\n")
	client.expectLine(":ircferry 691 * :STARTTLS failed (")
}

func TestSTARTTLSWhileParked(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x := r.user(a, "ann")
	x.client.send("STAR")
	r.eventually("half line", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Held > 0 })
	r.park(t, x)
	x.client.send("TTLS\r\nPRIVMSG #x :a\r\nSTARTTLS\r\nSTART")
	x.client.expectLine(":ircferry 691 * :STARTTLS failed (")
	x.client.expectLine(":ircferry 691 * :STARTTLS failed (")
	x.client.send("TLS\r\n")
	x.client.expectLine(":ircferry 691 * :STARTTLS failed (")
	r.splice(x, b, "", "")
	x.server.expect("PRIVMSG #x :a\r\n")
	x.toServer("PING y\r\n")
}
