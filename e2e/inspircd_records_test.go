//go:build e2e

package e2e

import (
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// imported is a record of a user that an InspIRCd takes as it is.
func imported(u, nick string, more ...string) protocol.Message {
	m := protocol.NewUser(u, nick).Message
	pairs := append([]string{"ip", "192.0.2.7", "port", "4000", "rhost", "host.example", "ident", "id", "real", "Real", "class", "users",
		"signon", "1700000000"}, more...)
	for i := 0; i < len(pairs); i += 2 {
		m.Set(pairs[i], pairs[i+1])
	}
	return m
}

// TestInspIRCdTellsWhatItChanges: what a record asks for and this ircd cannot hold is told at PREPARE, never changed in silence.
func TestInspIRCdTellsWhatItChanges(t *testing.T) { onBoth(t, inspIRCdTellsWhatItChanges) }

func inspIRCdTellsWhatItChanges(t *testing.T, v *inspVersion) {
	a := v.new(t, "a")
	writeFile(t, a.conf, readFile(a.conf)+`<limits maxident="8" maxhost="64" maxtopic="100" maxreal="50" maxaway="60"><chanhistory maxlines="20" maxduration="1h">`+"\n")
	a.run()
	h := newHand(t, a)
	channel := func(key, value string) protocol.Message {
		m := protocol.NewChan("#sea", 1700000000).Message
		m.Set(key, value)
		return m
	}
	sea := protocol.NewChan("#sea", 1700000000).Message
	for name, c := range map[string]struct {
		records []protocol.Message
		want    string // what is told: verb code key, sorted
	}{
		"nothing":                     {[]protocol.Message{imported("i.1", "ann"), sea}, ""},
		"a long ident":                {[]protocol.Message{imported("i.1", "ann", "ident", "~abcdefghi")}, "WARN bad-value ident"},
		"no ident":                    {[]protocol.Message{imported("i.1", "ann", "ident", "")}, "WARN changed ident"},
		"a long host":                 {[]protocol.Message{imported("i.1", "ann", "dhost", strings.Repeat("h", 65))}, "WARN bad-value dhost"},
		"a long name":                 {[]protocol.Message{imported("i.1", "ann", "real", strings.Repeat("r", 51))}, "WARN bad-value real"},
		"a long away":                 {[]protocol.Message{imported("i.1", "ann", "away", strings.Repeat("r", 61))}, "WARN bad-value away"},
		"a long topic":                {[]protocol.Message{channel("topic", strings.Repeat("t", 101))}, "WARN bad-value topic"},
		"no address":                  {[]protocol.Message{imported("i.1", "ann", "ip", "/tmp/x")}, "CONFLICT bad-value ip"},
		"notices for no operator":     {[]protocol.Message{imported("i.1", "ann", "snomask", "c")}, "WARN changed snomask"},
		"an id as nick":               {[]protocol.Message{imported("i.1", "1AAAAAAZZ", "id", "1AAAAAAZZ")}, ""},
		"another's id as nick":        {[]protocol.Message{imported("i.1", "2AAAAAAZZ", "id", "2AAAAAAZZ")}, "CONFLICT nick-invalid nick"},
		"text as nick and id":         {[]protocol.Message{imported("i.1", "a!b", "id", "a!b")}, "CONFLICT nick-invalid nick"},
		"one nick twice":              {[]protocol.Message{imported("i.1", "ann"), imported("i.2", "ANN")}, "CONFLICT nick-in-use nick"},
		"one id twice":                {[]protocol.Message{imported("i.1", "ann", "id", "1AAAAAAZZ"), imported("i.2", "ben", "id", "1AAAAAAZZ")}, "CONFLICT bad-value id"},
		"one channel twice":           {[]protocol.Message{sea, protocol.NewChan("#SEA", 1).Message}, "CONFLICT channel-exists n"},
		"a parameter that is none":    {[]protocol.Message{channel("m.flood", "many")}, "WARN bad-value m.flood"},
		"a parameter that is changed": {[]protocol.Message{channel("m.history", "50:60")}, "WARN changed m.history"},
		"a parameter too many":        {[]protocol.Message{channel("m.moderated", "x")}, "WARN bad-value m.moderated"},
		"a good list":                 {[]protocol.Message{sea, protocol.NewList("#sea", "ban", "*!*@a", "x", 1).Message, protocol.NewList("#sea", "ban", "*!*@b", "x", 1).Message}, ""},
		"an entry twice":              {[]protocol.Message{sea, protocol.NewList("#sea", "ban", "*!*@a", "x", 1).Message, protocol.NewList("#sea", "ban", "*!*@a", "y", 2).Message}, "WARN bad-value mask"},
		"an entry that is completed":  {[]protocol.Message{sea, protocol.NewList("#sea", "ban", "ann", "x", 1).Message}, "WARN changed mask"},
		"a ban that sends elsewhere":  {[]protocol.Message{sea, protocol.NewList("#sea", "ban", "a!*@*#b", "x", 1).Message}, "WARN changed mask"},
		"a list that is none":         {[]protocol.Message{sea, protocol.NewList("#sea", "key", "a", "x", 1).Message}, "WARN unknown-mode m.key"},
		"items of the module's own":   {[]protocol.Message{imported("i.1", "ann", "x.inspircd.ext.handoff_stream", "i.9 0 0 - -")}, "WARN unknown-key x.inspircd.ext.handoff_stream"},
		"items that have a key":       {[]protocol.Message{imported("i.1", "ann", "x.inspircd.ext.accountname", "root")}, "WARN unknown-key x.inspircd.ext.accountname"},
		"a long list of SILENCE":      {[]protocol.Message{imported("i.1", "ann", "silence", strings.Repeat("*!*@x ", 40))}, "WARN bad-value silence"},
	} {
		tx, p := h.prepare(c.records...)
		var told []string
		for _, n := range p.Warns {
			told = append(told, "WARN "+string(n.Code)+" "+n.Key)
		}
		for _, n := range p.Conflicts {
			told = append(told, "CONFLICT "+string(n.Code)+" "+n.Key)
		}
		slices.Sort(told)
		if got := strings.Join(told, ", "); got != c.want {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
		h.ok(h.c.Abort(t.Context(), tx))
	}
}

// TestC4_30InspIRCdFakelagGoesOn: a user's fakelag is neither forgotten by a move nor kept for longer than without it.
func TestC4_30InspIRCdFakelagGoesOn(t *testing.T) { onBoth(t, inspIRCdFakelagGoesOn) }

func inspIRCdFakelagGoesOn(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	at := strconv.FormatInt(time.Now().Add(-100*time.Second).Unix(), 10)
	tx, p := h.prepare(
		imported("i.1", "ann", "class", "strict", "x.inspircd.penalty", "5000000", "x.inspircd.penalty-at", at), // 10000 go each second
		imported("i.2", "ben", "class", "strict", "x.inspircd.penalty", "5000000"),
		imported("i.3", "cia", "class", "strict", "x.inspircd.penalty", "500000", "x.inspircd.penalty-at", at),
		imported("i.4", "dan", "class", "strict", "x.inspircd.penalty", "18446744073709551615", "x.inspircd.penalty-at", at))
	if len(p.Warns)+len(p.Conflicts) != 0 {
		t.Fatalf("%+v", p)
	}
	var sel []protocol.Selection
	for _, u := range []string{"i.1", "i.2", "i.3", "i.4"} {
		h.attach(tx, tx, u)
		sel = append(sel, protocol.Selection{U: u})
	}
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	for _, r := range h.peek(sel) {
		got, _ := r.Uint("x.inspircd.penalty")
		if want := map[string]uint64{"i.1": 4000000, "i.2": 5000000, "i.3": 0, "i.4": 0}[r.Get("u")]; got > want || got+300000 < want {
			t.Errorf("%s has a penalty of %d, want about %d", r.Get("u"), got, want)
		}
	}
}

// TestInspIRCdHoldsDamagedRecords imports records of a real network with values, keys and lines that are damaged at random. The ircd
// refuses them whole or takes them, and whoever comes out of it has no operator, mode, account, status or certificate that his record
// did not have; nobody is shown a line that the ircd has not made. IRCFERRY_FUZZ is how many rounds.
func TestInspIRCdHoldsDamagedRecords(t *testing.T) { onBoth(t, inspIRCdHoldsDamagedRecords) }

func inspIRCdHoldsDamagedRecords(t *testing.T, v *inspVersion) {
	rounds := 1000
	if n, err := strconv.Atoi(os.Getenv("IRCFERRY_FUZZ")); err == nil {
		rounds = n
	}
	a := v.start(t, "a")
	f := startFerry(t, nil, "", a.backend())
	c := newCast(t, f.port)
	h := newHand(t, a)
	var sel []protocol.Selection
	for nick := range c.clients {
		u, err := h.c.Find(t.Context(), nick)
		h.ok(err)
		sel = append(sel, protocol.Selection{U: u})
	}
	records := h.peek(sel)
	for _, client := range c.clients {
		_ = client.Close()
	}
	eventually(t, 10*time.Second, "everybody has left", func() bool { now, err := a.hello(); return err == nil && now.Users == 0 })
	eye := h.open("i.eye", "eye", nil)
	eye.ask("OPER root rootpw")
	eye.ask("MODE eye +s +cCkKqQaAoOnNtTxXlL")
	refused, conflicts, taken := 0, 0, 0
	for round := range rounds {
		d := &damage{Rand: rand.New(rand.NewPCG(uint64(round), 1)), records: records}
		switch h.tryRecords(t, eye, d.some()) {
		case "refused":
			refused++
		case "conflict":
			conflicts++
		default:
			taken++
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d rounds: %d refused whole, %d with conflicts, %d taken", rounds, refused, conflicts, taken)
	if rounds >= 100 && (min(refused, taken) < rounds/10 || conflicts == 0) {
		t.Error("too one-sided to say much")
	}
	now, err := a.hello()
	if err != nil || now.Users != 1 {
		t.Errorf("%+v, %v", now, err)
	}
}

// peek answers the records of streams as they are now.
func (h *hand) peek(sel []protocol.Selection) (records []protocol.Message) {
	h.t.Helper()
	_, err := h.c.Export(h.t.Context(), protocol.ExportRequest{Tx: protocol.NewSecret(), Peek: true, Select: sel}, func(m protocol.Message) error {
		records = append(records, m.Clone())
		return nil
	})
	h.ok(err)
	return records
}

// tryRecords imports records, looks at what came of them, and takes the users out again.
func (h *hand) tryRecords(t *testing.T, eye *rawStream, sent []protocol.Message) string {
	t.Helper()
	tx, ctx := protocol.NewSecret(), t.Context()
	h.ok(h.c.Import(ctx, tx, tx, time.Minute, ""))
	for _, r := range sent {
		h.ok(h.c.Record(ctx, r))
	}
	p, err := h.c.Prepare(ctx, tx)
	if err != nil {
		st, lost := h.c.Status(ctx, tx)
		h.ok(lost)
		if st.Dest != protocol.DestAborted {
			t.Errorf("%v, and then %+v", err, st)
		}
		return "refused"
	}
	if len(p.Conflicts) > 0 {
		h.ok(h.c.Abort(ctx, tx))
		return "conflict"
	}
	streams := map[string]*rawStream{}
	for _, r := range sent {
		if u := r.Get("u"); r.Verb == protocol.VerbUser {
			streams[u] = h.attach(tx, tx, u)
		}
	}
	_, err = h.c.Commit(ctx, tx)
	h.ok(err)
	var live []protocol.Selection
	for u, s := range streams {
		h.ok(s.answer(protocol.VerbLive))
		live = append(live, protocol.Selection{U: u})
	}
	for _, r := range h.peek(live) {
		gainedNothing(t, r, sent)
	}
	ask := []string{"WHO *", "LIST", "MODE #sea b", "MODE #sea g", "STATS P", "STATS z"}
	for _, r := range sent {
		if r.Verb == protocol.VerbUser {
			ask = append(ask, "WHOIS "+r.Get("nick")+" "+r.Get("nick"), "CHECK "+r.Get("nick"))
		}
	}
	seen := eye.ask(strings.Join(ask, "\r\n"))
	for line := range strings.Lines(seen) {
		if !saidByServer.MatchString(line) {
			t.Errorf("the eye saw %q", line)
		}
	}
	tx = protocol.NewSecret()
	_, err = h.c.Export(ctx, protocol.ExportRequest{Tx: tx, Freeze: 5 * time.Second, Select: live}, func(protocol.Message) error { return nil })
	h.ok(err)
	h.ok(h.c.Release(ctx, tx, ""))
	for _, s := range streams {
		_ = s.Close()
	}
	return "taken"
}

var saidByServer = regexp.MustCompile(`^:insp\.example\.org ([0-9]{3}|NOTICE|PONG) [^\r\n]*\r\n$`)

// gainedNothing compares a record of a live user or channel with what was sent.
func gainedNothing(t *testing.T, now protocol.Message, sent []protocol.Message) {
	t.Helper()
	named := map[string][]string{protocol.VerbChan: {"n"}, protocol.VerbList: {"c", "m", "mask"}, protocol.VerbUser: {"u"}, protocol.VerbMemb: {"u", "c"}}
	i := slices.IndexFunc(sent, func(r protocol.Message) bool {
		return r.Verb == now.Verb && !slices.ContainsFunc(named[r.Verb], func(key string) bool {
			return r.Get(key) != now.Get(key) && (key != "mask" || !strings.Contains(now.Get(key), r.Get(key))) // a mask is completed
		})
	})
	if i < 0 {
		t.Errorf("was never sent: %s", now.Append(nil))
		return
	}
	was := sent[i]
	for _, f := range now.Fields {
		value := was.Get(f.Key)
		switch {
		case f.Key == "snomask", now.Verb == protocol.VerbMemb && f.Key == "m":
			for _, letter := range f.Value {
				if !strings.ContainsRune(value, letter) {
					t.Errorf("%s has %s=%s, was sent %q", now.Get("u"), f.Key, f.Value, value)
				}
			}
		case f.Key == "oper", f.Key == "account", f.Key == "certfp", f.Key == "tls", f.Key == "x.inspircd.operblock":
			if f.Value != value {
				t.Errorf("%s has %s=%s, was sent %q", now.Get("u"), f.Key, f.Value, value)
			}
		case strings.HasPrefix(f.Key, "m."), strings.HasPrefix(f.Key, "x.inspircd.mode."), strings.HasPrefix(f.Key, "x.inspircd.ext."):
			if !was.Has(f.Key) && f.Key != "x.inspircd.ext.silence_list" {
				t.Errorf("%s%s has %s, was sent none", now.Get("u"), now.Get("n"), f.Key)
			}
		}
	}
}

// damage changes records at random.
type damage struct {
	*rand.Rand
	records []protocol.Message
}

// some is a copy of the records with one to three faults.
func (d *damage) some() []protocol.Message {
	out := make([]protocol.Message, len(d.records))
	for i, r := range d.records {
		out[i] = r.Clone()
	}
	for range 1 + d.IntN(3) {
		i := d.IntN(len(out))
		if d.IntN(2) == 0 { // half of it hits users: there is more in them
			i = d.pick(out, protocol.VerbUser)
		}
		switch d.IntN(12) {
		case 0:
			out = slices.Delete(out, i, i+1)
		case 1:
			out = append(out, out[i].Clone())
		case 2:
			j := d.IntN(len(out))
			out[i], out[j] = out[j], out[i]
		case 3, 4:
			out[i].Set(d.key(), d.value())
		case 5:
			out[i].SetBare(d.key())
		case 6:
			out[i].Del(d.ownKey(out[i]))
		default:
			out[i].Set(d.ownKey(out[i]), d.value())
		}
	}
	return out
}

func (d *damage) pick(records []protocol.Message, verb string) int {
	for {
		if i := d.IntN(len(records)); records[i].Verb == verb || d.IntN(50) == 0 {
			return i
		}
	}
}

// ownKey is a key that the record has; u, c and n rarely, since what they damage is refused at once.
func (d *damage) ownKey(r protocol.Message) string {
	k := r.Fields[d.IntN(len(r.Fields))].Key
	if len(k) == 1 && d.IntN(4) > 0 {
		k = r.Fields[d.IntN(len(r.Fields))].Key
	}
	return k
}

// key is one of any of the records, or one that somebody might try.
func (d *damage) key() string {
	if d.IntN(2) == 0 {
		return d.ownKey(d.records[d.IntN(len(d.records))])
	}
	keys := []string{"oper", "account", "snomask", "certfp", "tls", "class", "caps", "capver", "invites", "accept", "silence", "monitor", "m.hideoper",
		"m.servprotect", "m.oper", "m.op", "m.ban", "m.permanent", "m.registered", "m.cloak", "x.inspircd.mode.oper", "x.inspircd.mode.servprotect",
		"x.inspircd.mode.snomask", "x.inspircd.operblock", "x.inspircd.prefixes", "x.inspircd.place", "x.inspircd.counters", "x.inspircd.laddr",
		"x.inspircd.ext.handoff_stream", "x.inspircd.ext.accountname", "x.inspircd.ext.ssl_cert", "x.inspircd.ext.callerid_data",
		"x.inspircd.ext.caps", "x.inspircd.ext.invite_user", "x.inspircd.ext.monitor", "x.inspircd.ext.watch", "x.inspircd.ext.swhois",
		"x.inspircd.ext.silence_list", "x.inspircd.ext.ban_mode_list", "x.inspircd.ext.ctitle", "x.other.thing"}
	return keys[d.IntN(len(keys))]
}

func (d *damage) value() string {
	values := []string{"", " ", "x", "0", "1", "-1", "18446744073709551615", "9999999999999999999", "NetAdmin", "Helper", "root", "helper", "alice", "bob", "eye",
		"#sea", "#nowhere", "oqav", "zZ9", "cCkK\xe9\xff", "\xff\xfe", "a b c", ":lead", "x\r\n:root!r@r PRIVMSG eye :pwned", "x\x00y", "\n", "127.0.0.1", "::1",
		"/tmp/x", "users", "strict", "1AAAAAAAA", "1AAAAAAAB", "9ZZZZZZZZ", "*!*@*", "i.eye", strings.Repeat("y", 700), strings.Repeat("a ", 500),
		strings.Repeat("#c 99 ", 40), "0,1AAAAAAAA,1AAAAAAAB", "i.9 0 0 - -"}
	if d.IntN(4) > 0 {
		return values[d.IntN(len(values))]
	}
	r := d.records[d.IntN(len(d.records))]
	text := []byte(r.Fields[d.IntN(len(r.Fields))].Value)
	for range d.IntN(3) {
		if len(text) > 0 {
			text[d.IntN(len(text))] = byte(d.IntN(256))
		}
	}
	return string(text)
}
