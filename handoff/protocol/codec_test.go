package protocol

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line string
		want Message
	}{
		{"PING", Message{Verb: "PING"}},
		{"PING t=1 ", NewMessage("PING", "t", "1")},
		{"PING  t=1\r", NewMessage("PING", "t", "1")},
		{"A k= b", Message{Verb: "A", Fields: []Field{{Key: "k"}, {Key: "b", Bare: true}}}},
		{`A k=\s\r\n\0\\`, NewMessage("A", "k", " \r\n\x00\\")},
		{"A k==x=", NewMessage("A", "k", "=x=")},
		{"A m.x-y_9=\xff\xfe\x01", NewMessage("A", "m.x-y_9", "\xff\xfe\x01")},
		{"X-2 k=1", NewMessage("X-2", "k", "1")},
	} {
		got, err := Parse([]byte(c.line))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q\n got %#v, %v\nwant %#v", c.line, got, err, c.want)
		}
	}
	for _, line := range []string{"", " A", "a", "A\tb", "2A", "A k\x00", "A k=a\rb", "A k=a\nb", "A =x", "A K=x", "A k=\\", "A k=\\q", "A k k",
		"A k=1 k=2", "A \xff=1", strings.Repeat("A", 33), "A k=" + strings.Repeat("x", MaxLine), "A" + strings.Repeat(" k", 2000)} {
		if m, err := Parse([]byte(line)); err == nil {
			t.Errorf("%.40q was taken: %v", line, m)
		}
	}
}

// The sum is defined over bytes: HANDOFF.md has this very example.
func TestSumOfTheStandardsExample(t *testing.T) {
	var tally Tally
	for _, line := range []string{"CHAN n=#sea ts=1700000000 m.noextmsg\n", "USER u=i.1 nick=alice\n", "DATA u=i.1 k=x.a d=b\n", "MEMB u=i.1 c=#sea m=o\n"} {
		verb, _, _ := strings.Cut(line, " ")
		tally.Add(verb, []byte(line))
	}
	if got := FormatSum(tally.Sum); tally.Records != 3 || got != "e6610e2e" {
		t.Fatalf("%d records, sum %s", tally.Records, got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"PING t=1", "SELECT link=services.example sid=00S proto=1205", `BURST l=s.example d=:00S\sENDBURST`, `USER u=a nick=b real=\s\0 x`, "A k=\xff\r", "DATA u=a k=x d=\\"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := Parse(line)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("error of another type: %v", err)
			}
			return
		}
		if err := m.Check(); err != nil {
			t.Fatalf("parsed, but Check: %v", err)
		}
		out := m.Append(nil)
		if len(out) != m.lineLen() {
			t.Fatalf("lineLen %d, line %d", m.lineLen(), len(out))
		}
		again, err := Parse(out[:len(out)-1])
		if len(out) <= MaxLine && (err != nil || !reflect.DeepEqual(m, again)) {
			t.Fatalf("%q\n got %#v, %v\nwant %#v", line, again, err, m)
		}
	})
}

// FuzzRecord splits a record at any line length and joins it again.
func FuzzRecord(f *testing.F) {
	f.Add("#a", "key", "value with \\ and \x00", uint16(100), uint8(3))
	f.Fuzz(func(t *testing.T, name, key, value string, maxLine uint16, times uint8) {
		m := NewMessage(VerbUser, "u", "a.1", "nick", name)
		m.Set("x."+key, strings.Repeat(value, int(times)))
		m.Set("y", value)
		var sent, came Tally
		b, err := AppendRecord(nil, m, int(maxLine), &sent)
		if err != nil {
			if len(b) != 0 {
				t.Fatal("an error, and bytes all the same")
			}
			return
		}
		var j Joiner
		for line := range bytes.SplitAfterSeq(b, []byte("\n")) {
			if len(line) == 0 {
				continue
			}
			if maxLine > 0 && len(line) > int(maxLine) {
				t.Fatalf("a line of %d bytes", len(line))
			}
			p, err := Parse(line[:len(line)-1])
			if err != nil {
				t.Fatal(err)
			}
			came.Add(p.Verb, line)
			if _, done, err := j.Add(p, len(line)); done || err != nil {
				t.Fatalf("done %v, %v", done, err)
			}
		}
		got, done := j.Flush()
		if !done || !reflect.DeepEqual(got, m) || came != sent {
			t.Fatalf("got %#v\nwant %#v\n%+v %+v", got, m, came, sent)
		}
	})
}

