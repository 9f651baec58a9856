//go:build e2e

package e2e

import (
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"
)

// ergoLines is how a small network's worth of Ergo's state comes to be: operators, accounts, registered channels, lists, invitations.
var ergoLines = []said{
	{"alice", "OPER root rootpw"}, {"helen", "OPER helper helperpw"},
	{"alice", "MODE alice +s cdknoqtuvx"}, {"alice", "MODE alice -i"},
	{"bob", "NS REGISTER bobpassword"}, {"eve", "NS REGISTER evepassword"},
	{"alice", "HS SET bob bob.vhost.example"},
	{"bob", "MODE bob +BT"}, {"bob", "AWAY :gone to the sea, back \xe9ventually"}, {"bob", "MONITOR + alice,carol,nobody"},
	{"bob", "METADATA * SET avatar :https://example.org/b.png"}, {"bob", "METADATA * SUB avatar"},
	{"bob", "MARKREAD alice timestamp=2026-01-02T03:04:05.006Z"},
	{"carol", "MODE carol +R"}, {"carol", "ACCEPT alice,dave"},
	{"bob", "JOIN #sea"}, {"alice", "JOIN #sea"}, {"carol", "JOIN #sea"}, {"helen", "JOIN #sea"}, {"eve", "JOIN #sea"},
	{"bob", "CS REGISTER #sea"}, {"bob", "CS AMODE #sea +o eve"}, {"bob", "MODE #sea +ahv alice carol helen"}, {"bob", "MODE #sea +sCk hush"},
	{"bob", "JOIN #over"}, {"bob", "MODE #sea +l 55"}, {"bob", "MODE #sea +f #over"},
	{"bob", "MODE #sea +b *!*@one.example"}, {"alice", "MODE #sea +b m:*!*@two.example"}, {"bob", "MODE #sea +e *!*@three.example"},
	{"bob", "MODE #sea +I *!*@four.example"}, {"bob", "TOPIC #sea :to the s\xe9a, \\ with a backslash"},
	{"bob", "METADATA #sea SET display-name :The Sea"},
	{"eve", "JOIN #inv"}, {"eve", "MODE #inv +iuUMm"}, {"eve", "MODE #inv +b *!*@five.example"}, {"eve", "INVITE dave #inv"}, {"eve", "TOPIC #inv :unregistered"},
	{"dave", "JOIN #second"}, {"dave", "JOIN #third"}, {"dave", "SETNAME :Dave the Second"},
	{"bob", "PRIVMSG #sea :one to remember"}, {"eve", "PRIVMSG #inv :another"}, {"dave", "PRIVMSG alice :a word"}, {"alice", "PRIVMSG dave :its answer"},
}

// ergoProbes are asked before and after a move.
var ergoProbes = []said{
	{"alice", "MODE #sea"}, {"alice", "MODE #sea b"}, {"alice", "MODE #sea e"}, {"alice", "MODE #sea I"}, {"eve", "MODE #inv"}, {"eve", "MODE #inv b"},
	{"carol", "TOPIC #sea"}, {"carol", "NAMES #sea"}, {"bob", "NAMES #sea"}, {"eve", "NAMES #inv"}, {"alice", "WHO #sea"}, {"alice", "WHO #sea %tcuihsnfdlaor,42"},
	{"alice", "MODE alice"}, {"bob", "MODE bob"}, {"carol", "MODE carol"}, {"helen", "MODE helen"}, {"dave", "MODE dave"},
	{"alice", "WHOIS alice alice"}, {"alice", "WHOIS bob bob"}, {"carol", "WHOIS bob bob"}, {"bob", "WHOIS bob bob"}, {"bob", "WHOIS alice alice"},
	{"alice", "WHOIS carol carol"}, {"alice", "WHOIS dave dave"}, {"dave", "WHOIS dave dave"}, {"alice", "WHOIS helen helen"}, {"carol", "WHOIS helen helen"},
	{"bob", "MONITOR L"}, {"bob", "MONITOR S"},
	{"alice", "CAP LIST"}, {"bob", "CAP LIST"}, {"carol", "CAP LIST"}, {"dave", "CAP LIST"},
	{"alice", "USERHOST alice bob carol dave helen"}, {"alice", "ISON alice bob carol dave helen nobody"}, {"alice", "LUSERS"},
	{"alice", "WHOWAS alice"}, {"alice", "LIST"},
	{"bob", "METADATA * LIST"}, {"bob", "METADATA #sea LIST"}, {"bob", "METADATA * SUBS"}, {"bob", "MARKREAD alice"},
	{"bob", "CHATHISTORY LATEST #sea * 50"}, {"alice", "CHATHISTORY LATEST #sea * 50"}, {"alice", "CHATHISTORY LATEST dave * 50"},
	{"alice", "NS INFO bob"}, {"alice", "NS CLIENTS LIST bob"}, {"alice", "NS CLIENTS LIST carol"}, {"alice", "CS INFO #sea"}, {"bob", "CS AMODE #sea"},
	{"bob", "CS GET #sea history"}, {"bob", "NS GET always-on"}, {"alice", "UBAN INFO bob"},
	// Who may do what: operators keep it, nobody gains it.
	{"carol", "SAMODE #sea +o carol"}, {"bob", "KILL dave :no"}, {"dave", "MODE dave +os c"}, {"carol", "MODE #inv +o carol"}, {"helen", "KILL nobody :x"},
	{"helen", "SAMODE #sea +o carol"}, {"carol", "MODE #sea +q carol"}, {"dave", "CS DEOP #sea bob"}, {"dave", "REHASH"}, {"alice", "SAMODE #none +m"},
	{"eve", "CS OP #sea"}, {"dave", "PRIVMSG carol :may I"}, {"helen", "PRIVMSG carol :may I too"}, {"carol", "MODE carol"},
}

