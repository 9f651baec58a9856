package certs

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

func TestCheck(t *testing.T) {
	now := time.Now()
	root := certtest.NewAuthority(t, "test root")
	middle := root.Issue(t, certtest.Options{CN: "test intermediate", Authority: true})
	past := root.Issue(t, certtest.Options{CN: "past intermediate", Authority: true, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-time.Hour)})
	good := certtest.SelfSigned(t, certtest.Options{})
	plain := func(o certtest.Options) func(*testing.T, string) config.Cert {
		return func(t *testing.T, dir string) config.Cert {
			return written(t, certtest.SelfSigned(t, o), dir, "irc")
		}
	}
	from := func(by *certtest.Pair, o certtest.Options) func(*testing.T, string) config.Cert {
		return func(t *testing.T, dir string) config.Cert { return written(t, by.Issue(t, o), dir, "irc") }
	}
	for _, c := range []struct {
		name  string
		write func(t *testing.T, dir string) config.Cert
		want  string // "" for nothing; "FILE" stands for the certificate's path
	}{
		{"self-signed", plain(certtest.Options{}), ""},
		{"RSA", plain(certtest.Options{RSA: true}), ""},
		{"with its chain", from(middle, certtest.Options{}), ""},
		{"of an own root", from(root, certtest.Options{}), ""},
		{"an address for a name", plain(certtest.Options{Names: []string{"192.0.2.1"}}), ""},
		{"key missing", func(t *testing.T, dir string) config.Cert {
			files := written(t, good, dir, "irc")
			remove(t, files.Key)
			return files
		}, "error: listeners[1].tls.certs[0]: read key: open "},
		{"key of another", func(t *testing.T, dir string) config.Cert {
			files := written(t, good, dir, "irc")
			write(t, files.Key, certtest.SelfSigned(t, certtest.Options{}).KeyPEM)
			return files
		}, "error: listeners[1].tls.certs[0]: certificate FILE with key "},
		{"key for all", func(t *testing.T, dir string) config.Cert {
			files := written(t, good, dir, "irc")
			if err := os.Chmod(files.Key, 0o644); err != nil {
				t.Fatal(err)
			}
			return files
		}, "can be used by everybody (0644)"},
		{"key for a group", func(t *testing.T, dir string) config.Cert {
			files := written(t, good, dir, "irc")
			if err := os.Chmod(files.Key, 0o640); err != nil {
				t.Fatal(err)
			}
			return files
		}, ""},
		{"expired", plain(certtest.Options{NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-time.Hour)}), "warning: listeners[1].tls.certs[0]: FILE has expired on"},
		{"not valid yet", plain(certtest.Options{NotBefore: now.Add(time.Hour)}), "is not valid before"},
		{"ends soon", plain(certtest.Options{NotAfter: now.Add(13 * 24 * time.Hour)}), "FILE expires on"},
		{"no name", plain(certtest.Options{Nameless: true}), "FILE has no name"},
		{"common name only", plain(certtest.Options{Nameless: true, CN: "irc.test"}), `as common name only ("irc.test")`},
		{"for clients only", plain(certtest.Options{ClientOnly: true}), "is not one for servers"},
		{"of a public CA without its chain", plain(certtest.Options{IssuerURL: "http://ca.test/issuer.der"}), ""}, // self-signed: there is none
		{"of a public CA without its chain", from(root, certtest.Options{IssuerURL: "http://ca.test/issuer.der"}), "FILE comes without its chain"},
		{"of a public CA with its chain", from(middle, certtest.Options{IssuerURL: "http://ca.test/issuer.der"}), ""},
		{"chain of another", func(t *testing.T, dir string) config.Cert {
			files := written(t, good, dir, "irc")
			write(t, files.Cert, append(append([]byte{}, good.CertPEM...), root.CertPEM...))
			return files
		}, "certificate 2 in FILE is not that of who has signed"},
		{"expired intermediate", from(past, certtest.Options{}), "certificate 2 in FILE has expired on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := c.write(t, t.TempDir())
			cfg := config.Config{Listeners: []config.Listener{{Name: "plain"}, listens("one", files), listens("two", files)}}
			var all []string
			for _, f := range Check(cfg) {
				all = append(all, f.String())
			}
			text := strings.Join(all, "\n")
			if want := strings.ReplaceAll(c.want, "FILE", files.Cert); want == "" && text != "" || !strings.Contains(text, want) || len(all) > 1 {
				t.Errorf("got  %s\nwant %s", text, want)
			}
		})
	}
}
