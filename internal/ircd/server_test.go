package ircd

import (
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/ircclient"
)

// startServer runs a server for the test and answers the address of its client port.
func startServer(t *testing.T, cfg Config) (*Server, string) {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []Listener{{Address: "127.0.0.1:0"}}
	}
	if cfg.Name == "" {
		cfg.Name = "irc.test"
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Close() })
	return s, s.Addr().String()
}

func user(t *testing.T, addr, nick string, caps ...string) *ircclient.Tester {
	t.Helper()
	return ircclient.TestUser(t, addr, nick, caps...)
}

// mustContain checks that all texts are in the answer, in this order.
func mustContain(t *testing.T, answer string, texts ...string) {
	t.Helper()
	rest := answer
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("no %q (in this order) in\n%s", text, answer)
		}
		rest = after
	}
}

func mustNotContain(t *testing.T, answer string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(answer, text) {
			t.Fatalf("%q in\n%s", text, answer)
		}
	}
}

func TestServerQueries(t *testing.T) {
	s, addr := startServer(t, Config{MOTD: []string{"one", "two"}})
	alice := user(t, addr, "alice")
	mustContain(t, alice.Ask("MOTD"), " 375 alice :", " 372 alice :- one", " 372 alice :- two", " 376 ")
	mustContain(t, alice.Ask("LUSERS"), " 251 alice :There are 1 users and 0 invisible", " 252 alice 0 ", " 255 ", " 265 alice 1 1 ", " 266 ")
	mustContain(t, alice.Ask("VERSION"), " 351 alice ", " 005 alice ")
	mustContain(t, alice.Ask("PING :a b"), "PONG irc.test :a b")
	mustContain(t, alice.Ask("PING"), " 409 ")
	mustContain(t, alice.Ask("NOSUCH x"), " 421 alice NOSUCH ")
	mustContain(t, alice.Ask("JOIN"), " 461 alice JOIN ")
	user(t, addr, "bob").Ask("MODE bob +i")
	mustContain(t, alice.Ask("LUSERS"), " 251 alice :There are 1 users and 1 invisible", " 265 alice 2 2 ")
	alice.Join("#c")
	mustContain(t, alice.Ask("PONG x"), "")
	if s.Users() != 2 || s.Channels() != 1 {
		t.Errorf("users %d channels %d, want 2 and 1", s.Users(), s.Channels())
	}
}

func TestCloseTellsClients(t *testing.T) {
	s, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	alice.Join("#c")
	bob.Join("#c")
	alice.Fence()
	go s.Close()
	for _, c := range []*ircclient.Tester{alice, bob} {
		got := ircclient.Texts(c.Gone())
		mustContain(t, got, "ERROR :Closing link: (", "[Server shutting down]")
		mustNotContain(t, got, "QUIT")
	}
}

func TestTwoServersInOneProcess(t *testing.T) {
	_, one := startServer(t, Config{Name: "one.test"})
	_, two := startServer(t, Config{Name: "two.test", SID: "002"})
	alice := user(t, one, "alice")
	user(t, two, "alice") // the same nick: they share nothing
	mustContain(t, alice.Ask("WHOIS alice"), " 312 alice alice one.test ")
}
