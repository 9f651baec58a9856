package ircd

import (
	"fmt"
	"regexp"
	"testing"
)

func TestJoinPart(t *testing.T) {
	s, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	alice.Send("JOIN #C")
	alice.Expect(":alice!~alice@127.0.0.1 JOIN :#C", " 353 alice = #C :@alice", " 366 alice #C ")
	bob.Send("JOIN #c") // the same by case mapping, under the founder's name
	bob.Expect(":bob!~bob@127.0.0.1 JOIN :#C", " 353 bob = #C :@alice bob", " 366 bob #C ")
	alice.Expect(":bob!~bob@127.0.0.1 JOIN :#C")
	bob.Send("JOIN #c")
	bob.Silent()
	bob.Send("PART #c :see you")
	bob.Expect(":bob!~bob@127.0.0.1 PART #C :see you")
	alice.Expect(":bob!~bob@127.0.0.1 PART #C :see you")
	mustContain(t, bob.Ask("PART #c"), " 442 bob #C ")
	mustContain(t, bob.Ask("PART #nowhere"), " 403 bob #nowhere ")
	mustContain(t, bob.Ask("JOIN nochannel"), " 479 bob nochannel ")
	alice.Send("JOIN #d,#e")
	alice.Fence()
	mustContain(t, alice.Ask("JOIN 0"), "PART #C", "PART #d", "PART #e")
	if n := s.Channels(); n != 0 {
		t.Errorf("%d channels are left", n)
	}
}

func TestJoinGuards(t *testing.T) {
	_, addr := startServer(t, Config{})
	op, bob := user(t, addr, "op"), user(t, addr, "bob")
	for _, tc := range []struct{ name, set, code, reset string }{
		{"banned", "+b *!*@127.0.0.1", "474", "-b *!*@127.0.0.1"},
		{"by ident", "+b *!~bob@*", "474", "-b *!~bob@*"},
		{"invite only", "+i", "473", "-i"},
		{"key", "+k secret", "475", "-k secret"},
		{"full", "+l 1", "471", "-l"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			op.Join("#g")
			op.Ask("MODE #g " + tc.set)
			mustContain(t, bob.Ask("JOIN #g"), " "+tc.code+" bob #g ")
			op.Ask("INVITE bob #g") // lets him in past all of them, once
			mustContain(t, bob.Ask("JOIN #g"), " 366 ")
			bob.Ask("PART #g")
			mustContain(t, bob.Ask("JOIN #g"), " "+tc.code+" bob #g ")
			op.Ask("MODE #g " + tc.reset)
			mustContain(t, bob.Ask("JOIN #g"), " 366 ")
			bob.Ask("PART #g")
			op.Ask("PART #g")
		})
	}
}

func TestJoinWithKeyExceptionAndInvex(t *testing.T) {
	_, addr := startServer(t, Config{})
	op, bob := user(t, addr, "op"), user(t, addr, "bob")
	op.Join("#k")
	op.Ask("MODE #k +k secret")
	mustContain(t, bob.Ask("JOIN #x,#k y,secret"), "JOIN :#x", "JOIN :#k")
	bob.Ask("JOIN 0")
	op.Ask("MODE #k -k+be *")
	op.Ask("MODE #k +b *!*@*")
	mustContain(t, bob.Ask("JOIN #k"), " 474 ")
	op.Ask("MODE #k +e bob")
	mustContain(t, bob.Ask("JOIN #k"), " 366 ")
	bob.Ask("PART #k")
	op.Ask("MODE #k -b+i *!*@*")
	mustContain(t, bob.Ask("JOIN #k"), " 473 ")
	op.Ask("MODE #k +I *!~bob@*")
	mustContain(t, bob.Ask("JOIN #k"), " 366 ")
}

func TestTooManyChannels(t *testing.T) {
	_, addr := startServer(t, Config{Limits: Limits{Channels: 2}})
	c := user(t, addr, "alice")
	c.Join("#1", "#2")
	mustContain(t, c.Ask("JOIN #3"), " 405 alice #3 ")
}

