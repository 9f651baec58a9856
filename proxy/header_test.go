package proxy

import (
	"net/netip"
	"strings"
	"testing"

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
