package wire

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	for _, c := range []struct {
		in    string
		cut   int
		lines []string
	}{
		{"", 0, nil},
		{"NICK a", 0, nil},
		{"\n", 1, []string{"\n"}},
		{"NICK a\r\n", 8, []string{"NICK a\r\n"}},
		{"NICK a\nUSER", 7, []string{"NICK a\n"}},
		{"a\r\n\r\nb\nc", 7, []string{"a\r\n", "\r\n", "b\n"}},
		{"a\rb\n", 4, []string{"a\rb\n"}},
		{"\x00\xff\n\n", 4, []string{"\x00\xff\n", "\n"}},
	} {
		var got []string
		for l := range Lines([]byte(c.in)) {
			got = append(got, string(l))
		}
		if Cut([]byte(c.in)) != c.cut || CountLines([]byte(c.in)) != len(c.lines) || !slices.Equal(got, c.lines) {
			t.Errorf("%q: cut %d, %d lines %q, want cut %d, lines %q", c.in, Cut([]byte(c.in)), CountLines([]byte(c.in)), got, c.cut, c.lines)
		}
	}
	for range Lines([]byte("a\nb\n")) {
		break // must not panic
	}
}

func TestTrimEOL(t *testing.T) {
	for in, want := range map[string]string{"": "", "\n": "", "\r\n": "", "a\r\n": "a", "a\n": "a", "a": "a", "a\r\r\n": "a\r"} {
		if got := TrimEOL([]byte(in)); string(got) != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestTooLong(t *testing.T) {
	full := strings.Repeat("x", MaxLine-1) + "\n"
	for _, c := range []struct {
		name string
		half int
		in   string
		want bool
	}{
		{"the longest line", 0, full, false},
		{"two of them", 0, full + full, false},
		{"one byte more", 0, "x" + full, true},
		{"one byte more, second line", 0, full + "x" + full, true},
		{"half line at the limit", 0, full + strings.Repeat("x", MaxLine), false},
		{"half line over it", 0, full + strings.Repeat("x", MaxLine+1), true},
		{"goes on after a half line", 1, full[1:], false},
		{"too long after a half line", 2, full[1:], true},
		{"the half line is of the first line only", 100, "x\n" + full, false},
		{"short lines", 5, strings.Repeat("PING x\n", 5000), false},
		{"nothing more", MaxLine, "", false},
	} {
		if got := TooLong(c.half, []byte(c.in)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// FuzzFraming: any split of any bytes gives the same lines, the same half line, and the same verdict about length.
func FuzzFraming(f *testing.F) {
	f.Add([]byte("NICK a\r\nUSER a 0 * :a\r\nPRIV"), uint64(7))
	f.Add([]byte("\n\n\r\n\r\r\n\x00\n"), uint64(1))
	f.Add(bytes.Repeat([]byte("x"), MaxLine+10), uint64(3))
	f.Add(append(bytes.Repeat([]byte("x"), MaxLine-1), "\nyy\n"...), uint64(0x5555555555555555))
	a := testArena(f, Options{Slots: 1, Shards: 1, MaxBytes: 16 << 20})
	s := a.Shard(0)
	f.Fuzz(func(t *testing.T, in []byte, split uint64) {
		s.Bind()
		var q Queue
		defer s.Clear(&q)
		var got []string
		long := false
		for rest, i := in, 0; len(rest) > 0; i++ {
			n := min(len(rest), 1+int(split>>(i*7%57))&0x3fff)
			p := rest[:n]
			rest = rest[n:]
			long = long || TooLong(int(q.Half), p)
			if err := s.AppendLines(&q, p); err != nil {
				t.Fatal(err)
			}
			whole := bytes.Join(s.Pieces(&q, q.Whole(), nil), nil)
			for l := range Lines(whole) {
				got = append(got, string(l))
			}
			s.Consume(&q, len(whole))
		}
		want := bytes.SplitAfter(in, []byte("\n"))
		half := want[len(want)-1]
		want = want[:len(want)-1]
		if len(got) != len(want) || !bytes.Equal(queued(s, &q), half) {
			t.Fatalf("%d lines and half line %q, want %d and %q", len(got), queued(s, &q), len(want), half)
		}
		wantLong := len(half) > MaxLine
		for i, l := range want {
			wantLong = wantLong || len(l) > MaxLine
			if got[i] != string(l) {
				t.Fatalf("line %d: %q, want %q", i, got[i], l)
			}
		}
		if long != wantLong {
			t.Fatalf("too long: %v, want %v", long, wantLong)
		}
	})
}

func BenchmarkCut(b *testing.B) {
	p := bytes.Repeat([]byte("PRIVMSG #channel :a line of about one hundred bytes that somebody has typed into a client, say\r\n"), 10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if TooLong(0, p) || Cut(p) != len(p) {
			b.Fatal("cut")
		}
	}
}

func BenchmarkHalfLine(b *testing.B) {
	a := testArena(b, Options{Slots: 1, Shards: 1})
	CheckOwner(false)
	defer CheckOwner(true)
	s := a.Shard(0)
	var q Queue
	p := []byte("PRIVMSG #channel :half a li")
	for b.Loop() {
		if s.AppendLines(&q, p) != nil {
			b.Fatal("full")
		}
		s.Consume(&q, len(p))
	}
}
