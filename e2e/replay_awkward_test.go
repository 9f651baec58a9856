//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// Issue 14, shown 3: while the users of a stock ircd are held, one leaves, one is in the midst of his registration, and one's nick is taken on the ircd that has come
// back. Each is one's own trouble: the others see a QUIT of who has left, as of anybody, and nothing else.
func TestReplayAwkwardMoments(t *testing.T) {
	for _, c := range stockIRCds[:2] { // ircd-hybrid's look-ups of names only make it longer
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			awkwardMoments(t, c.make(t))
		})
	}
}

func awkwardMoments(t *testing.T, ircd *stockIRCd) {
	ircd.run()
	f := startFerry(t, nil, "", ircd.backend())
	users := make(map[string]*irc)
	for i, nick := range []string{"ann", "ben", "cat", "dan"} {
		users[nick] = login(t, f.port, fmt.Sprintf("127.0.9.%d", i+1), nick)
		users[nick].send("JOIN #room")
		users[nick].expect(" 366 ")
	}
	half := dial(t, f.port, "127.0.9.9", "")
	half.nick = "eve"
	half.send("NICK eve")
	for _, c := range users {
		c.fence()
	}
	before := users["ann"].count()
	if out, code := f.ctl("hold", "main/a"); code != 0 {
		t.Fatalf("hold: exit %d\n%s", code, out)
	}
	_ = users["dan"].conn.Close()
	ircd.proc.signal(syscall.SIGTERM)
	<-ircd.proc.done
	ircd.run()
	thief := ircd.direct(t, "ben")
	users["cat"].send("PRIVMSG #room :held")
	if out, code := f.ctl("release", "main/a"); code != 0 && code != 4 {
		t.Fatalf("release: exit %d\n%s", code, out)
	}
	users["ben"].expect("ERROR :Closing link: (ircferry) your place on the new server is taken")
	users["ann"].expect("PRIVMSG #room :held")
	users["ann"].fence()
	for _, line := range users["ann"].since(before) {
		if !strings.Contains(line, "fence-") && !strings.Contains(line, "PRIVMSG #room :held") && !strings.HasPrefix(line, ":dan!") {
			t.Errorf("ann sees %q", line)
		}
	}
	half.send("USER eve 0 * :eve")
	half.expect(" 001 eve")
	half.fence()
	thief.fence()
	users["ann"].sees(" QUIT ")
}

// What streams have told goes along in an upgrade of ircferry: behind it users are made again as before it, also such as have come in between.
func TestReplayBehindAnUpgrade(t *testing.T) {
	t.Parallel()
	ircd := stockIRCds[0].make(t)
	ircd.run()
	f := startFerry(t, nil, "", ircd.backend())
	ann, ben := login(t, f.port, "127.0.9.1", "ann"), login(t, f.port, "127.0.9.2", "ben")
	for _, c := range []*irc{ann, ben} {
		c.send("JOIN #room")
		c.expect(" 366 ")
	}
	ann.send("MODE #room +v ben")
	ben.send("AWAY :gone")
	ben.expect(" 306 ")
	ann.fence()
	before := ann.count()
	for n := range 2 {
		if out, code := f.ctl("upgrade"); code != 0 {
			t.Fatalf("upgrade: exit %d\n%s", code, out)
		}
		login(t, f.port, "127.0.9.3", fmt.Sprintf("cat%d", n)).fence()
		ircd.restart(f)
		ben.send("PRIVMSG #room :here")
		ann.expect("PRIVMSG #room :here")
	}
	ann.send("NAMES #room")
	if names := ann.expect(" 353 "); !strings.Contains(names, "@ann") || !strings.Contains(names, "+ben") {
		t.Errorf("afterwards %q", names)
	}
	ann.send("WHOIS ben")
	ann.expect(" 301 ann ben :gone")
	for _, line := range ann.since(before) {
		if strings.Contains(line, " JOIN ") || strings.Contains(line, " QUIT ") || strings.Contains(line, " MODE ") {
			t.Errorf("ann sees %q", line)
		}
	}
}

// direct is a client that comes past ircferry.
func (i *stockIRCd) direct(t *testing.T, nick string) *irc {
	t.Helper()
	header := ""
	if strings.Contains(i.more, "proxy-v2") {
		header = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x63\x7f\x00\x00\x01\x9c\x40\x1a\x0b" // 192.0.2.99
	}
	c := dial(t, i.port, "127.0.0.1", header)
	c.register(nick)
	return c
}
