package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// listen serves each connection with f until the test ends.
func listen(t *testing.T, network, address string, f func(net.Conn)) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				f(c)
			}()
		}
	}()
	return l.Addr()
}

// realSet applies one backend over the real network and gives its events.
func realSet(t *testing.T, b config.Backend, check config.Check) (*Backend, <-chan Event) {
	t.Helper()
	s, err := NewSet(Options{Instance: "me"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	events := make(chan Event, 100)
	s.Subscribe(func(e Event) { events <- e })
	b.Name, b.Weight = "a", 100
	if check.Timeout == 0 {
		check.Timeout = seconds(5)
	}
	if err := s.Apply(one(config.Pool{Topology: config.Linked, Check: check, Backends: []config.Backend{b}})); err != nil {
		t.Fatal(err)
	}
	return get(t, s, "a"), events
}

// await returns the next event of the kind.
func await(t *testing.T, events <-chan Event, kind string) Event {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case e := <-events:
			if e.Kind == kind {
				return e
			}
		case <-late:
			t.Fatalf("no %s in 10s", kind)
		}
	}
}

func TestRealTCPCheck(t *testing.T) {
	heard := make(chan *proxyproto.Header, 10)
	addr := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		if h, err := proxyproto.Read(bufio.NewReader(c)); err == nil {
			heard <- h
		}
	})
	b, events := realSet(t, config.Backend{Address: addr.String(), Identity: config.IdentityProxyV2}, config.Check{Type: config.CheckTCP, Inter: seconds(3600)})
	await(t, events, EventUp)
	if h := <-heard; h.Version != 2 || !h.Command.IsLocal() {
		t.Errorf("the check said %+v", h)
	}
	if o, err := b.Open(alice); err != nil || o.Addr.String() != addr.String() {
		t.Errorf("%+v %v", o, err)
	}
}

// A host name is looked up by the check, never by Open.
func TestRealCheckResolvesNames(t *testing.T) {
	addr := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {}).(*net.TCPAddr)
	resolve := make(chan struct{})
	s, err := NewSet(Options{Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
		<-resolve
		if host != "irc.example" {
			return nil, errors.New("another name")
		}
		return []netip.Addr{netip.MustParseAddr("::ffff:127.0.0.1")}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	events := make(chan Event, 100)
	s.Subscribe(func(e Event) { events <- e })
	err = s.Apply(one(config.Pool{Topology: config.Linked, Check: config.Check{Timeout: seconds(5), Inter: seconds(3600)},
		Backends: []config.Backend{{Name: "a", Weight: 1, Address: fmt.Sprintf("irc.example:%d", addr.Port)}}}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, s, "a").Open(alice); err == nil {
		t.Error("opened before the name was known")
	}
	close(resolve)
	await(t, events, EventUp)
	if o, err := get(t, s, "a").Open(alice); err != nil || o.Addr != netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(addr.Port)) {
		t.Errorf("%+v %v", o, err)
	}
}

// ircPort answers CAP LS with a line, and QUIT with ERROR and the end. It tells what it was told.
func ircPort(t *testing.T, proxied bool, answer string) (net.Addr, <-chan string) {
	t.Helper()
	heard := make(chan string, 100)
	return listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		in := bufio.NewReader(c)
		if proxied {
			h, err := proxyproto.Read(in)
			if err != nil {
				heard <- "no header: " + err.Error()
				return
			}
			local := h.Command.IsLocal() || h.TransportProtocol.IsUnspec()
			heard <- fmt.Sprintf("v%d local=%t own=%t", h.Version, local, !local && h.SourceAddr.String() == c.RemoteAddr().String() &&
				h.DestinationAddr.String() == c.LocalAddr().String())
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				heard <- "end: " + err.Error()
				return
			}
			heard <- strings.TrimRight(line, "\r\n")
			if strings.HasPrefix(line, "QUIT") {
				io.WriteString(c, "ERROR :Closing link\r\n")
				return
			}
			if answer == "" {
				return
			}
			switch {
			case strings.HasPrefix(line, "CAP LS"):
				io.WriteString(c, answer+"\r\n")
			case strings.HasPrefix(line, "USER"):
				io.WriteString(c, ":irc.test 001 ferry :Welcome\r\n")
			}
		}
	}), heard
}

