package ircd

import (
	"fmt"
	"strings"
	"testing"
)

func TestChannelFlags(t *testing.T) {
	_, addr := startServer(t, Config{})
	op, bob := user(t, addr, "op"), user(t, addr, "bob")
	op.Join("#c")
	mustContain(t, op.Ask("MODE #c"), " 324 op #c +nt", " 329 op #c 1")
	mustContain(t, op.Ask("MODE #c +ims-t+t"), ":op!~op@127.0.0.1 MODE #c +ims-t+t")
	mustContain(t, op.Ask("MODE #c +kl secret 5"), "MODE #c +kl secret 5")
	mustContain(t, op.Ask("MODE #c"), " 324 op #c +imnstkl secret 5")
	mustContain(t, bob.Ask("MODE #c"), " 324 bob #c +imnstkl * 5")
	mustContain(t, op.Ask("MODE #c -kl wrongkey"), "MODE #c -kl secret")
	mustContain(t, op.Ask("MODE #c +l nonsense"), " 696 op #c l nonsense ")
	mustContain(t, op.Ask("MODE #c +k"), " 461 ")
	mustContain(t, op.Ask("MODE #c +Z"), " 472 op Z ")
	mustContain(t, bob.Ask("MODE #c +i"), " 482 bob #c ")
	mustContain(t, bob.Ask("MODE #none"), " 403 ")
	op.Send("MODE #c +i")
	op.Silent() // it is set already
}

func TestStatuses(t *testing.T) {
	_, addr := startServer(t, Config{})
	op, bob := user(t, addr, "op"), user(t, addr, "bob")
	op.Join("#c")
	bob.Join("#c")
	op.Fence()
	mustContain(t, op.Ask("MODE #c +ov bob bob"), "MODE #c +ov bob bob")
	bob.Expect("MODE #c +ov bob bob")
	mustContain(t, bob.Ask("MODE #c -o op"), "MODE #c -o op")
	op.Expect("MODE #c -o op")
	mustContain(t, op.Ask("MODE #c +o op"), " 482 ")
	mustContain(t, bob.Ask("MODE #c +o nobody"), " 401 ")
	mustContain(t, bob.Ask("MODE #c +o"), " 461 ")
	user(t, addr, "eve")
	mustContain(t, bob.Ask("MODE #c +v eve"), " 441 bob eve #c ")
}

func TestLists(t *testing.T) {
	_, addr := startServer(t, Config{Limits: Limits{ListEntries: 3}})
	op := user(t, addr, "op")
	op.Join("#c")
	mustContain(t, op.Ask("MODE #c +beI evil *@host.example nice!*@*"), "MODE #c +beI evil!*@* *!*@host.example nice!*@*")
	mustContain(t, op.Ask("MODE #c b"), " 367 op #c evil!*@* op 1", " 368 op #c ")
	mustContain(t, op.Ask("MODE #c e"), " 348 op #c *!*@host.example op 1", " 349 op #c ")
	mustContain(t, op.Ask("MODE #c +I"), " 346 op #c nice!*@* op 1", " 347 op #c ")
	mustContain(t, op.Ask("MODE #c +bb 1.2.3.4 10.*"), "MODE #c +bb *!*@1.2.3.4 *!*@10.*")
	mustContain(t, op.Ask("MODE #c +b one-too-many"), " 478 op #c one-too-many!*@* ")
	mustContain(t, op.Ask("MODE #c -b EVIL!*@*"), "MODE #c -b evil!*@*")
	op.Send("MODE #c -b notthere")
	op.Silent()
}

func TestModesOfOneLineAreLimited(t *testing.T) {
	_, addr := startServer(t, Config{})
	op := user(t, addr, "op")
	op.Join("#c")
	masks := "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"
	answer := op.Ask("MODE #c +" + strings.Repeat("b", 21) + " " + masks)
	mustContain(t, answer, " 19!*@*")
	mustNotContain(t, answer, " 20!*@*")
}

func TestLongMaskListsAreSplit(t *testing.T) {
	_, addr := startServer(t, Config{})
	op := user(t, addr, "op")
	op.Join("#c")
	var masks []string
	for i := range 8 {
		masks = append(masks, fmt.Sprintf("%d!*@%s", i, strings.Repeat("x", 50)))
	}
	answer := op.Ask("MODE #c +bbbbbbbb " + strings.Join(masks, " "))
	if strings.Count(answer, "\n") == 0 {
		t.Error("one line only")
	}
	mustContain(t, answer, masks...)
	mustContain(t, op.Ask("MODE #c b"), masks...)
}

func TestSpeaking(t *testing.T) {
	_, addr := startServer(t, Config{})
	op, bob, out := user(t, addr, "op"), user(t, addr, "bob"), user(t, addr, "out")
	op.Join("#c")
	bob.Join("#c")
	mustContain(t, out.Ask("PRIVMSG #c :from outside"), " 404 out #c ")
	op.Ask("MODE #c -n")
	out.Send("PRIVMSG #c :from outside")
	bob.Await(":out!~out@127.0.0.1 PRIVMSG #c :from outside")
	op.Ask("MODE #c +m")
	mustContain(t, bob.Ask("PRIVMSG #c :x"), " 404 bob #c ")
	op.Ask("MODE #c +v bob")
	mustNotContain(t, bob.Ask("PRIVMSG #c :x"), " 404 ")
	op.Ask("MODE #c -mv bob")
	op.Ask("MODE #c +b bob")
	mustContain(t, bob.Ask("PRIVMSG #c :x"), " 404 bob #c ")
	op.Ask("MODE #c +e bob")
	mustNotContain(t, bob.Ask("PRIVMSG #c :x"), " 404 ")
}

func TestUserModes(t *testing.T) {
	_, addr := startServer(t, Config{})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	mustContain(t, alice.Ask("MODE alice"), " 221 alice +")
	mustContain(t, alice.Ask("MODE alice +iw-w+o"), ":alice!~alice@127.0.0.1 MODE alice +iw-w")
	mustContain(t, alice.Ask("MODE alice"), " 221 alice +i")
	mustContain(t, alice.Ask("MODE alice +Z"), " 501 ")
	mustContain(t, alice.Ask("MODE bob +i"), " 502 ")
	mustContain(t, alice.Ask("MODE nobody"), " 401 ")
	mustContain(t, alice.Ask("MODE alice +s"), " 481 ")
	mustContain(t, alice.Ask("MODE alice +x"), " 396 alice ", "MODE alice +x")
	answer := bob.Ask("WHOIS alice")
	mustContain(t, answer, ".cloaked")
	mustNotContain(t, answer, "127.0.0.1")
	mustContain(t, alice.Ask("WHOIS alice"), ".cloaked", "~alice@127.0.0.1 127.0.0.1")
	bob.Join("#b") // a cloak is no way past a ban
	bob.Ask("MODE #b +b *!*@127.0.0.1")
	mustContain(t, alice.Ask("JOIN #b"), " 474 ")
	mustContain(t, alice.Ask("MODE alice -x"), " 396 alice 127.0.0.1 ")
}
