package backend

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"github.com/ircferry/ircferry/internal/config"
)

// still is a set whose checks do not matter: nobody is anywhere.
func still(t *testing.T, b config.Backend) *Backend {
	t.Helper()
	w := newWorld()
	b.Name, b.Weight = "a", 100
	s := w.newSet(t, "", one(config.Pool{Topology: config.Linked, Check: config.Check{Inter: seconds(3600), Rise: 1, Fall: 1, Timeout: seconds(1)},
		Backends: []config.Backend{b}}))
	return get(t, s, "a")
}

func client(addr, local string) Client {
	return Client{U: "me.1", Addr: netip.MustParseAddrPort(addr), Local: netip.MustParseAddrPort(local)}
}

// What we write is read by the same library's reader, which the field's ircds are tested against.
func TestProxyHeaders(t *testing.T) {
	for _, id := range []config.Identity{config.IdentityProxyV1, config.IdentityProxyV2} {
		b := still(t, config.Backend{Address: "192.0.2.1:6667", Identity: id})
		for _, c := range []struct{ addr, local, wantAddr, wantLocal string }{
			{"198.51.100.7:4711", "192.0.2.80:6667", "198.51.100.7:4711", "192.0.2.80:6667"},
			{"[2001:db8::7]:4711", "[2001:db8::80]:6667", "[2001:db8::7]:4711", "[2001:db8::80]:6667"},
			{"[::ffff:198.51.100.7]:4711", "[::ffff:192.0.2.80]:6667", "198.51.100.7:4711", "192.0.2.80:6667"},
			{"[::1]:1", "[::1]:6667", "[::1]:1", "[::1]:6667"},
			{"198.51.100.7:4711", "[2001:db8::80]:6667", "198.51.100.7:4711", "0.0.0.0:6667"},
			{"[2001:db8::7]:4711", "192.0.2.80:6667", "[2001:db8::7]:4711", "[::]:6667"},
			{"[fe80::7%eth0]:4711", "[fe80::1%eth0]:6667", "[fe80::7]:4711", "[fe80::1]:6667"},
		} {
			o, err := b.Open(client(c.addr, c.local))
			if err != nil {
				t.Fatal(err)
			}
			if o.Native || o.HoldForUser || o.Addr.String() != "192.0.2.1:6667" {
				t.Errorf("%+v", o)
			}
			h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(o.Preface)))
			if err != nil {
				t.Errorf("%s %s: %v (%q)", id, c.addr, err, o.Preface)
				continue
			}
			expect(t, string(id)+" source", h.SourceAddr.String(), c.wantAddr)
			expect(t, string(id)+" destination", h.DestinationAddr.String(), c.wantLocal)
		}
	}
}

func TestProxyHeaderV1IsTheLineOfTheSpecification(t *testing.T) {
	b := still(t, config.Backend{Address: "192.0.2.1:6667", Identity: config.IdentityProxyV1})
	o, err := b.Open(alice)
	if err != nil || string(o.Preface) != "PROXY TCP4 198.51.100.7 192.0.2.80 4711 6667\r\n" {
		t.Errorf("%q %v", o.Preface, err)
	}
}

func TestIdentityNone(t *testing.T) {
	for _, id := range []config.Identity{"", config.IdentityNone} {
		b := still(t, config.Backend{Address: "192.0.2.1:6667", Identity: id})
		if o, err := b.Open(alice); err != nil || o.Preface != nil || o.HoldForUser {
			t.Errorf("%+v %v", o, err)
		}
	}
}

func TestWebIRC(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(secret, []byte("geheim\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := config.Backend{Address: "192.0.2.1:6667", Identity: config.IdentityWebIRC, WebIRCPasswordFile: secret}
	first := still(t, conf)
	conf.WebIRCAfter = "user"
	second := still(t, conf)
	for addr, want := range map[string]string{
		"198.51.100.7:1":          "198.51.100.7 198.51.100.7",
		"[2001:db8::7]:1":         "2001:db8::7 2001:db8::7",
		"[::1]:1":                 "0::1 0::1",
		"[::ffff:198.51.100.7]:1": "198.51.100.7 198.51.100.7",
	} {
		c := client(addr, "[::1]:6667")
		o, err := first.Open(c)
		if err != nil || string(o.Preface) != "WEBIRC geheim ircferry "+want+"\r\n" || o.HoldForUser {
			t.Errorf("%s: %q %v", addr, o.Preface, err)
		}
		o, err = second.Open(c)
		if err != nil || o.Preface != nil || !o.HoldForUser {
			t.Errorf("%s: %+v %v", addr, o, err)
		}
		expect(t, addr, string(second.WebIRC(c, "bob")), "WEBIRC geheim ~bob "+want+"\r\n")
	}
	for user, want := range map[string]string{"": "~unknown", "a b": "~a", "x\r\nOPER y": "~x", " ": "~unknown", "~bob": "~~bob", ":x": "~:x",
		strings.Repeat("u", 500): "~" + strings.Repeat("u", 64)} {
		line := string(second.WebIRC(alice, user))
		if f := strings.Fields(line); len(f) != 5 || f[2] != want || strings.Count(line, "\r\n") != 1 {
			t.Errorf("user %q: %q", user, line)
		}
	}
}

// A password never comes out in errors, events or what is printed of a backend's state.
func TestPasswordIsNotInErrors(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(secret, []byte("two words"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewSet(Options{Dial: newWorld().dial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conf := relays(config.Linked, "a")
	conf.Backends[0].Identity, conf.Backends[0].WebIRCPasswordFile = config.IdentityWebIRC, secret
	if err := s.Apply(one(conf)); err == nil || strings.Contains(err.Error(), "words") && !strings.Contains(err.Error(), "one word") || strings.Contains(err.Error(), "two") {
		t.Errorf("got %v", err)
	}
}
