//go:build e2e

package e2e

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestKeeperUnderSystemd: the daemon's unit and the keeper's, as they are shipped, under a real systemd with clients on. Whatever restarts the daemon is unseen,
// and a stop is a stop.
func TestKeeperUnderSystemd(t *testing.T) {
	m := newMachine(t)
	port, ircd := freePort(t), freePort(t)
	m.put("usr/bin/ircferry", readFile(binary("ircferry")))
	m.put("usr/bin/ferryctl", readFile(binary("ferryctl")))
	for _, unit := range []string{"ircferry", "ircferry-keeper"} {
		m.put("usr/lib/systemd/system/"+unit+".service", readFile("../configs/"+unit+".service"))
	}
	m.put("etc/ircferry/ircferry.yaml", fmt.Sprintf(`listeners: [{name: irc, address: "127.0.0.1:%d", pool: main}]
pools: {main: {backends: [{name: a, address: "127.0.0.1:%d"}]}}
http: {address: ""}
`, port, ircd))
	start(t, nil, binary("ircferry"), "demo-ircd", "--name", "a", "--listen", fmt.Sprintf("127.0.0.1:%d", ircd))
	m.start()
	m.well("systemctl start ircferry")
	m.well("systemctl is-active ircferry ircferry-keeper")
	eventually(t, 10*time.Second, "the backend is up", func() bool { return strings.Contains(m.well("ferryctl show backends"), " up ") })
	ann, bob := login(t, port, "127.0.9.1", "ann"), login(t, port, "127.0.9.2", "bob")
	for _, c := range []*irc{ann, bob} {
		c.send("JOIN #sea")
		c.expect(" 366 ")
	}
	ann.expect(":bob!")
	before, said := []int{ann.count(), bob.count()}, 0
	talk := func() {
		t.Helper()
		for range 5 {
			said++
			ann.send(fmt.Sprintf("PRIVMSG #sea :%d", said))
		}
	}
	pid := func(unit string) string { t.Helper(); return m.well("systemctl show -P MainPID " + unit) }
	// Two a session, and the listener's of each loop.
	everything := fmt.Sprintf("holds %d descriptors", 2*2+runtime.NumCPU())
	kept := func() bool {
		out, code := m.run("ferryctl status")
		return code == 0 && strings.Contains(out, everything)
	}
	eventually(t, slack, "the keeper has everything", kept)
	for _, c := range []struct {
		command, another string // which unit's process is another one afterwards
	}{
		{"systemctl restart ircferry", "ircferry"},
		{"systemctl daemon-reload; systemctl reload ircferry", ""},
		{"systemctl restart ircferry-keeper", "ircferry-keeper"},
		{"systemctl restart ircferry", "ircferry"},
		{"systemctl kill -s KILL ircferry-keeper", "ircferry-keeper"},
		{"ferryctl upgrade", "ircferry"},
		{"systemctl restart ircferry; systemctl restart ircferry", "ircferry"},
		{"systemctl kill -s KILL ircferry", "ircferry"},
		{"systemctl kill -s ABRT ircferry", "ircferry"}, // as the watchdog does
	} {
		was := map[string]string{"ircferry": pid("ircferry"), "ircferry-keeper": pid("ircferry-keeper")}
		talk()
		m.well(c.command)
		talk()
		eventually(t, slack, "daemon and keeper are up behind "+c.command, kept)
		bob.expect(fmt.Sprintf("PRIVMSG #sea :%d", said))
		for unit, before := range was {
			if now := pid(unit); (now != before) != (unit == c.another) {
				t.Errorf("%s: process of %s is %s, was %s", c.command, unit, now, before)
			}
		}
	}
	m.says("systemctl --failed --plain --no-legend", "")
	got := bob.since(before[1])
	for i, line := range got {
		if !strings.HasPrefix(line, ":ann!") || !strings.HasSuffix(line, fmt.Sprintf(" PRIVMSG #sea :%d", i+1)) {
			t.Errorf("bob's line %d is %q", i+1, line)
		}
	}
	if len(got) != said {
		t.Errorf("bob saw %d lines of %d", len(got), said)
	}
	if got := ann.since(before[0]); len(got) > 0 {
		t.Errorf("ann saw %q", got)
	}
	keeper := pid("ircferry-keeper")
	m.well("systemctl stop ircferry")
	for _, c := range []*irc{ann, bob} {
		c.closed(time.Minute)
		c.sees("ERROR ")
	}
	if pid("ircferry-keeper") != keeper {
		t.Error("the keeper has ended with the daemon")
	}
	m.well("systemctl start ircferry")
	carl := login(t, port, "127.0.9.3", "carl")
	m.well("systemctl mask --now ircferry-keeper") // who wants none: a restart is a stop then
	eventually(t, slack, "it is told", func() bool { return strings.Contains(m.well("ferryctl status"), "there is no keeper") })
	m.well("systemctl restart ircferry")
	carl.closed(time.Minute)
	carl.sees("ERROR ")
	m.says("systemctl --failed --plain --no-legend", "")
}
