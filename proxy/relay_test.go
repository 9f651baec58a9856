package proxy

import (
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

func TestLinesBothWays(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client, server := r.joined(d, "ann")
	client.send("PRIVMSG #x :one\r\nPRIVMSG #x :two\n")
	server.expect("PRIVMSG #x :one\r\nPRIVMSG #x :two\n")
	server.send(":b PRIVMSG #x :th")
	client.expect(":b PRIVMSG #x :th")
	server.send("ree\r\n")
	client.expect("ree\r\n")
	server.send("ERROR :Closing link\r\n")
	server.Close()
	client.expect("ERROR :Closing link\r\n")
	client.expectEnd()
	client.Close()
	r.ended("backend_closed")
}

func TestHalfLineWaits(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client, server := r.joined(d, "ann")
	client.send("PRIVMSG #x :first\r\nPRIV")
	server.expect("PRIVMSG #x :first\r\n")
	server.expectNothingYet()
	client.send("MSG #x :sec")
	server.expectNothingYet()
	client.send("ond\nQ")
	server.expect("PRIVMSG #x :second\n")
	server.expectNothingYet()
}

func TestEightKilobyteTaggedLine(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client, server := r.joined(d, "ann")
	line := "@+x=" + strings.Repeat("y", 8180) + " PRIVMSG #x :" + strings.Repeat("z", 500) + "\r\n"
	client.send(line + line)
	server.expect(line + line)
	server.send(line)
	client.expect(line)
}

func TestLineOver16KiBEndsTheSession(t *testing.T) {
	r, d := relay(t, config.Listener{})
	client, server := r.joined(d, "ann")
	whole := strings.Repeat("x", 16<<10-1) + "\n"
	client.send(whole)
	server.expect(whole)
	client.send(strings.Repeat("x", 16<<10+1))
	client.expectLine("ERROR :Closing link: (ircferry) Line too long")
	client.expectEnd()
	client.Close()
	server.expectEnd()
	server.Close()
	r.ended("line_too_long")
}
