//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

const kick = "join again: soon"

// TestInspIRCdYoungerChannelsGiveWay: with kick= members of channels that were made after those of the records are kicked at COMMIT, whatever
// modes these have, and nothing of the channels is left. Those of the same time and of an earlier one are what they are without it.
func TestInspIRCdYoungerChannelsGiveWay(t *testing.T) { onBoth(t, inspIRCdYoungerChannelsGiveWay) }

func inspIRCdYoungerChannelsGiveWay(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	op, other, silent := h.open("i.1", "op", nil), h.open("i.2", "other", nil), h.open("i.3", "silent", nil)
	op.ask("OPER root rootpw")
	for _, s := range []*rawStream{op, other, silent} {
		s.ask("JOIN #SEA,#empty,#same")
	}
	op.ask("JOIN #older")
	op.ask("MODE #SEA +ikPQb key *!*@id.example")
	op.ask("INVITE other #gone")
	op.ask("TOPIC #SEA :not yours")
	op.ask("MODE #empty +P")
	for _, s := range []*rawStream{op, other, silent} {
		s.ask("PART #empty")
	}
	var same int64
	if _, numeric, _ := strings.Cut(op.ask("MODE #same"), " 329 op #same :"); numeric != "" {
		fmt.Sscan(numeric, &same)
	}
	records := func(older bool) []protocol.Message {
		all := []protocol.Message{protocol.NewChan("#sea", 1700000000).Message, protocol.NewChan("#Empty", 1700000000).Message, protocol.NewChan("#same", same).Message,
			imported("i.7", "ann"), protocol.NewMemb("i.7", "#sea", "o").Message, protocol.NewMemb("i.7", "#Empty", "o").Message, protocol.NewMemb("i.7", "#same", "").Message}
		all[0].SetBare("m.moderated")
		if older {
			all = append(all, protocol.NewChan("#older", time.Now().Unix()+3600).Message)
		}
		return all
	}

	tx, p := h.prepare(records(true)...)
	if want := []string{"channel-exists #sea", "channel-exists #Empty", "channel-exists #older", "merged #same"}; !slices.Equal(notes(p), want) {
		t.Errorf("without kick=: %q, want %q", notes(p), want)
	}
	h.ok(h.c.Abort(t.Context(), tx))
	tx, p = h.prepareKicking(kick, records(true)...)
	if want := []string{"channel-exists #older", "replaced #sea", "replaced #Empty", "merged #same"}; !slices.Equal(notes(p), want) {
		t.Errorf("with kick=: %q, want %q", notes(p), want)
	}
	h.ok(h.c.Abort(t.Context(), tx))
	if got := other.ask("NAMES #sea"); strings.Contains(got, "KICK") || !strings.Contains(got, "silent") {
		t.Errorf("after ABORT:\n%s", got)
	}

	tx, p = h.prepareKicking(kick, records(false)...)
	if len(p.Conflicts) != 0 {
		t.Fatalf("%+v", p.Conflicts)
	}
	ann := h.attach(tx, tx, "i.7")
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	for nick, s := range map[string]*rawStream{"op": op, "other": other, "silent": silent} {
		kickedOf(t, nick, s.ask("PING x"), "insp.example.org", "#SEA")
	}
	for send, want := range map[string]string{
		"MODE #sea":   " 324 ann #sea :+m\r\n",
		"NAMES #sea":  " 353 ann = #sea :@ann\r\n",
		"TOPIC #sea":  " 331 ann #sea :",
		"MODE #EMPTY": " 324 ann #Empty :+\r\n",
		"MODE #empty": " 329 ann #Empty :1700000000\r\n",
		"NAMES #same": "@op",
	} {
		if got := ann.ask(send); !strings.Contains(got, want) {
			t.Errorf("%s: no %q in\n%s", send, want, got)
		}
	}
	if got := ann.ask("MODE #sea b"); strings.Contains(got, " 367 ") || !strings.Contains(ann.ask("MODE #sea"), " 329 ann #sea :1700000000\r\n") {
		t.Errorf("something of the channel that went is left:\n%s", got)
	}
	other.ask("JOIN #sea")
	if got := ann.ask("NAMES #sea"); !strings.Contains(got, " JOIN :#sea\r\n") || !strings.Contains(got, " :@ann other\r\n") && !strings.Contains(got, " :other @ann\r\n") {
		t.Errorf("other does not come in again, or not as one like others:\n%s", got)
	}
}

// TestInspIRCdChannelMadeDuringARestart: one JOIN by somebody past ircferry, while its users are in the journal, keeps nobody out of the ircd
// that came back, and takes no channel from anybody: users, modes and operators are as before, he is kicked and told why. Neither does a
// channel that the configuration makes, with the time of the start.
func TestInspIRCdChannelMadeDuringARestart(t *testing.T) {
	onBoth(t, inspIRCdChannelMadeDuringARestart)
}