func TestRealIRCCheck(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		id           config.Identity
		want         string
		heard        []string
	}{
		{"caps", ":irc.test CAP * LS :multi-prefix", config.IdentityNone, EventUp, []string{"CAP LS 302", "QUIT"}},
		{"notice first", "NOTICE * :*** Looking up your hostname", config.IdentityWebIRC, EventUp, []string{"WEBIRC x ircferry 192.0.2.2 192.0.2.2", "CAP LS 302", "QUIT"}},
		{"no caps", ":irc.test 421 * CAP :Unknown command", config.IdentityProxyV1, EventUp, []string{"v1 local=false own=true", "CAP LS 302", "QUIT"}},
		{"header", ":irc.test CAP * LS :", config.IdentityProxyV2, EventUp, []string{"v2 local=true own=false", "CAP LS 302", "QUIT"}},
		{"error", "ERROR :Trying to reconnect too fast", config.IdentityNone, EventDown, []string{"CAP LS 302"}},
		{"error with source", ":irc.test ERROR :Server full", config.IdentityNone, EventDown, []string{"CAP LS 302"}},
		{"closes", "", config.IdentityNone, EventDown, []string{"CAP LS 302"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, heard := ircPort(t, strings.HasPrefix(string(c.id), "proxy"), c.answer)
			b := config.Backend{Address: addr.String(), Identity: c.id}
			if c.id == config.IdentityWebIRC {
				b.WebIRCPasswordFile = filepath.Join(t.TempDir(), "p")
				if err := os.WriteFile(b.WebIRCPasswordFile, []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, events := realSet(t, b, config.Check{Type: config.CheckIRC, Inter: seconds(3600), Timeout: seconds(1)})
			e := await(t, events, c.want)
			for _, want := range c.heard {
				expect(t, "the ircd heard", <-heard, want)
			}
			if c.want == EventDown && c.answer != "" && !strings.Contains(e.Text, "ERROR") {
				t.Errorf("the cause does not say it: %q", e.Text)
			}
		})
	}
}

// native serves HELLO on a unix socket until the test ends, and closes all its connections at the end of stop.
func native(t *testing.T, path string, h protocol.Hello) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { c.Close() })
			go func() {
				in := bufio.NewScanner(c)
				for in.Scan() {
					if strings.HasPrefix(in.Text(), "HELLO ") {
						c.Write(h.Message().Append(nil))
					}
				}
			}()
		}
	}()
	stop = func() { cancel(); l.Close(); <-done }
	t.Cleanup(stop)
	return stop
}

func goodHello(epoch string) protocol.Hello {
	return protocol.Hello{V: protocol.Version, Software: "testd", Version: "1", Epoch: epoch, Stream: "127.0.0.1:7001", SKey: "secretkey",
		Feat: []string{"open", "export", "import", "proof"}}
}

