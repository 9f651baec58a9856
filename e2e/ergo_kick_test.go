//go:build e2e

package e2e

import (
	"debug/buildinfo"
	"encoding/json"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// anotherSecond waits for another second than that in which a channel was made.
func anotherSecond(t *testing.T, made time.Time) {
	t.Helper()
	eventually(t, 5*time.Second, "it is another second", func() bool { return time.Now().Unix() > made.Unix()+1 })
}

// TestErgoYoungerChannelsGiveWay: with kick= members of channels that were made after those of the records are kicked at COMMIT, also where they
// are registered, and nothing of the channels is left. An older channel is what it is without kick=.
func TestErgoYoungerChannelsGiveWay(t *testing.T) {
	e := startErgo(t, "a")
	h := newHand(t, e)
	op, other := h.open("i.1", "op", nil), h.open("i.2", "other", nil)
	op.ask("NS REGISTER oppassword")
	for _, line := range []string{"JOIN #SEA,#mine,#older", "CS REGISTER #mine", "MODE #SEA +ikb key *!*@id.example", "TOPIC #SEA :not yours", "MODE #SEA -i"} {
		op.ask(line)
	}
	other.ask("JOIN #SEA,#mine key")
	gone := h.open("i.3", "gone", nil) // always on, and away before COMMIT: no reason to keep him
	for _, line := range []string{"NS REGISTER gonepassword", "NS SET always-on true", "JOIN #SEA key", "PING x"} {
		gone.ask(line)
	}
	gone.send("QUIT\r\n")
	gone.await("ERROR")
	op.ask("PRIVMSG #SEA :said on the younger one")
	other.ask("PING all")
	records := func(older bool) (all []protocol.Message) {
		for _, name := range []string{"#sea", "#mine"} {
			all = append(all, protocol.NewChan(name, 1700000000).Message)
		}
		all[0].SetBare("m.moderated")
		if older {
			all = append(all, protocol.NewChan("#older", time.Now().Unix()+3600).Message)
		}
		all = append(all, imported("i.7", "ann"))
		for _, name := range []string{"#sea", "#mine"} {
			all = append(all, protocol.NewMemb("i.7", name, "o").Message)
		}
		return all
	}
	told := func(p protocol.Prepared) []string { // imported has a class, which Ergo has not
		return slices.DeleteFunc(notes(p), func(s string) bool { return strings.HasPrefix(s, "unknown-key") })
	}
	tx, p := h.prepare(records(true)...)
	if want := []string{"channel-exists #sea", "channel-exists #mine", "channel-exists #older"}; !slices.Equal(told(p), want) {
		t.Errorf("without kick=: %q, want %q", told(p), want)
	}
	h.ok(h.c.Abort(t.Context(), tx))
	tx, p = h.prepareKicking(kick, records(true)...)
	if want := []string{"channel-exists #older", "replaced #sea", "replaced #mine"}; !slices.Equal(told(p), want) {
		t.Errorf("with kick=: %q, want %q", told(p), want)
	}
	h.ok(h.c.Abort(t.Context(), tx))
	if got := other.ask("NAMES #sea"); strings.Contains(got, "KICK") || !strings.Contains(got, "@op") {
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
	for nick, s := range map[string]*rawStream{"op": op, "other": other} {
		kickedOf(t, nick, s.ask("PING x"), "ergo.example.org", "#SEA", "#mine")
	}
	for send, want := range map[string]string{
		"MODE #sea":                       " 324 ann #sea +m\r\n",
		"MODE #SEA":                       " 329 ann #sea 1700000000\r\n",
		"NAMES #sea":                      " 353 ann = #sea :@ann\r\n",
		"TOPIC #sea":                      " 331 ann #sea :",
		"NAMES #mine":                     " 353 ann = #mine :@ann\r\n",
		"CS INFO #mine":                   "not registered",
		"CHATHISTORY LATEST #sea * 50":    "",
		"CHATHISTORY LATEST #mine * 50":   "",
		"PRIVMSG #sea :here, and at home": "",
	} {
		got := ann.ask(send)
		if !strings.Contains(got, want) || strings.Contains(got, "said on the younger one") || strings.Contains(got, "367") {
			t.Errorf("%s: want %q in\n%s", send, want, got)
		}
	}
	if got := ann.ask("MODE #sea b"); strings.Contains(got, " 367 ") {
		t.Errorf("a ban of the channel that went is left:\n%s", got)
	}
	for _, s := range []*rawStream{op, other} {
		s.ask("JOIN #sea,#mine")
	}
	for _, name := range []string{"#sea", "#mine"} {
		if got := ann.ask("NAMES " + name); !strings.Contains(got, "@ann") || strings.Contains(got, "@op") || !strings.Contains(got, "op") || !strings.Contains(got, "other") {
			t.Errorf("%s do not come in again, or not as two like others:\n%s", name, got)
		}
	}
	if got := e.again(t, syscall.SIGTERM).open("i.9", "next", nil).ask("CS INFO #mine"); !strings.Contains(got, "not registered") {
		t.Errorf("the registration of the channel that went is still in the database:\n%s", got)
	}
}

// TestErgoRenamedChannelGivesWay: what comes into the name between PREPARE and COMMIT gives way as what was there, and only with kick=.
func TestErgoRenamedChannelGivesWay(t *testing.T) {
	h := newHand(t, startErgo(t, "a"))
	op := h.open("i.1", "op", nil)
	records := []protocol.Message{protocol.NewChan("#sea", 1700000000).Message, imported("i.7", "ann"), protocol.NewMemb("i.7", "#sea", "o").Message}
	for _, c := range []struct{ name, kick string }{{"#one", ""}, {"#two", kick}} {
		op.ask("JOIN " + c.name)
		tx, p := h.prepareKicking(c.kick, records...)
		if len(p.Conflicts) != 0 {
			t.Fatalf("%+v", p.Conflicts)
		}
		ann := h.attach(tx, tx, "i.7")
		if got := op.ask("RENAME " + c.name + " #sea"); !strings.Contains(got, " #sea") || strings.Contains(got, "FAIL") {
			t.Fatalf("not renamed:\n%s", got)
		}
		_, err := h.c.Commit(t.Context(), tx)
		if c.kick == "" {
			h.fails(err, protocol.CodeInternal)
			h.ok(h.c.Abort(t.Context(), tx))
			op.ask("PART #sea")
			continue
		}
		h.ok(err)
		h.ok(ann.answer(protocol.VerbLive))
		if got := op.ask("PING x"); !strings.Contains(got, " KICK #sea op :"+kick+"\r\n") {
			t.Errorf("not kicked:\n%s", got)
		}
		if got := ann.ask("NAMES #sea"); !strings.Contains(got, " = #sea :@ann\r\n") {
			t.Errorf("not as the record's:\n%s", got)
		}
	}
}

// TestErgoLikenessGivesWay: where Ergo lets no two channels look the same, neither does a younger one of nearly the record's name keep it out.
func TestErgoLikenessGivesWay(t *testing.T) {
	if built, err := buildinfo.ReadFile(handoffErgo(t)); err != nil || !slices.ContainsFunc(built.Settings, func(s debug.BuildSetting) bool {
		return s.Key == "-tags" && strings.Contains(s.Value, "i18n")
	}) {
		t.Skip("this Ergo was built without i18n (", err, "): no two names look the same to it")
	}
	h := newHand(t, startErgo(t, "a", "casemapping: ascii", "casemapping: precis"))
	op := h.open("i.1", "op", nil)
	op.ask("JOIN #l00k")
	records := []protocol.Message{protocol.NewChan("#look", 1700000000).Message, imported("i.7", "ann"), protocol.NewMemb("i.7", "#look", "o").Message}
	tx, p := h.prepare(records...)
	if len(p.Conflicts) != 1 || p.Conflicts[0].Code != "channel-exists" {
		t.Errorf("without kick=: %+v", p.Conflicts)
	}
	h.ok(h.c.Abort(t.Context(), tx))
	tx, p = h.prepareKicking(kick, records...)
	if len(p.Conflicts) != 0 {
		t.Fatalf("with kick=: %+v", p.Conflicts)
	}
	ann := h.attach(tx, tx, "i.7")
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	if got := op.ask("PING x"); !strings.Contains(got, " KICK #l00k op :"+kick+"\r\n") {
		t.Errorf("not kicked:\n%s", got)
	}
	if got := op.ask("JOIN #l00k") + op.ask("JOIN #look"); strings.Count(got, " 403 ") != 1 || !strings.Contains(got, "@ann") {
		t.Errorf("the name that looks the same, and then the record's:\n%s", got)
	}
}

// TestErgoChannelMadeDuringARestart: one JOIN past ircferry, while its users are in the journal, keeps nobody out of the Ergo that came back.
// Who is always on and away altogether was put on the channel as Ergo began, and stays there with what he was.
func TestErgoChannelMadeDuringARestart(t *testing.T) {
	a := startErgo(t, "a")
	f := startFerry(t, nil, "", a.backend())
	ann, ben, bob := login(t, f.port, "127.0.9.9", "ann"), login(t, f.port, "127.0.9.8", "ben"), login(t, f.port, "127.0.9.7", "bob")
	for _, c := range []*irc{ann, ben, bob} {
		c.send("JOIN #sea")
		c.expect(" 366 ")
	}
	bob.send("JOIN #bob")
	bob.expect(" 366 ")
	bob.send("NS REGISTER bobpassword")
	bob.expect("now logged in as")
	bob.send("NS SET always-on true")
	bob.expect("always-on")
	ann.send("MODE #sea +o bob")
	bob.expect(" MODE #sea +o bob")
	made := time.Now()
	ann.send("MODE #sea +mb bad!*@*")
	bob.expect(" MODE #sea +")
	bob.send("QUIT")
	bob.expect("ERROR")
	a.users(2)
	for _, c := range []*irc{ann, ben} {
		c.fence()
	}
	before := [2]int{ann.count(), ben.count()}

	if out, code := f.ctl("hold", "main/a"); code != 0 {
		t.Fatalf("hold: exit %d\n%s", code, out)
	}
	a.proc.signal(syscall.SIGTERM)
	a.proc.await(10 * time.Second)
	anotherSecond(t, made)
	a.run()
	outsider := login(t, a.port, "127.0.9.6", "outsider")
	outsider.send("JOIN #sea")
	outsider.expect(" 366 ")
	out, code := f.ctl("-o", "json", "release", "main/a")
	var r struct {
		result
		Warnings []struct{ Channel, Code string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || r.State != "done" || r.Moved != 2 || r.Failed != 0 {
		t.Fatalf("release: exit %d, %v\n%s", code, err, out)
	}
	if len(r.Warnings) != 1 || r.Warnings[0].Code != "replaced" || r.Warnings[0].Channel != "#sea" {
		t.Errorf("the operator is told %+v", r.Warnings)
	}
	outsider.expect(":ergo.example.org KICK #sea outsider :This channel is coming back with its users, please join again")
	for i, c := range []*irc{ann, ben} {
		c.fence()
		if lines := c.since(before[i]); len(lines) != 1 { // the fence
			t.Errorf("%s saw %q", c.nick, lines)
		}
	}
	outsider.send("JOIN #sea")
	names := strings.ReplaceAll(outsider.expect(" 353 "), ":", " ")
	for _, want := range []string{"@ann", " ben", "@bob", "outsider"} {
		if !strings.Contains(names, want) || strings.Contains(names, "@outsider") {
			t.Errorf("no %s in %q", want, names)
		}
	}
	ann.expect(" JOIN #sea")
	ann.send("MODE #sea")
	if modes := ann.expect(" 324 "); !strings.HasSuffix(modes, " #sea +mnt") {
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
