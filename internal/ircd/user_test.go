package ircd

import (
	"io"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/ircclient"
)

func TestNick(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob, eve := user(t, addr, "alice"), user(t, addr, "bob"), user(t, addr, "eve")
	alice.Join("#c", "#d")
	bob.Join("#c", "#d")
	alice.Fence()
	mustContain(t, alice.Ask("NICK bob"), " 433 alice bob ")
	mustContain(t, alice.Ask("NICK a.b"), " 432 alice a.b ")
	mustContain(t, alice.Ask("NICK Al[ce]"), ":alice!~alice@127.0.0.1 NICK :Al[ce]")
	bob.Expect("NICK :Al[ce]")
	bob.Silent() // once, although in two channels
	eve.Silent()
	mustContain(t, eve.Ask("NICK aL{CE}"), " 433 ") // rfc1459: [] and {} are the same
	mustContain(t, alice.Ask("NICK aL[CE]"), "NICK :aL[CE]")
	eve.Ask("NICK alice")
	mustContain(t, bob.Ask("WHOIS alice"), " 311 bob alice ~eve ")
}

func TestQuit(t *testing.T) {
	s, addr := startServer(t, Config{})
	alice, bob, eve := user(t, addr, "alice"), user(t, addr, "bob"), user(t, addr, "eve")
	for _, c := range []*ircclient.Tester{alice, bob, eve} {
		c.Join("#c", "#d")
	}
	bob.Fence()
	alice.Send("QUIT :had enough")
	mustContain(t, ircclient.Texts(alice.Gone()), "ERROR :Closing link: (~alice@127.0.0.1) [Quit: had enough]")
	bob.Expect(":alice!~alice@127.0.0.1 QUIT :Quit: had enough")
	eve.CloseWrite()
	bob.Expect(":eve!~eve@127.0.0.1 QUIT :Connection closed")
	eve.Gone()
	reset := user(t, addr, "reset")
	reset.Join("#c")
	bob.Expect(":reset!~reset@127.0.0.1 JOIN")
	reset.Reset()
	bob.Expect(":reset!~reset@127.0.0.1 QUIT :Read error: ")
	bob.Silent()
	if s.Users() != 1 {
		t.Errorf("%d users", s.Users())
	}
}

// What a client says after QUIT makes no reset that could take the last lines away.
func TestQuitIsNoReset(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice := user(t, addr, "alice")
	alice.Write("QUIT :done\r\n" + strings.Repeat("PING x\r\n", 20_000))
	mustContain(t, ircclient.Texts(alice.Gone()), "ERROR :Closing link: ")
	if err := alice.Err(); err != io.EOF {
		t.Errorf("the connection ended with %v", err)
	}
}

// Lines that came before the end of a connection are run.
func TestLinesBeforeFINAreRun(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	alice.Write(strings.Repeat("PRIVMSG bob :x\r\n", 1000) + "QUIT :done\r\n")
	alice.CloseWrite()
	for range 1000 {
		bob.Expect("PRIVMSG bob :x")
	}
	alice.Gone()
}

func TestWhois(t *testing.T) {
	_, addr := startServer(t, Config{Oper: Oper{"root", "pw"}})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	alice.Join("#c", "#secret")
	alice.Ask("MODE #secret +s")
	mustContain(t, alice.Ask("WHOIS alice"), " 311 alice alice ~alice 127.0.0.1 * :alice the client",
		" 378 alice alice :is connecting from ~alice@127.0.0.1 127.0.0.1", " 319 alice alice :@#c @#secret",
		" 312 alice alice irc.test ", " 317 alice alice ", " 318 alice alice ")
	answer := bob.Ask("WHOIS irc.test ALICE")
	mustContain(t, answer, " 319 bob alice :@#c\n", " 317 ", " 318 bob ALICE ")
	mustNotContain(t, answer, "#secret", " 378 ")
	mustContain(t, bob.Ask("WHOIS nobody"), " 401 bob nobody ", " 318 bob nobody ")
	bob.Ask("OPER root pw")
	mustContain(t, bob.Ask("WHOIS alice"), " 378 ", "#secret")
	mustContain(t, alice.Ask("WHOIS bob"), " 313 alice bob ")
}