var (
	batchNames  = regexp.MustCompile(`BATCH ([+-])\S+`)
	connections = regexp.MustCompile(`(Connection|Debug log ID): .*`)
)

// probeErgo answers the lines that all probes brought. What passes by itself is taken out, and Ergo's maps have no order.
func (c *cast) probeErgo() map[string]string {
	c.t.Helper()
	got := map[string]string{}
	c.fence()
	for _, p := range ergoProbes {
		lines := c.ask(p.nick, p.send)
		for i, line := range lines {
			line = steady(line)
			if before, after, ok := strings.Cut(line, " 319 "); ok {
				head, list, _ := strings.Cut(after, " :")
				words := strings.Fields(list)
				sort.Strings(words)
				line = before + " 319 " + head + " :" + strings.Join(words, " ")
			}
			if strings.HasSuffix(p.send, ",42") { // idle seconds
				if words := strings.Fields(line); len(words) > 12 {
					words[12] = "N"
					line = strings.Join(words, " ")
				}
			}
			words := strings.Fields(line)
			for k, word := range words {
				if list := strings.Split(word, ","); strings.HasPrefix(p.send, "MONITOR") && len(list) > 1 {
					sort.Strings(list)
					words[k] = strings.Join(list, ",")
					line = strings.Join(words, " ")
				}
			}
			line = batchNames.ReplaceAllString(line, "BATCH ${1}N")
			lines[i] = connections.ReplaceAllString(line, "$1: N") // the connection is another one, and only operators see that
		}
		switch command := strings.Fields(p.send)[0]; {
		case command == "MODE" && len(strings.Fields(p.send)) == 3, strings.Contains("WHO MONITOR ACCEPT LIST METADATA", command):
			sort.Strings(lines)
		}
		got[p.nick+"> "+p.send] = strings.Join(lines, "\n")
	}
	return got
}

// TestErgoKeepsState compares all that users can ask for before and after restarts in place, by SIGTERM and by SIGKILL, and a replace.
func TestErgoKeepsState(t *testing.T) {
	a, b := startErgo(t, "a"), newErgo(t, "b")
	f := startFerry(t, nil, "", a.backend(), b.backend())
	all := []string{"multi-prefix", "away-notify", "account-notify", "server-time", "batch", "labeled-response", "message-tags", "draft/chathistory", "draft/event-playback"}
	c := enter(t, f.port, map[string][]string{
		"alice": all,
		"bob": {"multi-prefix", "echo-message", "cap-notify", "userhost-in-names", "invite-notify", "batch", "draft/metadata-2", "draft/read-marker", "draft/chathistory",
			"server-time", "message-tags"},
		"carol": nil,
		"dave":  {"chghost", "extended-join", "setname"},
		"eve":   {"echo-message"},
		"helen": nil,
	}, ergoLines)
	before := c.probeErgo()
	for _, p := range ergoProbes {
		t.Logf("%s> %s\n%s", p.nick, p.send, before[p.nick+"> "+p.send])
	}
	t.Run("restart", func(t *testing.T) {
		a.restart(f, "TERM")
		same(t, ergoProbes, before, c.probeErgo())
	})
	t.Run("restart after a kill", func(t *testing.T) {
		a.restart(f, "KILL")
		same(t, ergoProbes, before, c.probeErgo())
	})
	t.Run("replace", func(t *testing.T) {
		b.likeDatabase(a)
		b.run()
		eventually(t, 20*time.Second, "b is up", func() bool {
			_, code := f.ctl("drain", "main/a", "--to", "b", "--dry-run")
			return code == 0
		})
		f.move("drain", "main/a", "--to", "b")
		f.ctl("undrain", "main/a")
		same(t, ergoProbes, before, c.probeErgo())
	})
	t.Run("alive", c.aliveErgo)
}

// aliveErgo uses what the moves have kept.
func (c *cast) aliveErgo(t *testing.T) {
	for _, s := range []struct{ nick, send, want string }{
		{"dave", "JOIN #inv", " 366 dave #inv "},
		{"alice", "SAMODE #sea +m", "MODE #sea +m"},
		{"bob", "MODE #sea -b *!*@one.example", "MODE #sea -b *!*@one.example"},
		{"bob", "TOPIC #sea :another", "TOPIC #sea another"},
		{"bob", "MONITOR - alice", ""},
		{"bob", "AWAY", " 305 bob "},
		{"carol", "PART #sea", "PART #sea"},
		{"helen", "NICK helena", "NICK helena"},
		{"eve", "PRIVMSG #sea :as an operator", "PRIVMSG #sea :as an operator"},
		{"bob", "CS DROP #sea", ""},
	} {
		if got := strings.Join(c.ask(s.nick, s.send), "\n"); !strings.Contains(got, s.want) {
			t.Errorf("%s> %s brought\n%s\nwant %q", s.nick, s.send, got, s.want)
		}
	}
}
