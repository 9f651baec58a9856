//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBalancer: HAProxy before us checks in every way that it knows, far more often than the limits allow one address to come. No check is refused,
// also when the listener is full, none is in the log, and no server of HAProxy's is ever down; clients who come through it have the addresses
// that are theirs, or HAProxy's own.
func TestBalancer(t *testing.T) {
	t.Parallel() // most of it is waiting for the next checks
	program := need(t, "haproxy", "haproxy")
	s := newSecured(t)
	f, measure := startBehind(t, s.text, startEmbedded(t, "a").backend())
	dir, front := shortDir(t), freePort(t)
	writeFile(t, filepath.Join(dir, "haproxy.cfg"), balancerConfig(dir, front, f.port, s.port))
	balancer := start(t, nil, program, "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
	awaitPort(t, front, balancer)

	null := func(m metrics, listener string) float64 {
		return m[fmt.Sprintf(`ircferry_sessions_ended_total{listener=%q,reason="null_connection"}`, listener)]
	}
	checked := func(t *testing.T) {
		t.Helper()
		before := measure()
		eventually(t, 20*time.Second, "checks of each kind", func() bool {
			m := measure()
			return null(m, "irc") >= null(before, "irc")+3*checkers && null(m, "ircs") >= null(before, "ircs")+checkers
		})
	}
	checked(t)

	ann, ben := login(t, front, "127.0.0.5", "ann"), login(t, front, "127.0.0.6", "ben")
	unix, err := net.Dial("unix", filepath.Join(dir, "irc.sock")) // HAProxy has no address for it, and says LOCAL
	if err != nil {
		t.Fatal(err)
	}
	carl := &irc{t: t, conn: unix}
	t.Cleanup(func() { _ = unix.Close() })
	go carl.read()
	carl.register("carl")
	for _, addr := range []string{"127.0.0.5", "127.0.0.6", "127.0.0.1"} {
		if n := f.registered()[addr]; n != 1 {
			t.Errorf("%d clients are registered from %s, want 1", n, addr)
		}
	}

	dial(t, front, "127.0.0.7", "").expect("Too many connections")
	checked(t)
	for series, n := range measure() {
		if strings.HasPrefix(series, "ircferry_listener_rejected_total") && n != 0 && !strings.Contains(series, `reason="limit_connections"`) {
			t.Errorf("%s is %v", series, n)
		}
	}
	if text := balancer.out.String(); strings.Contains(text, "DOWN") {
		t.Errorf("HAProxy took us out:\n%s", text)
	}
	if text := f.proc.out.String(); strings.Count(text, "session ended") != 1 {
		t.Errorf("the log is full of checks:\n%s", lastLines(text, 20))
	}
	for _, c := range []*irc{ann, ben, carl} {
		c.fence()
	}
}

// TestHeadersOfEveryKind: what the protocol says is valid is taken, whatever the length, and gives the client its address or the balancer's.
func TestHeadersOfEveryKind(t *testing.T) {
	s := newSecured(t)
	f, _ := startBehind(t, s.text, startEmbedded(t, "a").backend())
	const address = "\xc6\x33\x64\x07\xc0\x00\x02\x01\x12\x67\x1a\x0b" // 198.51.100.7 to 192.0.2.1
	for i, c := range []struct{ name, header, from string }{
		{"LOCAL", headerV2(0x20, 0x00, ""), "127.0.0.1"},
		{"LOCAL with a reserved family", headerV2(0x20, 0xf3, "abc"), "127.0.0.1"},
		{"LOCAL of 64 KiB", headerV2(0x20, 0x00, strings.Repeat("x", 65535)), "127.0.0.1"},
		{"UNSPEC", headerV2(0x21, 0x00, ""), "127.0.0.1"},
		{"UNIX", headerV2(0x21, 0x31, strings.Repeat("/", 216)), "127.0.0.1"},
		{"4 KiB and more", headerV2(0x21, 0x11, address+"\x04\x0f\xf2"+strings.Repeat("x", 4082)), "198.51.100.7"},
		{"64 KiB", headerV2(0x21, 0x11, address+"\x04\xff\xf0"+strings.Repeat("x", 65520)), "198.51.100.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := dial(t, f.port, "127.0.0.1", c.header)
			client.register(fmt.Sprintf("nick%d", i))
			if got := f.registered(); got[c.from] != 1 {
				t.Errorf("registered are %v, want one from %s", got, c.from)
			}
			_ = client.conn.Close()
			eventually(t, 10*time.Second, "the client has left", func() bool { return len(f.registered()) == 0 })
		})
	}
}

