package lines

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/proxy/wire"
)

func newFramer(t testing.TB) *Framer {
	t.Helper()
	a, err := wire.New(wire.Options{Slots: 8, Shards: 1, MaxBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return NewFramer(a.Shard(0))
}

// stream is a client's stream into a queue, in pieces.
type stream struct {
	t testing.TB
	f *Framer
	q wire.Queue
}

func (s *stream) put(p []byte, quick bool, keep func([]byte) bool) error {
	s.t.Helper()
	out, err := s.f.Filter(&s.q, bytes.Clone(p), quick, keep)
	if aerr := s.f.shard.AppendLines(&s.q, out); aerr != nil {
		s.t.Fatal(aerr)
	}
	return err
}

// taken is the whole lines of the queue, or with all also its half line.
func (s *stream) taken(all bool) string {
	n := s.q.Whole()
	if all {
		n = s.q.Len()
	}
	return string(bytes.Join(s.f.shard.Pieces(&s.q, n, nil), nil))
}

func noSTARTTLS(line []byte) bool { return !IsSTARTTLS(line) }

func TestFilter(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"nothing to take", "PING a\r\nPRIVMSG #x :STARTTLS\r\n", "PING a\r\nPRIVMSG #x :STARTTLS\r\n"},
		{"a line|in any case", "PING a\r\nSta|rtTLS\r\nPING b\n", "PING a\r\nPING b\n"},
		{"tags, a source, blanks, parameters", "  @a=b :x  STARTTLS now\r\nPING\n", "PING\n"},
		{"the tail of a line is no line", "PRIVMSG #help :how do I use| starttls on this server?\r\nJOIN #secret\r\n",
			"PRIVMSG #help :how do I use starttls on this server?\r\nJOIN #secret\r\n"},
		{"the tail of a line, and then one", "PRIVMSG #x :a| b\r\nSTARTTLS\r\nPING\r\n", "PRIVMSG #x :a b\r\nPING\r\n"},
		{"behind a bare CR", "PING a\rSTARTTLS\r\nPING b\r\n", "PING a\r\r\nPING b\r\n"},
		{"behind a bare CR, in pieces", "PING a\r|STARTTLS\r|\nPING b\r\n", "PING a\r\r\nPING b\r\n"},
		{"before a bare CR", "STARTTLS\rPING a\r\n", "PING a\r\n"},
		{"between bare CRs", "A\rSTARTTLS\rB\r\n", "A\rB\r\n"},
		{"nothing but it, ended by CR and LF apart", "STARTTLS\r\r\nPING\r\n", "\r\nPING\r\n"},
		{"behind a bare CR, ended by LF", "A\rSTARTTLS\nB\n", "A\r\nB\n"},
		{"a half line stays", "PING a\r\nSTARTTLS", "PING a\r\n"},
		{"blank lines", "\r\n\n\r\r\n", "\r\n\n\r\r\n"},
	} {
		for _, quick := range []bool{false, true} {
			s := &stream{t: t, f: newFramer(t)}
			for piece := range strings.SplitSeq(c.in, "|") {
				if err := s.put([]byte(piece), quick, noSTARTTLS); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.taken(false); got != c.out {
				t.Errorf("%s (quick %v):\n got %q\nwant %q", c.name, quick, got, c.out)
			}
		}
	}
}

// Each line is shown once, whole, however it came, and nothing of it is left in the framer.
func TestKeepSeesWholeLines(t *testing.T) {
	s := &stream{t: t, f: newFramer(t)}
	var seen []string
	keep := func(line []byte) bool {
		seen = append(seen, string(line))
		return true
	}
	for _, piece := range []string{"PA", "SS sec", "ret\rNICK a\r\nUSE", "R", " b\nPING", " x"} {
		if err := s.put([]byte(piece), false, keep); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(seen, "|"); got != "PASS secret\r|NICK a\r\n|USER b\n" {
		t.Errorf("seen %q", got)
	}
	if bytes.Contains(s.f.text[:cap(s.f.text)], []byte("cret")) { // where the next line was shorter
		t.Error("a password stays in the framer")
	}
}

func TestTooLong(t *testing.T) {
	long := strings.Repeat("y", wire.MaxLine)
	for _, c := range []struct {
		name string
		in   []string
		out  string // all that is put into the queue
		over bool
	}{
		{"just not", []string{long[1:] + "\n"}, long[1:] + "\n", false},
		{"by one byte", []string{long + "\n"}, "", true},
		{"without an end", []string{long, "y"}, long, true},
		{"in two pieces", []string{"PING a\n" + long[:9000], long[9000:] + "\nPING b\n"}, "PING a\n" + long[:9000], true},
		{"what was before it goes on", []string{"PING a\nPING b\n" + long + "\nPING c\n"}, "PING a\nPING b\n", true},
		{"only all together", []string{long[:9000] + "\n" + long[:9000] + "\n"}, long[:9000] + "\n" + long[:9000] + "\n", false},
		{"only all together, with half a line", []string{long[:9000] + "\n" + long[:9000]}, long[:9000] + "\n" + long[:9000], false},
		{"behind one that ends in time", []string{long[:9000], long[9001:] + "\n" + long + "\n"}, long[:9000] + long[9001:] + "\n", true},
	} {
		s := &stream{t: t, f: newFramer(t)}
		var err error
		for _, piece := range c.in {
			if err = s.put([]byte(piece), false, noSTARTTLS); err != nil {
				break
			}
		}
		if over := errors.Is(err, ErrTooLong); over != c.over {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := s.taken(true); got != c.out {
			t.Errorf("%s: %d bytes %.20q, want %d", c.name, len(got), got, len(c.out))
		}
	}
}

// A full arena loses nothing that was there and says so.
func TestFilterInAFullArena(t *testing.T) {
	s := &stream{t: t, f: newFramer(t)}
	s.put([]byte(strings.Repeat("PING a\r\n", 600)+"START"), true, noSTARTTLS)
	var rest wire.Queue
	for s.f.shard.Append(&rest, make([]byte, wire.ChunkBytes)) == nil {
	}
	before := s.taken(true)
	if _, err := s.f.Filter(&s.q, []byte("TLS\r\n"), true, noSTARTTLS); !errors.Is(err, wire.ErrFull) {
		t.Errorf("without room to take the line out: %v", err)
	}
	if s.taken(true) != before {
		t.Error("the queue has changed")
	}
	if _, err := s.f.Filter(&s.q, []byte("ED\r\n"), true, noSTARTTLS); err != nil {
		t.Errorf("a line that stays needs no room: %v", err)
	}
}

// FuzzFilter: any split of a stream gives the ircd the same bytes and shows the same lines; quick and slow differ in what is shown only; no line that an
// ircd could read, by LF or by CR, is STARTTLS.
func FuzzFilter(f *testing.F) {
	f.Add([]byte("PRIVMSG #a :b starttls\r\nSTARTTLS\r\nPING a\rSTARTTLS\nx"), uint64(3))
	f.Add([]byte("\r\rSTARTTLS\r\r\n\nstarttls\n @t :s starttls x\r\r\n"), uint64(9))
	f.Add([]byte("STARTTLS\rSTARTTLS\r\nA\rSTARTTLS\rSTARTTLS\nB"), uint64(1))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		framer := newFramer(t)
		run := func(quick bool, cut func(n int) int) (string, string) {
			s := &stream{t: t, f: framer}
			defer framer.shard.Clear(&s.q)
			var shown []byte
			for p := in; len(p) > 0; {
				n := cut(len(p))
				if err := s.put(p[:n], quick, func(line []byte) bool {
					shown = append(append(shown, line...), '|')
					return noSTARTTLS(line)
				}); err != nil && !errors.Is(err, ErrTooLong) {
					t.Fatal(err)
				} else if err != nil {
					break
				}
				p = p[n:]
			}
			return s.taken(false), string(shown)
		}
		rnd := rand.New(rand.NewPCG(seed, 1))
		whole, shown := run(false, func(n int) int { return n })
		split, shownSplit := run(false, func(n int) int { return 1 + rnd.IntN(n) })
		quick, _ := run(true, func(n int) int { return 1 + rnd.IntN(n) })
		if whole != split || shown != shownSplit || whole != quick {
			t.Fatalf("whole %q shows %q\nsplit %q shows %q\nquick %q", whole, shown, split, shownSplit, quick)
		}
		for line := range strings.FieldsFuncSeq(whole, func(r rune) bool { return r == '\r' || r == '\n' }) {
			if IsSTARTTLS([]byte(line)) {
				t.Fatalf("STARTTLS goes through in %q", whole)
			}
		}
		for line := range strings.SplitSeq(whole, "\n") {
			if IsSTARTTLS([]byte(line)) {
				t.Fatalf("STARTTLS goes through in %q", whole)
			}
		}
	})
}

func TestGather(t *testing.T) {
	var g Gather
	if g.IsOther('O') || g.IsOther('E') {
		t.Error("a line has begun before anything came")
	}
	if line, rest := g.Next([]byte("OPEN"), 10); line != nil || rest != nil || g.Len() != 4 {
		t.Fatalf("%q %q %d", line, rest, g.Len())
	}
	if g.IsOther('O') || !g.IsOther('E') {
		t.Error("it begins with O")
	}
	line, rest := g.Next([]byte("ED\r\n:irc NOTICE"), 10)
	if string(line) != "OPENED\r\n" || string(rest) != ":irc NOTICE" || g.Len() != 0 {
		t.Fatalf("%q %q %d", line, rest, g.Len())
	}
	if g.Next(bytes.Repeat([]byte("p"), 30), 10); g.Len() != 10 {
		t.Errorf("%d bytes kept, want 10", g.Len())
	}
	if g.Next(bytes.Repeat([]byte("p"), 30), 10); g.Len() != 10 {
		t.Errorf("%d bytes kept, want 10", g.Len())
	}
	half := g.half
	g.Reset()
	if !bytes.Equal(half, make([]byte, 10)) {
		t.Errorf("%q is left of what waited", half)
	}
	if line, _ := g.Next([]byte("x\n"), 10); string(line) != "x\n" {
		t.Errorf("%q after Reset", line)
	}
}
