package config

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// Issue 10, 9: a byte order mark and directives are no part of the content (YAML 1.2.2 sections 5.2, 6.8); what is not UTF-8 is called by its name.
func TestEncodingsOfTheFile(t *testing.T) {
	want, err := Parse("f", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	wide := func(order binary.AppendByteOrder, mark string) []byte {
		out := []byte(mark)
		for _, u := range utf16.Encode([]rune(example)) {
			out = order.AppendUint16(out, u)
		}
		return out
	}
	for _, c := range []struct {
		name string
		text []byte
		says string // "": read as the plain one
	}{
		{"mark", append([]byte("\xef\xbb\xbf"), example...), ""},
		{"directive", []byte("%YAML 1.2\n---\n" + example), ""},
		{"mark and directive", []byte("\xef\xbb\xbf%YAML 1.2\n---\n" + example + "...\n"), ""},
		{"comment and directive", []byte("# ircferry\n%YAML 1.2\n---\n" + example), ""},
		{"CR LF", []byte(strings.ReplaceAll(example, "\n", "\r\n")), ""},
		{"two documents", []byte(example + "\n---\n" + example), "a second document"},
		{"directives and two documents", []byte("%YAML 1.2\n---\n" + example + "\n...\n%YAML 1.2\n---\n" + example), "a second document"},
		{"a directive alone", []byte("%YAML 1.2\n"), "f:1:1: "},
		{"UTF-16 LE", wide(binary.LittleEndian, "\xff\xfe"), "f:1:1: the file is UTF-16; save it as UTF-8"},
		{"UTF-16 BE", wide(binary.BigEndian, "\xfe\xff"), "f:1:1: the file is UTF-16"},
		{"UTF-16 without a mark", wide(binary.LittleEndian, ""), "f:1:1: the file is UTF-16"},
		{"Latin 1", []byte("# caf\xe9\n" + example), "f:1:1: this line is not UTF-8"},
		{"NUL", []byte(example + "\n#\x00\n"), "a NUL byte in this line"},
	} {
		got, err := Parse("f", c.text)
		switch {
		case c.says == "" && (err != nil || !reflect.DeepEqual(got, want)):
			t.Errorf("%s: %v\n%+v", c.name, err, got)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\x00") || c.says != "" && !utf8.ValidString(err.Error())):
			t.Errorf("%s: got %v, want %s", c.name, err, c.says)
		}
	}
}

// A password file with a mark would be another password.
func TestPasswordWithAMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(path, []byte("\xef\xbb\xbfsecretword\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPassword(path); err == nil || !strings.Contains(err.Error(), "byte order mark") || strings.Contains(err.Error(), "secretword") {
		t.Errorf("got %v", err)
	}
}

// Addresses of one link need their interface, and it must be there.
func TestZones(t *testing.T) {
	for _, c := range []struct{ listen, backend, want string }{
		{"[fe80::1%lo]:6667", "[fe80::2%lo]:6667", ""},
		{"[fe80::1]:6667", "127.0.0.1:6667", "error: listeners[0].address"},
		{"[fe80::1%eth9]:6667", "127.0.0.1:6667", "no interface eth9"},
		{"127.0.0.1:6667", "[fe80::2]:6667", "error: pools.main.backends[0].address"},
		{"127.0.0.1:6667", "[fe80::2%eth9]:6667", "warning: pools.main.backends[0].address"},
	} {
		cfg := sound(t)
		cfg.Listeners[0].Address = c.listen
		p := cfg.Pools["main"]
		p.Backends = []Backend{{Name: "a", Address: c.backend, Weight: 1}}
		cfg.Pools["main"] = p
		var all []string
		for _, f := range verify(cfg, plenty()) {
			all = append(all, f.String())
		}
		if text := strings.Join(all, "\n"); c.want == "" && strings.Contains(text, "interface") || !strings.Contains(text, c.want) {
			t.Errorf("%+v: %s", c, text)
		}
	}
}