// A native backend is up at once; its end is seen without waiting for the next check, and so is its successor.
func TestRealHandoffCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stop := native(t, path, goodHello("one"))
	b, events := realSet(t, config.Backend{Handoff: "unix:" + path}, config.Check{Inter: seconds(3600), Rise: 1, Fall: 1})
	await(t, events, EventUp)
	stop()
	e := await(t, events, EventDown)
	if strings.Contains(e.Text, "secretkey") {
		t.Errorf("a secret is in %q", e.Text)
	}
	native(t, path, goodHello("two"))
	b.Recheck()
	await(t, events, EventUp)
	if h, _, _ := b.Hello(); h.Epoch != "two" {
		t.Errorf("epoch %s", h.Epoch)
	}
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	hello := func(change func(*protocol.Hello)) func(t *testing.T) config.Backend {
		return func(t *testing.T) config.Backend {
			path := filepath.Join(t.TempDir(), "s")
			h := goodHello("e")
			change(&h)
			native(t, path, h)
			return config.Backend{Handoff: "unix:" + path}
		}
	}
	relay := func(answer string) func(t *testing.T) config.Backend {
		return func(t *testing.T) config.Backend {
			addr, _ := ircPort(t, false, answer)
			return config.Backend{Address: addr.String()}
		}
	}
	for _, c := range []struct {
		name  string
		start func(t *testing.T) config.Backend
		want  string
	}{
		{"sound", hello(func(*protocol.Hello) {}), "ok: pools.main.backends[0]: testd 1 at unix:"},
		{"tls behind us", hello(func(h *protocol.Hello) { h.Caps = []string{"multi-prefix", "tls"} }), "warning: pools.main.backends[0]: capability tls: clients are offered STARTTLS"},
		{"version", hello(func(h *protocol.Hello) { h.V = "2.0" }), "error: pools.main.backends[0]: "},
		{"does not prove itself", hello(func(h *protocol.Hello) { h.Feat = h.Feat[:3] }), "warning: pools.main.backends[0]: testd 1 does not prove on its streams that it is the ircd"},
		{"cannot import", hello(func(h *protocol.Hello) { h.Feat = []string{"open", "export"} }), "warning: pools.main.backends[0]: testd 1 cannot import"},
		{"no stream", hello(func(h *protocol.Hello) { h.Stream = "" }), "error: pools.main.backends[0]: "},
		{"no socket", func(*testing.T) config.Backend { return config.Backend{Handoff: "unix:" + dir + "/none"} }, "warning: pools.main.backends[0]: unix:" + dir + "/none is not there"},
		{"nobody listens", func(t *testing.T) config.Backend {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
			return config.Backend{Handoff: "unix:" + path}
		}, "warning: pools.main.backends[0]: nobody listens at unix:"},
		{"relay", relay(":irc.test CAP * LS :multi-prefix away-notify"), "ok: pools.main.backends[0]: 127.0.0.1:"},
		{"relay with tls", relay(":irc.test CAP * LS * :multi-prefix\r\n:irc.test CAP * LS :sts=port=6697 tls"), "warning: pools.main.backends[0]: capability sts"},
		{"relay that says ERROR", relay("ERROR :no"), "warning: pools.main.backends[0]: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.start(t)
			b.Name, b.Weight = "a", 100
			var all []string
			for _, f := range Probe(t.Context(), config.Config{Pools: one(config.Pool{Backends: []config.Backend{b}})}) {
				all = append(all, f.String())
			}
			text := strings.Join(all, "\n")
			wrong := strings.HasPrefix(c.want, "ok: ") && len(all) != 1 || strings.HasPrefix(c.want, "error: ") && strings.Contains(text, "ok: ")
			if wrong || !strings.Contains(text, c.want) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
			if strings.Contains(text, "secretkey") {
				t.Errorf("a secret is in %s", text)
			}
		})
	}
}

// Everything that Probe asks is over in bounded time, however many backends hang.
func TestProbeIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen(t, "unix", path, func(c net.Conn) { io.Copy(io.Discard, c) })
	p := config.Pool{}
	for i := range 20 {
		p.Backends = append(p.Backends, config.Backend{Name: fmt.Sprint(i), Handoff: "unix:" + path})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	found := Probe(ctx, config.Config{Pools: one(p)})
	if took := time.Since(began); took > 5*time.Second || len(found) != 20 {
		t.Errorf("%d findings in %s", len(found), took)
	}
}

// Root may open every socket, the daemon's user may not: ircferry check says who may.
func TestWhoMayUseASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen(t, "unix", path, func(net.Conn) {})
	us, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(us.Gid)
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.QuoteMeta(us.Username)
	for _, c := range []struct {
		mode os.FileMode
		want string
	}{
		{0o666, "^$"},
		{0o660, "^user " + name + " and group " + regexp.QuoteMeta(group.Name) + ` \(0660\)$`},
		{0o600, "^user " + name + ` \(0600\)$`},
	} {
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if got := whoMay("unix:" + path); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%04o: %q, want %s", c.mode, got, c.want)
		}
	}
	if got := whoMay("tcp:127.0.0.1:1") + whoMay("unix:"+path+"/none"); got != "" {
		t.Errorf("what is no socket is for %q", got)
	}
}
