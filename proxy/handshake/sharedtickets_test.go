package handshake

import (
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

func secretsOf(words ...string) (all [][]byte) {
	for _, w := range words {
		all = append(all, []byte(w))
	}
	return all
}

// at is a proxy with secrets, whose clock shows a time.
func at(now time.Time, label string, words ...string) *Tickets {
	t := newTickets(func() time.Time { return now })
	t.Share(Shared{Label: label, Secrets: secretsOf(words...)})
	return t
}

// A client that has shaken hands with one proxy resumes its session at another that has the secret: with clocks that differ, for a day, over a rotation of the secrets,
// and in no other cluster.
func TestSharedTickets(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	noon := time.Unix(1_800_000_000, 0).Truncate(12 * time.Hour)
	for _, c := range []struct {
		name     string
		from, to *Tickets
		resumes  bool
	}{
		{"the same", at(noon, "x", "old"), at(noon, "x", "old"), true},
		{"a clock a period ahead", at(noon.Add(12*time.Hour), "x", "old"), at(noon, "x", "old"), true},
		{"a clock two periods ahead", at(noon.Add(24*time.Hour), "x", "old"), at(noon, "x", "old"), false},
		{"a ticket of a day", at(noon, "x", "old"), at(noon.Add(24*time.Hour), "x", "old"), true},
		{"a ticket of a day and a half", at(noon, "x", "old"), at(noon.Add(36*time.Hour), "x", "old"), false},
		{"another cluster", at(noon, "x", "old"), at(noon, "y", "old"), false},
		{"another secret", at(noon, "x", "old"), at(noon, "x", "new"), false},
		{"the new secret is known", at(noon, "x", "old"), at(noon, "x", "old", "new"), true},
		{"one seals with the new one", at(noon, "x", "new", "old"), at(noon, "x", "old", "new"), true},
		{"one does not know the new one", at(noon, "x", "old"), at(noon, "x", "new", "old"), true},
		{"the old one is removed", at(noon, "x", "new", "old"), at(noon, "x", "new"), true},
		{"the old one is removed too early", at(noon, "x", "old", "new"), at(noon, "x", "new"), false},
		{"own tickets", at(noon, "x"), at(noon, "x"), false},
	} {
		for _, version := range versions {
			t.Run(c.name+" "+tls.VersionName(version), func(t *testing.T) {
				client := newClient(server, version)
				if client.visit(t, serverConfig(server, ServerOptions{Tickets: c.from})).Resumed {
					t.Fatal("the first visit was resumed")
				}
				if f := client.visit(t, serverConfig(server, ServerOptions{Tickets: c.to})); f.Resumed != c.resumes {
					t.Errorf("resumed %v, want %v", f.Resumed, c.resumes)
				}
			})
		}
	}
}

// Who begins to share, or ends it, opens what it has sealed itself before.
func TestBeginToShareTickets(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	tickets := NewTickets()
	cfg := serverConfig(server, ServerOptions{Tickets: tickets})
	c := newClient(server, tls.VersionTLS13)
	if c.visit(t, cfg).Resumed {
		t.Fatal("the first visit was resumed")
	}
	tickets.Share(Shared{Label: "x", Secrets: secretsOf("secret")})
	if !c.visit(t, cfg).Resumed {
		t.Error("an own ticket is not opened any more")
	}
	if !c.visit(t, serverConfig(server, ServerOptions{Tickets: at(time.Now(), "x", "secret")})).Resumed {
		t.Error("the next ticket is not a shared one")
	}
	tickets.Share(Shared{})
	if c := newClient(server, tls.VersionTLS13); c.visit(t, cfg).Resumed || !c.visit(t, cfg).Resumed {
		t.Error("own tickets do not work any more")
	}
}

// The keys of a period are those of the clock and the secret alone, and no two are alike.
func TestSharedKeys(t *testing.T) {
	s := Shared{Label: "x", Secrets: secretsOf("secret")}
	seen := [][ticketKeyLen]byte{}
	for _, k := range [][ticketKeyLen]byte{s.key([]byte("secret"), 1), s.key([]byte("secret"), 2), s.key([]byte("other"), 1), Shared{Label: "y"}.key([]byte("secret"), 1)} {
		if slices.Contains(seen, k) {
			t.Errorf("two keys are alike")
		}
		seen = append(seen, k)
	}
	if s.key([]byte("secret"), 1) != seen[0] {
		t.Error("a key is another one the second time")
	}
}