func inspIRCdChannelMadeDuringARestart(t *testing.T, v *inspVersion) {
	a := v.new(t, "a")
	writeFile(t, a.conf, readFile(a.conf)+`<permchannels channel="#config" modes="nt">`+"\n")
	a.run()
	f := startFerry(t, nil, "", a.backend())
	ann, ben := login(t, f.port, "127.0.9.9", "ann"), login(t, f.port, "127.0.9.8", "ben")
	for _, c := range []*irc{ann, ben} {
		c.send("JOIN #sea")
		c.expect(" 366 ")
	}
	ann.expect(" JOIN ")
	ann.send("JOIN #config")
	ann.expect(" 366 ")
	made := time.Now()
	ann.send("MODE #sea +mb bad!*@*")
	ben.expect(" MODE ")
	ann.expect(" MODE ")
	before := [2]int{ann.count(), ben.count()}

	if out, code := f.ctl("hold", "main/a"); code != 0 {
		t.Fatalf("hold: exit %d\n%s", code, out)
	}
	a.proc.signal(syscall.SIGTERM)
	a.proc.await(10 * time.Second)
	eventually(t, 5*time.Second, "it is another second", func() bool { return time.Now().Unix() > made.Unix()+1 })
	a.run()
	outsider := login(t, a.port, "127.0.9.7", "outsider")
	outsider.send("JOIN #Sea")
	outsider.expect("@outsider")
	out, code := f.ctl("-o", "json", "release", "main/a")
	var r struct {
		result
		Warnings []struct{ Channel, Code string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || r.State != "done" || r.Moved != 2 || r.Failed != 0 {
		t.Fatalf("release: exit %d, %v\n%s", code, err, out)
	}
	var told []string
	for _, w := range r.Warnings {
		told = append(told, w.Code+" "+w.Channel)
	}
	if slices.Sort(told); !slices.Equal(told, []string{"replaced #config", "replaced #sea"}) {
		t.Errorf("the operator is told %q", told)
	}
	outsider.expect(":insp.example.org KICK #Sea outsider :This channel is coming back with its users, please join again")
	for i, c := range []*irc{ann, ben} {
		c.fence()
		if lines := c.since(before[i]); len(lines) != 1 { // the fence
			t.Errorf("%s saw %q", c.nick, lines)
		}
	}
	outsider.send("JOIN #sea")
	names := outsider.expect(" 353 ")
	for _, want := range []string{"@ann", " ben", "outsider"} {
		if !strings.Contains(strings.ReplaceAll(names, ":", " "), want) || strings.Contains(names, "@outsider") {
			t.Errorf("no %s in %q", want, names)
		}
	}
	ann.expect(":outsider!outsider@127.0.9.7 JOIN ")
	ann.send("MODE #sea")
	if modes := ann.expect(" 324 "); !strings.HasSuffix(modes, " #sea :"+v.either("+mnt", "+ntm")) {
		t.Errorf("modes %q", modes)
	}
	ann.send("MODE #sea b")
	ann.expect(" bad!*@* ")
	ben.send("PRIVMSG #sea :not voiced")
	ben.expect(" 404 ")
	ann.send("PRIVMSG #sea :here again")
	ben.expect("here again")
	outsider.expect("here again")
}

// TestInspIRCdLinkedChannelGivesWay: whoever made the channel on another server of the network is kicked there, too, and the network agrees on
// whose channel it is.
func TestInspIRCdLinkedChannelGivesWay(t *testing.T) { onBoth(t, inspIRCdLinkedChannelGivesWay) }

func inspIRCdLinkedChannelGivesWay(t *testing.T, v *inspVersion) {
	a, hub := startLinked(t, v)
	h := newHand(t, a)
	eye := login(t, hub.port, "127.0.9.9", "eye")
	eye.send("JOIN #sea")
	eye.expect(" 366 ")
	eye.send("MODE #sea +k key")
	eye.expect(" MODE #sea ")
	eventually(t, 5*time.Second, "the channel is known", func() bool {
		hello, err := a.hello()
		return err == nil && hello.Channels == 1
	})
	sea := protocol.NewChan("#sea", 1700000000).Message
	tx, p := h.prepareKicking(kick, sea, imported("i.7", "ann"), protocol.NewMemb("i.7", "#sea", "o").Message)
	if len(p.Conflicts) != 0 {
		t.Fatalf("%+v", p.Conflicts)
	}
	ann := h.attach(tx, tx, "i.7")
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	eye.expect(" KICK #sea eye :" + kick)
	eye.send("WHOIS ann") // behind the KICK came the user
	eye.expect(" 311 eye ann ")
	eye.send("JOIN #sea")
	if names := eye.expect(" 353 "); !strings.Contains(names, "@ann") || strings.Contains(names, "@eye") {
		t.Errorf("on the hub: %q", names)
	}
	ann.await(":eye!eye@127.0.9.9 JOIN ")
	if got := ann.ask("MODE #sea"); !strings.Contains(got, " 324 ann #sea :+\r\n") || !strings.Contains(got, " 329 ann #sea :1700000000\r\n") {
		t.Errorf("here:\n%s", got)
	}
	eye.send("MODE #sea")
	eye.expect(" 329 eye #sea :1700000000")
}
