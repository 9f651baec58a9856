package backend

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// stern is an ircd that lets so many clients be at a time, and each on so many channels.
type stern struct {
	mu       sync.Mutex
	clients  int // at most
	channels int // likewise of one client
	now      int
	most     int
	quits    int
	from     map[string]bool // addresses that were claimed
	believes bool
	banned   bool // everybody
	kills    bool // whoever says much
	ends     bool // likewise, without a word
	stranger bool // it does not know us as a gateway
}

func (d *stern) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.banned || d.now == d.clients {
		return false
	}
	d.now++
	d.most = max(d.most, d.now)
	return true
}

func (d *stern) serve(c net.Conn) {
	ip, nick, on := "127.0.0.1", "*", 0
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	for in := bufio.NewScanner(c); in.Scan(); {
		words := strings.Fields(in.Text())
		switch words[0] {
		case "WEBIRC":
			if d.stranger {
				say("ERROR :Closing link: (ferry@127.0.0.1) [WEBIRC: bad password]")
				return
			}
			d.mu.Lock()
			if d.from == nil {
				d.from = map[string]bool{}
			}
			d.from[words[4]] = true
			d.mu.Unlock()
			if d.believes {
				ip = words[4]
			}
		case "CAP":
			if words[1] == "LS" {
				say(":irc.test CAP * LS :multi-prefix")
			}
		case "NICK":
			nick = words[1]
		case "USER":
			if !d.enter() {
				say("ERROR :Closing link: (ferry@127.0.0.1) [No more connections allowed from your host]")
				return
			}
			defer func() { d.mu.Lock(); d.now--; d.mu.Unlock() }()
			say(":irc.test 001 %s :Welcome %s!ferry@%s", nick, nick, ip)
			say(":irc.test 004 %s irc.test InspIRCd-3 iosw biklmnopstv :bklov", nick)
		case "WHOIS":
			say(":irc.test 378 %s %s :is connecting from *@%s %s", nick, nick, ip, ip)
			say(":irc.test 318 %s %s :End of /WHOIS list.", nick, nick)
		case "JOIN":
			if d.ends {
				return
			}
			if d.kills {
				say("ERROR :Closing link: (ferry@127.0.0.1) [RecvQ exceeded]")
				return
			}
			if on++; on > d.channels {
				say(":irc.test 405 %s %s :You are on too many channels", nick, words[1])
			}
		case "PING":
			say(":irc.test PONG irc.test :%s", words[1])
		case "QUIT":
			d.mu.Lock()
			d.quits++
			d.mu.Unlock()
			say("ERROR :Closing link: (ferry@127.0.0.1) [Quit]")
			return
		}
	}
}

// What the return of many users would meet is told, with how far it went, and everybody who came leaves again.
func TestRehearsal(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(secret, []byte("secretword"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := 0
	for _, n := range crowd {
		all += n
	}
	for name, c := range map[string]struct {
		ircd     *stern
		identity config.Identity
		most     int // who were there at a time
		says     []string
		severity config.Severity
	}{
		"it takes all":               {&stern{clients: 1000, channels: 100}, config.IdentityNone, all + 1, []string{fmt.Sprintf("took %d clients at once, and answered %d lines of one", all+1, burstLines)}, config.SeverityOK},
		"it takes ten":               {&stern{clients: 10, channels: 100}, config.IdentityNone, 10, []string{"with 10 clients there, of 8 more who came at once one was refused: ", "No more connections allowed"}, config.SeverityWarning},
		"it takes nobody":            {&stern{banned: true}, config.IdentityNone, 0, []string{"it does not take the first client: ", "No more connections allowed"}, config.SeverityWarning},
		"few channels":               {&stern{clients: 1000, channels: burstChannels - 1}, config.IdentityNone, all + 1, []string{fmt.Sprintf("a client could not be on %d channels: 405 You are on too many channels", burstChannels)}, config.SeverityWarning},
		"it throws out who is quick": {&stern{clients: 1000, kills: true}, config.IdentityNone, all + 1, []string{fmt.Sprintf("a client that said %d lines at once was thrown out: ", burstLines), "RecvQ exceeded"}, config.SeverityWarning},
		"it ends who is quick":       {&stern{clients: 1000, ends: true}, config.IdentityNone, all + 1, []string{fmt.Sprintf("a client that said %d lines at once was thrown out: ", burstLines)}, config.SeverityWarning},
		"it does not know us":        {&stern{clients: 1000, channels: 100, stranger: true}, config.IdentityWebIRC, 0, []string{"it does not know us as a gateway: ", "WEBIRC: bad password"}, config.SeverityWarning},
		"it believes":                {&stern{clients: 1000, channels: 100, believes: true}, config.IdentityWebIRC, all + 1, []string{"clients at once"}, config.SeverityOK},
		"it does not believe":        {&stern{clients: 1000, channels: 100}, config.IdentityWebIRC, all + 1, []string{"it does not believe who a client is: "}, config.SeverityWarning},
	} {
		t.Run(name, func(t *testing.T) {
			d := c.ircd
			b := config.Backend{Name: "a", Weight: 1, Address: listen(t, "tcp", "127.0.0.1:0", d.serve).String(), Identity: c.identity}
			if c.identity == config.IdentityWebIRC {
				b.WebIRCPasswordFile = secret
			}
			found := Rehearse(t.Context(), config.Config{Pools: one(config.Pool{Backends: []config.Backend{b, {Name: "n", Handoff: "unix:/nowhere"}}})})
			if len(found) == 0 || len(found) > 1 && name != "it does not believe" || found[0].Severity != c.severity || found[0].Key != "pools.main.backends[0]" {
				t.Fatalf("%v", found)
			}
			for _, want := range c.says {
				if text := found[0].Text; !strings.Contains(text, want) || !strings.HasPrefix(text, "rehearsal at "+b.Address+": ") || strings.Contains(text, "secretword") {
					t.Errorf("it says %s\nwant %s", text, want)
				}
			}
			eventually(t, "nobody is left", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.now == 0 })
			if n := len(d.from); c.identity == config.IdentityWebIRC && !d.stranger && n != d.most {
				t.Errorf("%d clients from %d addresses", d.most, n)
			}
			if d.most != c.most {
				t.Errorf("%d clients at a time, want %d", d.most, c.most)
			}
			if !d.kills && !d.banned && !d.ends && d.quits != d.most {
				t.Errorf("%d of %d have said QUIT", d.quits, d.most)
			}
		})
	}
	if found := Rehearse(t.Context(), config.Config{Pools: one(config.Pool{Backends: []config.Backend{{Name: "a", Address: "127.0.0.1:1"}}})}); len(found) != 0 {
		t.Errorf("where nobody is: %v", found)
	}
}
