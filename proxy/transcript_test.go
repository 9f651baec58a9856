package proxy

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/proxy/lines"
	"github.com/ircferry/ircferry/proxy/wire"
)

func TestTranscriptReopenable(t *testing.T) {
	long := strings.Repeat("x", 500) + "\r\n"
	for _, c := range []struct {
		name  string
		said  []string
		heard []string
		want  bool
	}{
		{"nothing yet", nil, nil, true},
		{"lines, no answer", []string{"PASS secret\r\nNICK a\r\n", "USER a 0 * :a\r\n"}, nil, true},
		{"notices and CAP", []string{"CAP LS 302\r\n"}, []string{":irc.a NOTICE * :*** Looking up\r\n", "@time=1 :irc.a CAP * LS :sasl\r\n", "notice * :x\n", "\r\n"}, true},
		{"PING", nil, []string{"PING :cookie\r\n"}, false},
		{"numeric", nil, []string{":irc.a 433 * a :in use\r\n"}, false},
		{"AUTHENTICATE", nil, []string{"AUTHENTICATE +\r\n"}, false},
		{"ERROR", nil, []string{"ERROR :no\r\n"}, false},
		{"not the verb", nil, []string{":NOTICE 433 * a :in use\r\n"}, false},
		{"8 KiB of lines", []string{strings.Repeat(long, 16)}, nil, true},
		{"over 8 KiB of lines", []string{strings.Repeat(long, 16), strings.Repeat(long, 1)}, nil, false},
		{"over 8 KiB of answers", nil, []string{"NOTICE * :" + strings.Repeat("x", 5000) + "\n", "NOTICE * :" + strings.Repeat("x", 5000) + "\n"}, false},
	} {
		var tr transcript
		for _, p := range c.said {
			tr.said([]byte(p))
		}
		for _, l := range c.heard {
			tr.heard([]byte(l))
		}
		if tr.reopenable() != c.want {
			t.Errorf("%s: reopenable %v", c.name, !c.want)
		}
		if want := strings.Join(c.said, ""); c.want && string(tr.lines) != want {
			t.Errorf("%s: lines %q, want %q", c.name, tr.lines, want)
		}
		if !c.want && (tr.lines != nil || tr.answers != nil) {
			t.Errorf("%s: keeps what is of no use", c.name)
		}
	}
}

func TestTranscriptIsZeroed(t *testing.T) {
	var tr transcript
	var arrays [][]byte
	for range 200 {
		tr.said([]byte("PASS secret\r\n"))
		tr.heard([]byte("NOTICE a :secret\r\n"))
		arrays = append(arrays, tr.lines[:cap(tr.lines)], tr.answers[:cap(tr.answers)])
	}
	tr.wipe()
	for _, a := range arrays {
		if bytes.Contains(a, []byte("secret")) {
			t.Fatal("a password is left in an array that was used")
		}
	}
}

func TestMatcher(t *testing.T) {
	first := []string{":irc.a NOTICE * :*** Looking up\r\n", "@time=1;msgid=x :irc.a CAP * LS :sasl away-notify\r\n"}
	for _, c := range []struct {
		name, second, rest string
		same, done         bool
	}{
		{"the same", ":irc.a NOTICE * :*** Looking up\r\n:irc.a CAP * LS :sasl away-notify\r\n", "", true, true},
		{"other source, tags, case and end", "@time=2 :irc.b Notice * :*** Looking up\n\r\ncap * LS :sasl away-notify\n", "", true, true},
		{"with more behind it", ":b NOTICE * :*** Looking up\r\n:b CAP * LS :sasl away-notify\r\n:b 001 a :hi\r\nhal", ":b 001 a :hi\r\nhal", true, true},
		{"half of it", ":b NOTICE * :*** Looking up\r\n:b CAP * LS", "", true, false},
		{"other caps", ":b NOTICE * :*** Looking up\r\n:b CAP * LS :sasl\r\n", "", false, false},
		{"other order", ":b CAP * LS :sasl away-notify\r\n:b NOTICE * :*** Looking up\r\n", "", false, false},
		{"one more line between", ":b NOTICE * :*** Looking up\r\nPING :1\r\n:b CAP * LS :sasl away-notify\r\n", "", false, false},
		{"longer than the first", ":b NOTICE * :*** Looking up further\r\n", "", false, false},
		{"a line without end", strings.Repeat("x", wire.MaxLine+1), "", false, false},
	} {
		for _, step := range []int{1, 2, 7, 1 << 20} {
			var tr transcript
			for _, l := range first {
				tr.heard([]byte(l))
			}
			m := tr.matcher()
			same, rest := true, ""
			for p := c.second; len(p) > 0 && same; {
				n := min(step, len(p))
				if m.done() {
					rest += p[:n]
				} else {
					var r []byte
					r, same = m.feed([]byte(p[:n]))
					rest += string(r)
				}
				p = p[n:]
			}
			if same != c.same || m.done() != c.done || rest != c.rest {
				t.Errorf("%s in pieces of %d: same %v done %v rest %q", c.name, step, same, m.done(), rest)
			}
		}
	}
	m := new(transcript).matcher()
	if rest, same := m.feed([]byte("x")); !m.done() || !same || string(rest) != "x" {
		t.Errorf("nothing to match: done %v same %v rest %q", m.done(), same, rest)
	}
}

// FuzzMatcher: an ircd that says the same again under another name is swallowed, however it is split, and what follows comes out to
// the byte; one that leaves a line out is not taken for the same.
func FuzzMatcher(f *testing.F) {
	f.Add([]byte("NOTICE * :a\r\nCAP * LS :b\n\nnotice x\n"), uint64(1))
	f.Add([]byte(":s CAP x\r\n@t :s NOTICE  *  :b \r\n"), uint64(5))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		var tr transcript
		var second []byte
		last := ""
		for line := range wire.Lines(in) {
			tr.heard(line)
			if l := lines.Parse(line); len(l.Verb) > 0 {
				second = append(append(append(append(append(second, "@x=1 :other "...), l.Verb...), ' '), l.Params...), "\r\n"...)
				last = string(l.Verb) + string(l.Params)
			}
		}
		if !tr.reopenable() || last == "" {
			return
		}
		const behind = ":other 001 a :hi\r\n:other 00"
		rnd := rand.New(rand.NewPCG(seed, 1))
		m, rest := tr.matcher(), []byte(nil)
		for p := append(bytes.Clone(second), behind...); len(p) > 0; {
			n := 1 + rnd.IntN(len(p))
			if m.done() {
				rest = append(rest, p[:n]...)
			} else {
				r, same := m.feed(p[:n])
				if !same {
					t.Fatalf("%q is not taken for the same", second)
				}
				rest = append(rest, r...)
			}
			p = p[n:]
		}
		if string(rest) != behind {
			t.Fatalf("%q is left, want %q", rest, behind)
		}
		m = tr.matcher()
		if _, same := m.feed([]byte(behind)); same || m.done() {
			t.Fatal("other answers were taken for the same")
		}
	})
}
