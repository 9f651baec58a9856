//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// TestInspIRCdRightsAreTheDestinations: what comes with being an operator does not outlive it, and an operator's type that lets him less here
// lets him less after a move. All of it is told at PREPARE.
func TestInspIRCdRightsAreTheDestinations(t *testing.T) { onBoth(t, inspIRCdRightsAreTheDestinations) }

func inspIRCdRightsAreTheDestinations(t *testing.T, v *inspVersion) {
	a := v.new(t, "a")
	writeFile(t, a.conf, readFile(a.conf)+`<module name="operprefix"> <operprefix prefix="^">
<class name="few" commands="KILL" usermodes="s" chanmodes="*" snomasks="c"> <type name="Watcher" classes="few">`+"\n")
	a.run()
	h := newHand(t, a)
	sea := protocol.NewChan("#sea", 1700000000).Message
	member := func(u string) protocol.Message {
		m := protocol.NewMemb(u, "#sea", "v").Message
		m.Set("x.inspircd.prefixes", "operprefix official-join")
		return m
	}
	line := []string{"x.inspircd.ext.swhois", "guards the gate", "x.inspircd.ext.swhois_operblock", "1"}
	real := imported("i.1", "real", append([]string{"oper", "NetAdmin", "snomask", "cX"}, line...)...)
	fallen := imported("i.2", "fallen", append([]string{"oper", "NoSuchType"}, line...)...)
	lesser := imported("i.3", "lesser", "oper", "Watcher", "snomask", "cX")
	praised := imported("i.4", "praised", line[:2]...) // by somebody's SWHOIS
	real.SetBare("m.hideoper")
	lesser.SetBare("m.hideoper")
	tx, p := h.prepare(sea, real, fallen, lesser, praised, member("i.1"), member("i.2"))
	var told []string
	for _, n := range p.Warns {
		told = append(told, fmt.Sprint(n.U, " ", n.Code, " ", n.Key))
	}
	slices.Sort(told)
	want := []string{"i.2 changed x.inspircd.prefixes", "i.2 changed x.inspircd.prefixes", "i.2 unknown-oper oper", "i.3 changed m.hideoper", "i.3 changed snomask"}
	if !slices.Equal(told, want) || len(p.Conflicts) != 0 {
		t.Errorf("told %q and %+v, want %q", told, p.Conflicts, want)
	}
	s := map[string]*rawStream{}
	for _, u := range []string{"i.1", "i.2", "i.3", "i.4"} {
		s[u] = h.attach(tx, tx, u)
	}
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	for _, stream := range s {
		h.ok(stream.answer(protocol.VerbLive))
	}
	s["i.1"].ask("CAP REQ multi-prefix")
	names := s["i.1"].ask("NAMES #sea")
	for _, word := range []string{"!^+real", "+fallen"} {
		if !slices.Contains(strings.FieldsFunc(names, func(r rune) bool { return strings.ContainsRune(" :\r\n", r) }), word) {
			t.Errorf("want %s in\n%s", word, names)
		}
	}
	for nick, line := range map[string]bool{"real": false, "fallen": false, "praised": true} { // real is hidden by +H
		if got := s["i.4"].ask("WHOIS " + nick); strings.Contains(got, "guards the gate") != line {
			t.Errorf("the line of WHOIS: want %t, got\n%s", line, got)
		}
	}
	for u, want := range map[string][]string{"i.1": {" 221 real :" + v.either("+Hos", "+sHo") + "\r\n", " 008 real +Xc :"}, "i.3": {" 221 lesser :" + v.either("+os", "+so") + "\r\n", " 008 lesser +c :"}} {
		nick := strings.Fields(want[0])[1]
		if got := s[u].ask("MODE " + nick); !strings.Contains(got, want[0]) || !strings.Contains(got, want[1]) {
			t.Errorf("%s has\n%s", nick, got)
		}
	}
}

// TestInspIRCdOperatorsClass: a class that came with being an operator stays over a move. Whoever is no operator at the destination does not have it,
// and InspIRCd 4, which knows where a class came from, takes it back with the status.
func TestInspIRCdOperatorsClass(t *testing.T) { onBoth(t, inspIRCdOperatorsClass) }

func inspIRCdOperatorsClass(t *testing.T, v *inspVersion) {
	a := v.new(t, "a")
	writeFile(t, a.conf, readFile(a.conf)+`<connect name="opers" timeout="30" pingfreq="120" threshold="1000" commandrate="100000" fakelag="no">
<oper name="classy" password="x" host="*@*" type="NetAdmin" class="opers">
`)
	a.run()
	h := newHand(t, a)
	eye, ann := h.open("i.1", "eye", nil), h.open("i.2", "ann", nil)
	eye.ask("OPER root rootpw")
	has := func(nick, class, when string) {
		t.Helper()
		if got := eye.ask("CHECK " + nick); !strings.Contains(got, "connectclass :"+class+"\r\n") {
			t.Errorf("%s: %s is not of class %s:\n%s", when, nick, class, got)
		}
	}
	ann.ask("OPER classy x")
	has("ann", "opers", "before")
	tx, _, records := h.export(ann)
	h.ok(h.c.Release(t.Context(), tx, ""))
	tx, p := h.prepare(append(records, imported("i.3", "fallen", "oper", "NoSuchType", "class", "opers", "x.inspircd.ext.has_oper_class", "1"))...)
	if len(p.Conflicts) != 0 {
		t.Errorf("%+v", p)
	}
	ann = h.attach(tx, tx, "i.2")
	h.attach(tx, tx, "i.3")
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	has("ann", "opers", "after a move")
	if v.major == 3 {
		return
	}
	has("fallen", "users", "as no operator")
	ann.ask("MODE ann -o")
	has("ann", "users", "as no operator any more")
}