// headerV2 is a PROXY header of version 2: version and command, family and protocol, what follows.
func headerV2(command, family byte, payload string) string {
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family, byte(len(payload) >> 8), byte(len(payload))}) + payload
}

// TestBareConnects: checks that connect and close are counted, and are not in a log of level info, also with TLS on the listener and with nobody
// trusted before us.
func TestBareConnects(t *testing.T) {
	s := newSecured(t)
	f, measure := startMeasuredWith(t, func(config string) string {
		return strings.Replace(config, "log: {level: debug}", "log: {level: info}", 1)
	}, s.text, startEmbedded(t, "a").backend())
	const each = 20
	before := measure()
	for port, listener := range map[int]string{f.port: "irc", s.port: "ircs"} {
		for range each {
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		series := fmt.Sprintf(`ircferry_sessions_ended_total{listener=%q,reason="null_connection"}`, listener)
		eventually(t, 20*time.Second, "all are counted", func() bool { return measure()[series] >= before[series]+each })
	}
	if text := f.proc.out.String(); strings.Contains(text, "session ended") {
		t.Errorf("the log is full of checks:\n%s", lastLines(text, 20))
	}
}

// startBehind is startMeasured with a balancer on 127.0.0.1 before all listeners, which let two clients in.
func startBehind(t *testing.T, listener string, backends ...string) (*ferry, func() metrics) {
	t.Helper()
	limits := "limits: {connections: 1000, per_ip: 0, per_ip_rate: 0, registration: 20s}"
	return startMeasuredWith(t, func(config string) string {
		config = strings.ReplaceAll(config, limits, "limits: {connections: 2, per_ip: 2, per_ip_rate: 4/1h}\n    proxy_protocol: {from: [127.0.0.1/32]}")
		return strings.Replace(config, "log: {level: debug}", "log: {level: info}", 1)
	}, listener, backends...)
}

// checkers is how many of HAProxy's servers are checked in the same way, each once in two seconds.
const checkers = 40

// balancerConfig has HAProxy listen on front and on a unix socket in dir, and check irc with LOCAL, with its own address (so it does in version
// 1) and with no byte at all, and ircs with LOCAL and a TLS handshake.
func balancerConfig(dir string, front, irc, ircs int) string {
	return fmt.Sprintf(`
global
    log stdout format raw local0 notice
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    default-server check inter 2s fall 2
frontend clients
    bind 127.0.0.1:%[2]d
    bind unix@%[1]s/irc.sock
    default_backend v2
backend v2
    server-template local %[5]d 127.0.0.1:%[3]d send-proxy-v2
backend others
    server-template own %[5]d 127.0.0.1:%[3]d send-proxy
    server-template bare %[5]d 127.0.0.1:%[3]d
    server-template tls %[5]d 127.0.0.1:%[4]d send-proxy-v2 check-ssl verify none
`, dir, front, irc, ircs, checkers)
}

// registered is how many clients are registered from each address, as the daemon shows them.
func (f *ferry) registered() map[string]int {
	f.t.Helper()
	out, _ := f.ctl("-o", "json", "show", "sessions")
	var page struct {
		Sessions []struct {
			Client     string
			Registered bool
		}
	}
	if err := json.Unmarshal([]byte(out), &page); err != nil {
		f.t.Fatalf("show sessions: %v in %q", err, out)
	}
	all := map[string]int{}
	for _, s := range page.Sessions {
		if host, _, err := net.SplitHostPort(s.Client); err == nil && s.Registered {
			all[host]++
		}
	}
	return all
}