func TestHelloRoundTrip(t *testing.T) {
	h := Hello{V: "1", Software: "a b", Version: "1.2", Name: "n.example", SID: "s", Epoch: "e", Users: 1, Unmovable: 2, Channels: 3, Links: 4, Stream: "[::1]:1",
		SKey: "k", Caps: []string{"sasl=PLAIN", "x"}, ISupport: []string{"A=b", "C"}, MaxUsers: 5, MaxLine: 5000, Feat: []string{"open", "peek"},
		Linked: []string{"services.example", "leaf.example"}, ULined: []string{"services.example"}, LinkCaps: "1205:ab12"}
	v := reflect.ValueOf(h)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Role" && name != "Pass" {
			t.Errorf("%s is not tried", name)
		}
	}
	got, err := HelloOf(h.Message())
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Fatalf("got %#v, %v\nwant %#v", got, err, h)
	}
	c := Hello{V: "1", Role: "coordinator", Name: "i", Pass: "p"}
	if got, err := HelloOf(c.Message()); err != nil || !reflect.DeepEqual(got, c) {
		t.Fatalf("got %#v, %v\nwant %#v", got, err, c)
	}
}

// FuzzFirstLine: HELLO and the stream lines, which is what a stranger can send first.
func FuzzFirstLine(f *testing.F) {
	f.Add("OPEN k=a u=b addr=::1 port=1 laddr=1.2.3.4 lport=2 tls=x certfp=y")
	f.Add("ATTACH k=a tx=0123456789abcdef0123456789abcdef u=b tok=c")
	f.Add("HELLO v=1 users=1 maxline=5000")
	f.Add(`HELLO v=1 links=2 feat=links linked=a.example\sb.example ulined=a.example linkcaps=ab12`)
	f.Add("SELECT link=services.example sid=00S proto=1205")
	f.Add(`LINK n=services.example sid=00S proto=1202 users=3 last=00AAAAAAC stay=00AAAAAAA\s00AAAAAAB`)
	f.Add(`BURST l=services.example d=:00S\sUID\s00SAAAAAA\s1\sNickServ`)
	f.Add(`REMOTE l=services.example id=00SAAAAAA c=#sea x.inspircd.delayjoin=1`)
	f.Add("END tx=0123456789abcdef0123456789abcdef channels=0 users=0 unmovable=0 links=1 records=1 sum=00000000 unheld=leaf.example")
	f.Add("CONFLICT tx=0123456789abcdef0123456789abcdef l=services.example code=link")
	f.Fuzz(func(t *testing.T, line string) {
		m, err := Parse([]byte(line))
		if err != nil {
			return
		}
		switch m.Verb {
		case VerbOpen:
			if o, err := OpenOf(m); err == nil {
				b := AppendOpen(nil, o)
				again, _ := Parse(b[:len(b)-1])
				if o2, err := OpenOf(again); err != nil || o2 != o {
					t.Fatalf("got %+v, %v, want %+v", o2, err, o)
				}
			}
		case VerbAttach:
			if a, err := AttachOf(m); err == nil {
				b := AppendAttach(nil, a)
				again, _ := Parse(b[:len(b)-1])
				if a2, err := AttachOf(again); err != nil || a2 != a {
					t.Fatalf("got %+v, %v, want %+v", a2, err, a)
				}
			}
		case "HELLO":
			HelloOf(m)
		case "END":
			endOf(m)
		case "CONFLICT":
			n := noteOf(m)
			again, _ := Parse(bytes.TrimSuffix(n.Message(m.Verb, m.Get("tx")).Append(nil), []byte("\n")))
			if noteOf(again) != n {
				t.Fatalf("got %+v, want %+v", noteOf(again), n)
			}
		case "SELECT":
			if l, err := linkOf(m); err == nil {
				if again, err := linkOf(l.message("SELECT")); err != nil || again != l {
					t.Fatalf("got %+v, %v, want %+v", again, err, l)
				}
			}
		}
		Validate(m)
		ParseStreamAnswer([]byte(line), VerbOpened, "b", "")
	})
}

// records of a big ircd: 6,000 users in 600 channels, ten memberships each.
func bigRecords() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	add := func(m Message) { b, _ = AppendRecord(b, m, 0, nil) }
	for i := range 600 {
		c := NewChan("#channel"+itoa(i), 1700000000)
		c.Set("topic", "the topic of this channel, with some words")
		c.SetMode("noextmsg")
		add(c.Message)
	}
	for i := range 6000 {
		u := NewUser("0123456789abcdef."+itoa(i), "nick"+itoa(i))
		for _, k := range []string{"ident", "rhost", "dhost", "ip", "port", "real", "signon", "idle", "account", "tls", "class", "caps", "capver", "m.invisible", "in", "out"} {
			u.Set(k, itoa(r.IntN(1e9)))
		}
		u.Set("rq", "PRIVMSG #a :hello there\r\n")
		add(u.Message)
		for range 9 {
			add(NewMemb(u.U(), "#channel"+itoa(r.IntN(600)), "").Message)
		}
	}
	return b
}

func BenchmarkParseBigExport(b *testing.B) {
	data := bigRecords()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		in := newLineReader(bytes.NewReader(data))
		var tally Tally
		for {
			m, raw, err := in.next()
			if err != nil {
				break
			}
			tally.Add(m.Verb, raw)
		}
		if tally.Users != 6000 || tally.Records != 60600 {
			b.Fatal(tally)
		}
	}
}
