package proxy

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/proxy/lines"
	"github.com/ircferry/ircferry/proxy/wire"
)

// comparison is what a matcher makes of a second ircd: what the client gets, and whether it may go on, at once or after a silence.
type comparison struct {
	same, done, bound bool
	client            string
}

func compare(first []string, second string, step func(n int) int) comparison {
	var tr transcript
	for _, l := range first {
		tr.heard([]byte(l))
	}
	m, c := tr.matcher(), comparison{same: true}
	for p := second; len(p) > 0 && c.same; {
		n := step(len(p))
		c.same = m.feed([]byte(p[:n]))
		p = p[n:]
	}
	c.done, c.bound = m.done(), m.bound()
	c.client = string(m.end())
	return c
}

func TestMatcher(t *testing.T) {
	const (
		looking = "NOTICE * :*** Looking up\r\n"
		caps    = "CAP * LS :sasl away-notify\r\n"
		inUse   = "433 * ann :Nickname is already in use\r\n"
		hi      = ":b 001 a :hi\r\n"
	)
	of := func(lines ...string) []string { return lines }
	two := of(":irc.a "+looking, "@time=1;msgid=x :irc.a "+caps)
	for _, c := range []struct {
		name   string
		first  []string
		second string
		want   comparison
	}{
		{"nothing to compare", nil, "x", comparison{same: true, done: true, client: "x"}},
		{"the same", two, ":irc.a " + looking + ":irc.a " + caps, comparison{same: true, done: true}},
		{"other source, tags, case and end", two, "@time=2 :irc.b Notice * :*** Looking up\n\r\ncap * LS :sasl away-notify\n", comparison{same: true, done: true}},
		{"with more behind it", two, looking + caps + hi + "hal", comparison{same: true, done: true, client: hi + "hal"}},
		{"half of it", two, looking + "CAP * LS", comparison{same: true, bound: true, client: "CAP * LS"}},
		{"other order", two, caps + looking, comparison{same: true, done: true}},
		{"one more line between", two, looking + "PING :1\r\n" + caps, comparison{same: true, done: true, client: "PING :1\r\n"}},
		{"another notice", two, "NOTICE * :other\r\n" + caps, comparison{same: true, client: "NOTICE * :other\r\n"}},
		{"other caps", two, looking + "CAP * LS :sasl\r\n", comparison{bound: true}},
		{"more caps", of(looking), caps, comparison{}},
		{"001 before the caps", two, looking + hi, comparison{bound: true}},
		{"ERROR before the caps", two, "ERROR :no\r\n", comparison{same: true, done: true, client: "ERROR :no\r\n"}},
		{"a line without end", two, strings.Repeat("x", wire.MaxLine+1), comparison{bound: true}},
		{"notices without end", two, strings.Repeat("NOTICE * :x\r\n", 1000), comparison{bound: true}},

		{"the nick is in use there, too", of(inUse), ":b 433 * ann :Nickname is already in use.\r\n", comparison{same: true, done: true}},
		{"the nick is free there", of(looking, inUse), looking + hi, comparison{same: true, done: true, client: hi}},
		{"another nick is in use there", of(inUse), "433 * bob :in use\r\n", comparison{same: true, client: "433 * bob :in use\r\n"}},
		{"both nicks", of(inUse, "433 * bob :in use\r\n", "461 * NICK :more\r\n"), "433 * bob :in use\r\n461 * NICK :more\r\n" + inUse, comparison{same: true, done: true}},
		{"twice, and once", of(inUse, inUse), inUse, comparison{same: true}},
		{"once, and twice", of(inUse), inUse + inUse, comparison{same: true, done: true, client: inUse}},
		{"a cookie", of("PING :1\r\n", inUse), "PING :1\r\n" + inUse, comparison{same: true, done: true, client: "PING :1\r\n"}},
		{"logged in", of("AUTHENTICATE +\r\n", "900 * a!b@c ann :You are\r\n", "903 * :yes\r\n"), "AUTHENTICATE +\r\n900 * a!b@d ann :You are\r\n903 x :Yes\r\n",
			comparison{same: true, done: true}},
		{"not logged in", of("AUTHENTICATE +\r\n", "900 * a!b@c ann :You are\r\n", "903 * :yes\r\n"), "AUTHENTICATE +\r\n904 * :no\r\n", comparison{bound: true}},
		{"another challenge", of("AUTHENTICATE cmF=\r\n"), "AUTHENTICATE cmG=\r\n", comparison{bound: true}},
	} {
		for _, step := range []int{1, 2, 7, 1 << 20} {
			got := compare(c.first, c.second, func(n int) int { return min(n, step) })
			if !got.same {
				got.client = c.want.client // is nobody's any more
			}
			if got != c.want {
				t.Errorf("%s in pieces of %d: %+v, want %+v", c.name, step, got, c.want)
			}
		}
	}
}

// FuzzMatcher: an ircd that says the same again under another name is swallowed, however it is split, and what follows comes out to
// the byte.
func FuzzMatcher(f *testing.F) {
	f.Add([]byte("NOTICE * :a\r\nCAP * LS :b\n\nnotice x\n"), uint64(1))
	f.Add([]byte(":s CAP x\r\n@t :s NOTICE  *  :b \r\n433 * ann :x\r\n433 * ann :x\r\n"), uint64(5))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		var tr transcript
		var first []string
		var second []byte
		for line := range wire.Lines(in) {
			tr.heard(line)
			l := lines.Parse(line)
			if len(l.Verb) == 0 || l.Is("PING") {
				continue
			}
			if first = append(first, string(line)); l.Is("001") {
				return // the caller hears it no more
			}
			second = append(append(append(append(append(second, "@x=1 :other "...), l.Verb...), ' '), l.Params...), "\r\n"...)
		}
		if !tr.reopenable() {
			return
		}
		const behind = ":other 001 a :hi\r\n:other 00"
		rnd := rand.New(rand.NewPCG(seed, 1))
		got := compare(first, string(append(bytes.Clone(second), behind...)), func(n int) int { return 1 + rnd.IntN(n) })
		if want := (comparison{same: true, done: true, client: behind}); got != want {
			t.Fatalf("%q: got %+v", second, got)
		}
	})
}