func TestTopic(t *testing.T) {
	_, addr := startServer(t, Config{})
	op, bob := user(t, addr, "op"), user(t, addr, "bob")
	op.Join("#c")
	mustContain(t, op.Ask("TOPIC #c"), " 331 op #c ")
	mustContain(t, op.Ask("TOPIC #c :hello : world"), ":op!~op@127.0.0.1 TOPIC #c :hello : world")
	answer := bob.Ask("JOIN #c")
	mustContain(t, answer, "JOIN", " 332 bob #c :hello : world", " 333 bob #c op ", " 353 ")
	mustContain(t, bob.Ask("TOPIC #c :mine"), " 482 bob #c ")
	op.Ask("MODE #c -t")
	mustContain(t, bob.Ask("TOPIC #c :mine"), "TOPIC #c :mine")
	mustContain(t, op.Ask("TOPIC #c"), " 332 op #c :mine", " 333 op #c bob ")
	mustContain(t, op.Ask("TOPIC #c :"), "TOPIC #c :")
	mustContain(t, op.Ask("TOPIC #c"), " 331 ")
	mustContain(t, op.Ask("TOPIC #none"), " 403 ")
}

func TestKick(t *testing.T) {
	_, addr := startServer(t, Config{})
	op, bob, eve := user(t, addr, "op"), user(t, addr, "bob"), user(t, addr, "eve")
	op.Join("#c")
	bob.Join("#c")
	op.Fence()
	mustContain(t, bob.Ask("KICK #c op"), " 482 ")
	mustContain(t, op.Ask("KICK #c nobody"), " 401 ")
	mustContain(t, op.Ask("KICK #c eve"), " 441 op eve #c ")
	mustContain(t, eve.Ask("KICK #c bob"), " 442 ")
	mustContain(t, op.Ask("KICK #c bob :out with you"), ":op!~op@127.0.0.1 KICK #c bob :out with you")
	bob.Expect("KICK #c bob :out with you")
	mustContain(t, op.Ask("NAMES #c"), " 353 op = #c :@op", " 366 ")
}

func TestInvite(t *testing.T) {
	_, addr := startServer(t, Config{})
	op, bob := user(t, addr, "op"), user(t, addr, "bob")
	op.Join("#c")
	mustContain(t, bob.Ask("INVITE op #c"), " 442 ")
	mustContain(t, op.Ask("INVITE nobody #c"), " 401 ")
	mustContain(t, op.Ask("INVITE op #c"), " 443 ")
	mustContain(t, op.Ask("INVITE bob #c"), " 341 op bob #c")
	bob.Expect(":op!~op@127.0.0.1 INVITE bob #c")
	mustContain(t, bob.Ask("INVITE"), " 336 bob #c", " 337 ")
	bob.Join("#c")
	mustContain(t, bob.Ask("INVITE"), " 337 ")
}

func TestNamesAndList(t *testing.T) {
	_, addr := startServer(t, Config{})
	op, bob := user(t, addr, "op", "multi-prefix"), user(t, addr, "bob")
	op.Join("#c", "#s")
	op.Ask("MODE #s +s")
	op.Ask("MODE #c +v op")
	mustContain(t, op.Ask("NAMES #c"), " 353 op = #c :@+op")
	mustContain(t, op.Ask("NAMES #s"), " 353 op @ #s :@op")
	mustContain(t, bob.Ask("NAMES #c"), " 353 bob = #c :@op", " 366 ")
	mustNotContain(t, bob.Ask("NAMES #s"), " 353 ")
	op.Ask("MODE op +i")
	mustNotContain(t, bob.Ask("NAMES #c"), " 353 ")
	op.Ask("TOPIC #c :about c")
	list := bob.Ask("LIST")
	mustContain(t, list, " 321 ", " 322 bob #c 1 :[+nt] about c", " 323 ")
	mustNotContain(t, list, "#s")
	mustContain(t, op.Ask("LIST #s"), " 322 op #s 1 :[+nst]")
}

func TestNamesOfManyAreSplit(t *testing.T) {
	_, addr := startServer(t, Config{})
	watcher := user(t, addr, "watcher")
	watcher.Join("#many")
	for i := range 40 {
		user(t, addr, fmt.Sprintf("averylongnickname%03d", i)).Join("#many")
	}
	watcher.Fence()
	found := map[string]bool{}
	watcher.Send("NAMES #many")
	for _, l := range watcher.Fence() {
		if len(l.Text) > 510 {
			t.Errorf("line of %d bytes", len(l.Text))
		}
		for _, nick := range regexp.MustCompile(`averylongnickname\d+`).FindAllString(l.Text, -1) {
			found[nick] = true
		}
	}
	if len(found) != 40 {
		t.Errorf("%d of 40 names", len(found))
	}
}
