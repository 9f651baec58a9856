package proxy

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/ircferry/ircferry/proxy/wire"
)

// parkedLines asks parkedLine about each of the lines and gathers what is kept and what is answered.
func parkedLines(lines []byte, server string, answers []byte) (kept, answersOut []byte) {
	for line := range wire.Lines(lines) {
		answer, keep := parkedLine(line, server, false)
		if answers = append(answers, answer...); keep {
			kept = append(kept, line...)
		}
	}
	return kept, answers
}

func TestParkedLines(t *testing.T) {
	pong := func(token string) string { return ":irc.example PONG irc.example :" + token + "\r\n" }
	for _, c := range []struct{ name, in, kept, answers string }{
		{"nothing", "", "", ""},
		{"chat", "PRIVMSG #a :hello\r\nJOIN #b\n", "PRIVMSG #a :hello\r\nJOIN #b\n", ""},
		{"ping", "PING x\r\n", "", pong("x")},
		{"ping, any case", "pInG x\n", "", pong("x")},
		{"ping, trailing", "PING :two words\r\n", "", pong("two words")},
		{"ping, blanks", "  PING   LAG123 \r\n", "", pong("LAG123")},
		{"ping with a source", ":me PING x\r\n", "", pong("x")},
		{"ping to us by name", "PING x IRC.example\r\n", "", pong("x")},
		{"ping to us by name, trailing", "PING x :irc.example\r\n", "", pong("x")},
		{"ping to another server", "PING x other.example\r\n", "PING x other.example\r\n", ""},
		{"ping without a token", "PING\r\nPING :\r\n", "PING\r\nPING :\r\n", ""},
		{"tagged ping", "@label=1 PING x\r\n", "@label=1 PING x\r\n", ""},
		{"pong", "PONG :irc.example\r\nPONG\n", "", ""},
		{"tagged pong", "@label=1 PONG x\r\n", "@label=1 PONG x\r\n", ""},
		{"not pings", "PINGS x\r\nPRIVMSG a :PING x\r\n:PING x\r\nPIN\r\n", "PINGS x\r\nPRIVMSG a :PING x\r\n:PING x\r\nPIN\r\n", ""},
		{"blank lines", "\r\n\n", "\r\n\n", ""},
		{"in between", "A\r\nPING 1\r\nB\nPONG z\nPING 2\nC\r\n", "A\r\nB\nC\r\n", pong("1") + pong("2")},
	} {
		kept, answers := parkedLines([]byte(c.in), "irc.example", nil)
		if string(kept) != c.kept || string(answers) != c.answers {
			t.Errorf("%s:\n got %q and %q\nwant %q and %q", c.name, kept, answers, c.kept, c.answers)
		}
	}
}

// FuzzParkedLines: any split into calls gives the same kept lines and answers, what is kept is lines of the input in their order, and
// an answer is exactly one line.
func FuzzParkedLines(f *testing.F) {
	f.Add([]byte("A\r\nPING 1\r\n@x PING 2\nPONG z\nPRIVMSG #a :b"), uint64(3))
	f.Add([]byte("PING :\x00\xff\r\r\nPING  a irc.example\n"), uint64(9))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		in = in[:wire.Cut(in)]
		kept, answers := parkedLines(bytes.Clone(in), "irc.example", nil)
		rnd := rand.New(rand.NewPCG(seed, 1))
		var kept2, answers2, piece []byte
		for line := range wire.Lines(in) {
			if piece = append(piece, line...); rnd.IntN(2) == 0 {
				var k []byte
				k, answers2 = parkedLines(piece, "irc.example", answers2)
				kept2, piece = append(kept2, k...), nil
			}
		}
		k, answers2 := parkedLines(piece, "irc.example", answers2)
		if kept2 = append(kept2, k...); !bytes.Equal(kept, kept2) || !bytes.Equal(answers, answers2) {
			t.Fatalf("split: %q and %q, whole: %q and %q", kept2, answers2, kept, answers)
		}
		all := wire.CountLines(in)
		if n := wire.CountLines(kept) + wire.CountLines(answers); n > all {
			t.Fatalf("%d lines of %d", n, all)
		}
		rest := in
		for line := range wire.Lines(kept) {
			for {
				i := bytes.IndexByte(rest, '\n') + 1
				if i == 0 {
					t.Fatalf("kept line %q is not of the input, in order", line)
				}
				first := rest[:i]
				if rest = rest[i:]; bytes.Equal(first, line) {
					break
				}
			}
		}
		for line := range wire.Lines(answers) {
			if !bytes.HasPrefix(line, []byte(":irc.example PONG irc.example :")) || !bytes.HasSuffix(line, []byte("\r\n")) {
				t.Fatalf("answer %q", line)
			}
		}
	})
}
