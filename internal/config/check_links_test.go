package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

const linksFile = `listeners: [{name: irc, address: "127.0.0.1:6667", pool: main, limits: {connections: 10}}]
pools:
  main:
    backends:
      - {name: a, handoff: "unix:/run/a.sock", servers: {address: "127.0.0.1:7000"}}
      - {name: b, handoff: "unix:/run/b.sock"}
    links:
      - {name: services.example, listen: "127.0.0.1:7100"}
state: DIR
admin: {socket: DIR/admin.sock}
http: {address: ""}
`

// What cannot be of links is told with its key, the value and the way out.
func TestLinksAreVerified(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	pair := certtest.SelfSigned(t, certtest.Options{})
	cert, key := pair.Write(t, dir, "link")
	good := strings.ReplaceAll(linksFile, "DIR", dir)
	ours := "cert: " + cert + ", key: " + key
	print := pair.Fingerprint()
	const link, servers = `listen: "127.0.0.1:7100"`, `{address: "127.0.0.1:7000"}`
	for _, c := range []struct{ name, old, now, want string }{
		{"good", "", "", ""},
		{"TLS", link, link + ", tls: {" + ours + ", fingerprints: ['" + strings.ToUpper(print[:2]) + ":" + print[2:] + "']}", ""},
		{"dial with TLS", link, link + `, dial: "192.0.2.9:7000", tls: {fingerprints: [` + print + "]}", ""},
		{"servers with TLS", servers, `{address: "192.0.2.9:7000", tls: {ca: ` + cert + ", server_name: irc.example}}", ""},
		{"no name", "name: services.example, ", "", "links[0].name: has no name"},
		{"two of a name", "links:", "links:\n      - {name: services.example, listen: '127.0.0.1:7101'}", `links[1].name: "services.example" is the name of pools.main.links[0] too`},
		{"no listener", ", " + link, "", "links[0].listen: is not there"},
		{"listener of clients", "127.0.0.1:7100", "127.0.0.1:6667", "links[0].listen: \"127.0.0.1:6667\" is taken by listeners[0].address too"},
		{"an address that is none", "127.0.0.1:7100", "nowhere", "has no port"},
		{"no servers", ", servers: " + servers, "", "links[0]: no backend of the pool has servers"},
		{"unknown backend", link, link + ", backends: [aa]", `there is no backend "aa" in the pool; did you mean "a"?`},
		{"backend without servers", link, link + ", backends: [b]", "backend b has no servers"},
		{"backend twice", link, link + ", backends: [a, a]", "a stands twice"},
		{"small hold", link, link + ", hold: 1KiB", "hold: 1KiB is not from 64KiB to 4GiB"},
		{"hold without a unit", link, link + ", hold: 64", `"64" is not a size`},
		{"hold of other units", link, link + ", hold: 64MB", `"64MB" is not a size`},
		{"fingerprint of SHA-1", link, link + ", tls: {" + ours + ", fingerprints: [00112233]}", `"00112233" is not the SHA-256 of a certificate`},
		{"everybody", link, link + ", allow: [0.0.0.0/0]", "warning: pools.main.links[0].allow: 0.0.0.0/0 lets everybody"},
		{"far in plain text", link, link + ", allow: [192.0.2.0/24]", "warning: pools.main.links[0]: from other machines the peer's password"},
		{"dial far in plain text", link, link + `, dial: "192.0.2.9:7000"`, "leave this machine in plain text"},
		{"no fingerprints", link, link + ", tls: {" + ours + "}", "warning: pools.main.links[0].tls.fingerprints: there are none"},
		{"no certificate", link, link + ", tls: {fingerprints: [" + print + "]}", "links[0].tls.cert: is not there"},
		{"key of another", link, link + ", tls: {cert: " + cert + ", key: " + cert + ", fingerprints: [" + print + "]}", "tls.cert and tls.key"},
		{"ca for a listener", link, link + ", tls: {" + ours + ", ca: " + cert + "}", "ca and server_name are for who dials"},
		{"fingerprints and ca", servers, `{address: "127.0.0.1:7000", tls: {ca: ` + cert + ", fingerprints: [" + print + "]}}", "known by the one or the other"},
		{"servers without handoff", `handoff: "unix:/run/a.sock"`, `address: "127.0.0.1:6670"`, "backends[0].servers: a has no handoff"},
		{"servers without links", "    links:\n      - {name: services.example, " + link + "}\n", "", "warning: pools.main.backends[0].servers: the pool has no links"},
		{"servers nowhere", servers, `{address: "7000"}`, "backends[0].servers.address: \"7000\" has no port"},
		{"no such ca", servers, `{address: "127.0.0.1:7000", tls: {ca: ` + filepath.Join(dir, "none.pem") + "}}", "none.pem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.old != "" && !strings.Contains(good, c.old) {
				t.Fatalf("no %q", c.old)
			}
			var told []string
			cfg, err := Parse("f", []byte(strings.Replace(good, c.old, c.now, 1)))
			if err != nil {
				told = append(told, err.Error())
			} else {
				for _, f := range Verify(cfg) {
					if strings.Contains(f.Key, "links") || strings.Contains(f.Key, "servers") || f.Severity == SeverityError {
						told = append(told, f.String())
					}
				}
			}
			text := strings.Join(told, "\n")
			if c.want == "" && text != "" || !strings.Contains(text, c.want) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

// Sizes are written as they are read.
func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"1KiB": 1 << 10, "64MiB": 64 << 20, "2GiB": 2 << 30, "1536KiB": 1536 << 10} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want || s.String() != text {
			t.Errorf("%s: %d %v, written %s", text, s, err, s)
		}
	}
	for _, text := range []string{"", "5", "-1MiB", "1.5MiB", "MiB", "99999999GiB", "9999999MiB"} {
		if s := Size(7); s.UnmarshalText([]byte(text)) == nil || s != 7 {
			t.Errorf("%q is taken as %d", text, s)
		}
	}
}