func TestWho(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice", "multi-prefix"), user(t, addr, "bob")
	alice.Join("#c")
	alice.Ask("MODE #c +v alice")
	mustContain(t, alice.Ask("WHO #c"), " 352 alice #c ~alice 127.0.0.1 irc.test alice H@+ :0 alice the client", " 315 alice #c ")
	mustContain(t, bob.Ask("WHO alice"), " 352 bob #c ~alice 127.0.0.1 irc.test alice H@ :0 ", " 315 bob alice ")
	answer := bob.Ask("WHO a*")
	mustContain(t, answer, " alice H@ ", " 315 bob a* ")
	mustNotContain(t, answer, " bob H")
	alice.Ask("MODE alice +i")
	mustNotContain(t, bob.Ask("WHO a*"), " 352 ")
	mustNotContain(t, bob.Ask("WHO #c"), " 352 ")
	mustNotContain(t, bob.Ask("WHO alice o"), " 352 ")
}

func TestUserhostAndIson(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice := user(t, addr, "alice")
	user(t, addr, "bob").Ask("AWAY :x")
	mustContain(t, alice.Ask("USERHOST alice bob nobody"), " 302 alice :alice=+~alice@127.0.0.1 bob=-~bob@127.0.0.1")
	mustContain(t, alice.Ask("ISON nobody :ALICE bob"), " 303 alice :alice bob")
}

func TestOperAndKill(t *testing.T) {
	_, addr := startServer(t, Config{Oper: Oper{"root", "pw"}})
	op, bob := user(t, addr, "op"), user(t, addr, "bob")
	bob.Join("#c")
	op.Join("#c")
	bob.Fence()
	mustContain(t, op.Ask("KILL bob :x"), " 481 ")
	mustContain(t, op.Ask("OPER nobody pw"), " 491 ")
	mustContain(t, op.Ask("OPER root wrong"), " 464 ")
	mustContain(t, op.Ask("OPER root pw"), "MODE op +o", " 381 ")
	mustContain(t, op.Ask("MODE op +s ck"), " 008 op +ck ", "MODE op +s")
	mustContain(t, op.Ask("MODE op"), " 221 op +os", " 008 op +ck ")
	eve := user(t, addr, "eve")
	op.Expect("NOTICE * :*** Client connecting: eve (~eve@127.0.0.1) [127.0.0.1]")
	eve.Send("QUIT")
	eve.Gone()
	op.Silent() // q was not asked for
	mustContain(t, op.Ask("KILL nobody :x"), " 401 ")
	mustContain(t, op.Ask("KILL bob :flooding"), "*** op killed bob: flooding", ":bob!~bob@127.0.0.1 QUIT :Killed (op (flooding))")
	mustContain(t, ircclient.Texts(bob.Gone()), ":op!~op@127.0.0.1 KILL bob :flooding",
		"ERROR :Closing link: (~bob@127.0.0.1) [Killed (op (flooding))]")
	user(t, addr, "wall").Ask("MODE wall +w")
	mustContain(t, op.Ask("MODE op +w"), "+w")
	mustContain(t, op.Ask("WALLOPS :hear ye"), "WALLOPS :hear ye")
	mustContain(t, op.Ask("MODE op -o"), "MODE op -os")
	mustContain(t, op.Ask("KILL wall"), " 481 ")
}

func TestMonitor(t *testing.T) {
	_, addr := startServer(t, Config{Limits: Limits{Monitor: 3}})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	mustContain(t, alice.Ask("MONITOR + bob,Eve"), " 730 alice :bob!~bob@127.0.0.1", " 731 alice :Eve")
	mustContain(t, alice.Ask("MONITOR L"), " 732 alice :Eve,bob", " 733 ")
	mustContain(t, alice.Ask("MONITOR S"), " 730 alice :bob!", " 731 alice :Eve")
	eve := user(t, addr, "eve")
	alice.Expect(" 730 alice :eve!~eve@127.0.0.1")
	eve.Ask("NICK adam")
	alice.Expect(" 731 alice :eve")
	bob.Send("QUIT")
	alice.Expect(" 731 alice :bob")
	mustContain(t, alice.Ask("MONITOR + x,y"), " 734 alice 3 y ", " 731 alice :x")
	alice.Ask("MONITOR - EVE")
	mustContain(t, alice.Ask("MONITOR l"), " 732 alice :bob,x\n")
	alice.Ask("MONITOR C")
	mustNotContain(t, alice.Ask("MONITOR L"), " 732 ")
	user(t, addr, "bob")
	alice.Silent()
}
