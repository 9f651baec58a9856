package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/config"
)

// A checker that connects and goes is counted for what it is, and does not fill the log: its line is one for debug, as with HAProxy's
// dontlognull. Who has said a byte is told at info.
func TestConnectionsWithoutAByte(t *testing.T) {
	plaintextOnly(t)
	local, balancer := headerOf(0x20, 0x00, ""), &config.ProxyProtocol{From: fromLoopback().From}
	bye := func(c *conn) { c.Close() }
	handshake := func(c *conn) { c.secure(&tls.Config{InsecureSkipVerify: true}) }
	for _, c := range []struct {
		name    string
		secure  bool
		l       config.Listener
		say     string
		between func(*conn) // before the end
		end     func(*conn)
		null    bool
	}{
		{name: "connect, close", end: bye, null: true},
		{name: "connect, reset", end: (*conn).reset, null: true},
		{name: "balancer: connect, close", l: config.Listener{ProxyProtocol: balancer}, end: bye, null: true},
		{name: "balancer: connect, reset", l: config.Listener{ProxyProtocol: balancer}, end: (*conn).reset, null: true},
		{name: "balancer: LOCAL, close", l: config.Listener{ProxyProtocol: balancer}, say: local, end: bye, null: true},
		{name: "balancer: UNKNOWN, reset", l: config.Listener{ProxyProtocol: balancer}, say: "PROXY UNKNOWN\r\n", end: (*conn).reset, null: true},
		{name: "balancer: a client, close", l: config.Listener{ProxyProtocol: balancer}, say: headerV1, end: bye, null: true},
		{name: "balancer: half a header, close", l: config.Listener{ProxyProtocol: balancer}, say: local[:13], end: bye},
		{name: "balancer: LOCAL and a line, close", l: config.Listener{ProxyProtocol: balancer}, say: local + "\r\n", end: bye},
		{name: "half a line, close", say: "N", end: bye},
		{name: "TLS: connect, close", secure: true, end: bye, null: true},
		{name: "TLS: connect, reset", secure: true, end: (*conn).reset, null: true},
		{name: "TLS: handshake, close", secure: true, between: handshake, end: bye, null: true},
		{name: "TLS: LOCAL, handshake, close", secure: true, l: config.Listener{ProxyProtocol: balancer}, say: local, between: handshake, end: bye, null: true},
		{name: "TLS: LOCAL, half a handshake, reset", secure: true, l: config.Listener{ProxyProtocol: balancer}, say: local + "\x16\x03\x01\x02\x00", end: (*conn).reset, null: true},
		{name: "TLS: LOCAL, no handshake, close", secure: true, l: config.Listener{ProxyProtocol: balancer}, say: local, end: bye, null: true},
		{name: "TLS: half a handshake, close", secure: true, say: "\x16\x03\x01\x02\x00", end: bye},
		{name: "TLS: half a handshake, reset", secure: true, say: "\x16\x03\x01\x02\x00", end: (*conn).reset},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newIRCd(t)
			d.closeAfterClients()
			o := rigOptions{backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}, listener: c.l, log: slog.LevelDebug}
			if c.secure {
				o.listener.TLS, o.secure = &config.ListenerTLS{}, map[string]*tls.Config{"irc": serverTLS(t, 0)}
			}
			r := newRig(t, o)
			r.up("main/a")
			client := r.dial()
			client.send(c.say)
			if c.between != nil {
				c.between(client)
			} else if c.say != "" {
				r.eventually("what it has said", func() bool {
					return r.workers[0].counts.bytesIn.Load()+r.workers[1].counts.bytesIn.Load() >= uint64(len(c.say))
				})
			}
			c.end(client)
			r.ended("")
			line := r.logs.String()
			level, reason := "INFO", "reason=client_"
			if c.null {
				level, reason = "DEBUG", "reason=null_connection"
			}
			if !strings.Contains(line, "level="+level) || !strings.Contains(line, reason) {
				t.Errorf("%q, want level %s and %s", line, level, reason)
			}
			if n := r.tallyOf("irc").ended[ReasonNull].Load(); n != map[bool]uint64{true: 1}[c.null] {
				t.Errorf("%d are counted as null_connection: %s", n, line)
			}
		})
	}
}

// closeAfterClients ends each connection when its client has.
func (d *ircd) closeAfterClients() {
	go func() {
		for {
			select {
			case c := <-d.accepted:
				go func() { _, _ = io.Copy(io.Discard, c); c.Close() }()
			case <-d.t.Context().Done():
				return
			}
		}
	}()
}

// A stock ircd forgets at once whom we have told it of and who has not said a byte; until then that client may read what it says.
func TestStreamOfWhoSaidNothingIsReset(t *testing.T) {
	plaintextOnly(t)
	for name, end := range map[string]func(*conn){"FIN": func(c *conn) { c.CloseWrite() }, "RST": (*conn).reset} {
		t.Run(name, func(t *testing.T) {
			d := newIRCd(t)
			r := newRig(t, rigOptions{log: slog.LevelDebug, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityProxyV1}}})
			r.up("main/a")
			client := r.dial()
			_, port, _ := net.SplitHostPort(client.LocalAddr().String())
			server := d.next()
			for !strings.Contains(server.expectLine("PROXY "), " "+port+" ") { // of a check
				server = d.next()
			}
			server.send(":irc NOTICE * :hello\r\n")
			client.expect(":irc NOTICE * :hello\r\n")
			end(client)
			if name == "FIN" {
				server.send(":irc NOTICE * :still here\r\n")
				client.expect(":irc NOTICE * :still here\r\n")
				r.turnTime(t, nullTime)
			}
			if _, err := io.ReadAll(server.r); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the stream ends with %v, want a reset", err)
			}
			r.ended("null_connection")
		})
	}
}
