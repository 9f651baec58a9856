//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rehearsed is what ircferry check --probe says of a backend, and the lines that it wants to have added.
func rehearsed(t *testing.T, backend string) (says string, add []string) {
	t.Helper()
	f := newFerry(t, "", backend)
	p := start(t, nil, binary("ircferry"), "check", "--probe", "-c", f.configFile())
	p.await(70 * time.Second)
	says = p.out.String()
	for line := range strings.Lines(says) {
		if text, ok := strings.CutPrefix(line, "    "); ok {
			add = append(add, strings.TrimRight(text, "\n"))
		}
	}
	return says, add
}

// stockLimits are what an ircd's configuration refuses without anybody having written it, and how the configuration becomes one with the lines that are told.
type stockLimits struct {
	name string
	run  func(t *testing.T, edit func(string) string) (port int)
	more string            // of the backend
	cut  map[string]string // from the configuration of the tests
	add  func(conf string, lines []string) string
	says []string
}

// Issue 14: the lines that are told for what an ircd refuses are right: with them it refuses nothing any more.
func TestProbeTellsTheLines(t *testing.T) {
	for _, c := range []stockLimits{{
		name: "InspIRCd",
		run: func(t *testing.T, edit func(string) string) int {
			v := inspVersions()[0]
			v.need(t)
			port, conf := v.stockConfig(t)
			writeFile(t, conf, edit(readFile(conf)))
			awaitPort(t, port, start(t, nil, v.wrapper(t, filepath.Dir(conf)), "--config="+conf, "--nofork", "--runasroot"))
			return port
		},
		more: ", identity: proxy-v2",
		cut:  map[string]string{` threshold="1000" commandrate="100000" fakelag="no"`: ``, `localmax="1000" globalmax="1000"`: `limit="20"`},
		add: func(conf string, lines []string) string {
			for i, l := range lines {
				attributes, users := strings.CutPrefix(strings.TrimPrefix(l, "and "), "in the <connect> of the users: ")
				switch {
				case users:
					conf = strings.Replace(strings.Replace(conf, `limit="20"`, "", 1), `<connect name="users" `, `<connect name="users" `+attributes+" ", 1)
				case strings.HasPrefix(l, "<connect"):
					conf = strings.Replace(conf, `<connect name="users"`, l+"\n"+lines[i+1]+"\n"+`<connect name="users"`, 1)
				}
			}
			return conf
		},
		says: []string{"clients there, of", "it delays what is said fast"},
	}, {
		name: "ngIRCd",
		run: func(t *testing.T, edit func(string) string) int {
			program := need(t, "ngircd", "ngircd")
			port, conf := ircdConfig(t, "ngircd.conf", "ng.example.org")
			writeFile(t, conf, edit(readFile(conf)))
			awaitPort(t, port, start(t, nil, program, "--nodaemon", "--config", conf))
			return port
		},
		more: ", identity: webirc, webirc_after: user, webirc_password_file: @SECRET",
		cut:  map[string]string{"MaxConnectionsIP = 0": "", "MaxJoins = 0": "", "MaxPenaltyTime = 0": "", "MaxConnections = 0": ""},
		add:  func(conf string, lines []string) string { return conf + strings.Join(lines, "\n") + "\n" },
		says: []string{"too many connections from your IP", "it delays what is said fast"},
	}, {
		name: "ircd-hybrid",
		run:  hybridEdited,
		more: ", identity: webirc, webirc_password_file: @SECRET",
		cut:  map[string]string{`exempt { ip = "127.0.0.0/8"; };`: "", "throttle_count = 1000; throttle_time = 1 second;": ""},
		add: func(conf string, lines []string) string {
			for _, l := range lines {
				if !strings.Contains(l, "of the users") {
					conf += l + "\n"
				}
			}
			return strings.Replace(conf, "flags = no_tilde", "flags = exceed_limit, can_flood, no_tilde", 1)
		},
		says: []string{"it does not take the first client", "too fast"}, // it was there for the check before
	}} {
		t.Run(c.name, func(t *testing.T) { t.Parallel(); c.check(t) })
	}
}

func (c stockLimits) check(t *testing.T) {
	more := strings.ReplaceAll(c.more, "@SECRET", secret(t, "webpass"))
	stock := func(conf string) string {
		for old, now := range c.cut {
			if !strings.Contains(conf, old) {
				t.Errorf("the configuration has no %s", old)
			}
			conf = strings.Replace(conf, old, now, 1)
		}
		return conf
	}
	says, lines := rehearsed(t, relay(c.run(t, stock), more))
	for _, want := range c.says {
		if !strings.Contains(says, want) {
			t.Errorf("check --probe does not say %q:\n%s", want, says)
		}
	}
	if strings.Contains(says, "webpass") {
		t.Errorf("it tells the password:\n%s", says)
	}
	// The first refusal ends it, so that another may be behind it.
	all := lines
	for try := 0; ; try++ {
		again, lines := rehearsed(t, relay(c.run(t, func(conf string) string { return c.add(stock(conf), all) }), more))
		switch {
		case strings.Contains(again, "took 40 clients at once"):
			return
		case try == 2 || len(lines) == 0:
			t.Fatalf("with the lines that it told it still says:\n%s\nbefore:\n%s", again, says)
		}
		all = append(all, lines...)
	}
}

// The address that an ircd shows is not the one that it was sent.
func TestProbeTellsHowToBeBelieved(t *testing.T) {
	port := ngircd(t)
	says, lines := rehearsed(t, relay(port, ", identity: webirc, webirc_after: user, webirc_password_file: "+secret(t, "wrong")))
	if !strings.Contains(says, "it does not believe who a client is") || len(lines) < 2 || !strings.HasPrefix(lines[1], "\tWebircPassword = the word in /") {
		t.Errorf("it says\n%s", says)
	}
	port = hybrid(t)
	says, lines = rehearsed(t, relay(port, ", identity: webirc, webirc_password_file: "+secret(t, "wrong")))
	if !strings.Contains(says, "it does not know us as a gateway") || !strings.Contains(strings.Join(lines, "\n"), `auth { user = "*@127.0.0.1"; password = "the word in /`) {
		t.Errorf("it says\n%s", says)
	}
}
