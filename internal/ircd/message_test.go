package ircd

import (
	"regexp"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/ircclient"
)

func TestPrivmsgAndNotice(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	alice.Send("PRIVMSG Bob :hi there")
	bob.Expect(":alice!~alice@127.0.0.1 PRIVMSG bob :hi there")
	alice.Send("NOTICE bob one")
	bob.Expect(":alice!~alice@127.0.0.1 NOTICE bob :one")
	alice.Send("PRIVMSG bob,bob :twice")
	bob.Expect("twice", "twice")
	mustContain(t, alice.Ask("PRIVMSG"), " 411 ")
	mustContain(t, alice.Ask("PRIVMSG bob"), " 412 ")
	mustContain(t, alice.Ask("PRIVMSG nobody :x"), " 401 ")
	mustContain(t, alice.Ask("PRIVMSG #none :x"), " 403 ")
	alice.Send("NOTICE nobody :x")
	alice.Send("NOTICE #none :x")
	alice.Send("NOTICE bob")
	alice.Silent()
	alice.Join("#c")
	bob.Join("#c")
	alice.Fence()
	alice.Send("PRIVMSG @#c :ops only")
	bob.Send("PRIVMSG @#c :to ops")
	alice.Expect("PRIVMSG @#c :to ops")
	bob.Silent()
}

func TestLongMessageIsCut(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	alice.Send("PRIVMSG bob :" + strings.Repeat("x", 600))
	if l := bob.Expect("PRIVMSG bob :xxx"); len(l.Text) != 510 {
		t.Errorf("line of %d bytes, want 510", len(l.Text))
	}
}

func TestBareLF(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	alice.Write("PRIVMSG bob :one\nPRIVMSG bob :two\r\n\n\r\nPRIVMSG bob :three\n")
	bob.Expect(":one", ":two", ":three")
	alice.Silent()
}

func TestLinesInPieces(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	for _, b := range "PRIVMSG bob :piece by piece\r\n" {
		alice.Write(string(b))
	}
	bob.Expect("PRIVMSG bob :piece by piece")
}

func TestMessageTags(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice := user(t, addr, "alice", "message-tags")
	bob, plain := user(t, addr, "bob", "message-tags"), user(t, addr, "plain")
	for _, c := range []*ircclient.Tester{alice, bob, plain} {
		c.Join("#c")
	}
	plain.Fence()
	bob.Fence()
	alice.Fence()
	alice.Send(`@+a=b\sc;notours=x;+d PRIVMSG #c :tagged`)
	if l := bob.Expect("tagged"); l.Text != `@+a=b\sc;+d :alice!~alice@127.0.0.1 PRIVMSG #c :tagged` {
		t.Errorf("got %q", l.Text)
	}
	if l := plain.Expect("tagged"); l.Tags() != "" {
		t.Errorf("got %q", l.Text)
	}
	alice.Send("@+typing=active TAGMSG #c")
	if l := bob.Expect("TAGMSG #c"); l.Tags() != "+typing=active" {
		t.Errorf("got %q", l.Text)
	}
	plain.Silent()
	mustContain(t, plain.Ask("TAGMSG #c"), " 421 ")
	plain.Send("@+a=b PRIVMSG #c :from plain")
	if l := bob.Expect("from plain"); l.Tags() != "" {
		t.Errorf("tags of a client without the capability: %q", l.Text)
	}
}

// A line may have 8191 bytes of tags and 512 of body.
func Test8KiBTaggedLine(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice", "message-tags"), user(t, addr, "bob", "message-tags")
	tags := "+x=" + strings.Repeat("y", 8191-len("@+x= "))
	body := "PRIVMSG bob :" + strings.Repeat("z", 400)
	alice.Send("@" + tags + " " + body)
	if l := bob.Expect("PRIVMSG bob :z"); l.Tags() != tags || !strings.HasSuffix(l.Text, strings.Repeat("z", 400)) {
		t.Errorf("line of %d bytes, want its %d bytes of tags", len(l.Text), len(tags))
	}
	mustContain(t, alice.Ask("@"+tags+"y "+body), " 417 alice ")
	alice.Write(strings.Repeat("a", 100_000)) // no end in sight: dropped up to it
	answer := alice.Ask("tail of it")
	mustContain(t, answer, " 417 ")
	mustNotContain(t, answer, " 421 ")
	mustContain(t, alice.Ask("VERSION"), " 351 ")
	bob.Silent()
}

func TestEchoMessage(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice", "echo-message", "message-tags"), user(t, addr, "bob")
	alice.Send("@+a=b PRIVMSG bob :hi")
	if l := alice.Expect(":alice!~alice@127.0.0.1 PRIVMSG bob :hi"); l.Tags() != "+a=b" {
		t.Errorf("got %q", l.Text)
	}
	bob.Expect("PRIVMSG bob :hi")
	alice.Join("#c")
	alice.Send("NOTICE #c :to all")
	alice.Expect("NOTICE #c :to all")
	bob.Send("PRIVMSG bob :to myself")
	bob.Expect("to myself")
	bob.Silent()
}

func TestServerTime(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice", "server-time"), user(t, addr, "bob", "server-time", "message-tags")
	when := regexp.MustCompile(`^time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	bob.Send("@+a=b PRIVMSG alice :hi")
	if l := alice.Expect("PRIVMSG alice :hi"); !when.MatchString(l.Tags()) {
		t.Errorf("got %q", l.Text)
	}
	alice.Send("PING x")
	if l := alice.Expect("PONG"); !when.MatchString(l.Tags()) {
		t.Errorf("got %q", l.Text)
	}
}

func TestAway(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice := user(t, addr, "alice")
	bob, plain := user(t, addr, "bob", "away-notify"), user(t, addr, "plain")
	for _, c := range []*ircclient.Tester{alice, bob, plain} {
		c.Join("#c")
	}
	bob.Fence()
	plain.Fence()
	alice.Fence()
	mustContain(t, alice.Ask("AWAY :gone fishing"), " 306 ")
	bob.Expect(":alice!~alice@127.0.0.1 AWAY :gone fishing")
	mustContain(t, bob.Ask("PRIVMSG alice :hi"), " 301 bob alice :gone fishing")
	mustContain(t, bob.Ask("WHOIS alice"), " 301 bob alice :gone fishing")
	mustContain(t, bob.Ask("WHO alice"), " G@ :0 ")
	bob.Send("NOTICE alice :hi")
	bob.Silent()
	alice.Join("#d")
	bob.Join("#d")
	mustContain(t, alice.Ask("AWAY"), " 305 ")
	bob.Await(":alice!~alice@127.0.0.1 AWAY")
	bob.Silent() // once, although in two channels
	plain.Silent()
}
