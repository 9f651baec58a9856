package link

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// What is known of the server protocol, line by line, as both ends write it.
func TestDialect(t *testing.T) {
	old, now := dialect{proto: 1202, peer: "00S", ircd: "00A"}, dialect{proto: 1205, peer: "00S", ircd: "00A"}
	for _, c := range []struct {
		name string
		f    func(message) (string, bool)
		line string
		want string // "": it is none
	}{
		{"PING of the peer", now.pong, ":00S PING 00A", ":00A PONG 00S\n"},
		{"with a colon", now.pong, ":00S PING :00A\r\n", ":00A PONG 00S\n"},
		{"with tags", now.pong, "@time=1;x :00S PING 00A", ":00A PONG 00S\n"},
		{"with a token", now.pong, ":00S PING 00A tok", ":00A PONG 00S tok\n"},
		{"for a server behind the ircd", now.pong, ":00S PING 00B", ""},
		{"of a server behind the peer", now.pong, ":00C PING 00A", ""},
		{"without a source", now.pong, "PING 00A", ""},
		{"without a parameter", now.pong, ":00S PING", ""},
		{"another command", now.pong, ":00S PINGS 00A", ""},
		{"PING of 1202", old.pong, ":00S PING 00S 00A", ":00A PONG 00A 00S\n"},
		{"of 1202 for a server behind the ircd", old.pong, ":00S PING 00S 00B", ""},
		{"of 1202 with one parameter", old.pong, ":00S PING whatever", ":00A PONG whatever\n"},
		{"PING of the ircd", now.ircdPong, ":00A PING 00S", ":00S PONG 00A\n"},
		{"of the ircd with a token", now.ircdPong, ":00A PING 00S tok", ":00S PONG 00A tok\n"},
		{"of the ircd for a server behind the peer", now.ircdPong, ":00A PING 00C", ""},
		{"of the ircd, to 1202", old.ircdPong, ":00A PING 00A 00S", ":00S PONG 00S 00A\n"},
		{"of a server behind the ircd", now.ircdPong, ":00B PING 00S", ""},
		{"answer to a fence", now.answer, ":00A PONG 00S tok", "tok"},
		{"to a fence of 1202", old.answer, ":00A PONG 00A 00S tok", "tok"},
		{"to a PING of another server", now.answer, ":00A PONG 00C tok", ""},
		{"of another server", now.answer, ":00B PONG 00S tok", ""},
		{"without a token", now.answer, ":00A PONG 00S", ""},
		{"marker", now.marker, ":00A METADATA * ircferry :1f77", "1f77"},
		{"marker with tags", now.marker, "@inspircd.org/x=y :00A METADATA * ircferry :1f77\r\n", "1f77"},
		{"marker of another server", now.marker, ":00B METADATA * ircferry :1f77", ""},
		{"of a channel", now.marker, ":00A METADATA #c ircferry :1f77", ""},
		{"another key", now.marker, ":00A METADATA * ircferryx :1f77", ""},
		{"said by a user", now.marker, ":00AAAAAAB PRIVMSG #c ::00A METADATA * ircferry :1f77", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := c.f(parse([]byte(c.line))); got != c.want || ok != (c.want != "") {
				t.Errorf("got %q (%v), want %q", got, ok, c.want)
			}
		})
	}
}

// How ends introduce themselves.
func TestIntroductions(t *testing.T) {
	for _, c := range []struct {
		name, lines string
		want        intro
	}{
		{"services of 1202", "CAPAB START 1202|CAPAB END|SERVER services.example pass 0 00S :Services|:00S BURST 1|:00S ENDBURST", intro{1202, "services.example", "00S", true}},
		{"Anope", ":00S CAPAB START 1205|:00S SERVER services.example pass 0 00S :Services", intro{1205, "services.example", "00S", false}},
		{"InspIRCd 4", "CAPAB START 1206|SERVER irc.example pass 00A :x", intro{1206, "irc.example", "00A", false}},
		{"a server behind it", "CAPAB START 1205|SERVER a.example pass 0 00A :x|:00A SERVER b.example 00B :x|:00B ENDBURST", intro{1205, "a.example", "00A", false}},
		{"a password that looks like an id", "SERVER a.example 0AA 0 00A :x", intro{0, "a.example", "00A", false}},
		{"no id", "SERVER a.example pass 0 nothing :x|:00A ENDBURST", intro{}},
		{"a number that is none", "CAPAB START x", intro{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var i intro
			for _, l := range strings.Split(c.lines, "|") {
				i.hear(parse([]byte(l)))
			}
			if i != c.want {
				t.Errorf("got  %+v\nwant %+v", i, c.want)
			}
		})
	}
}

// The last line of each kind is remembered, within bounds, and comes back for servers that are still there.
func TestMemory(t *testing.T) {
	var m memory
	note := func(lines ...string) {
		for _, l := range lines {
			m.note(parse([]byte(l)), []byte(l))
		}
	}
	note(":00S SINFO version :one\n", ":00C SINFO version :child\n", ":00S METADATA * saslmechlist :PLAIN\n", ":00S SINFO version :two\n", ":00S SINFO fullversion :x\n",
		":00S METADATA * ircferry :tx\n", ":00S METADATA #c mlock :nt\n", ":00S METADATA 00SAAAAAB accountname :x\n", ":00S METADATA * short\n", ":00S PRIVMSG #c :SINFO\n", "SINFO version :x\n", ":00S SINFO short\n")
	all := func(sids ...string) string {
		servers := map[string]bool{}
		for _, s := range sids {
			servers[s] = true
		}
		return strings.Join(slices.Collect(m.of(servers)), "")
	}
	if got, want := all("00S"), ":00S SINFO version :two\n:00S METADATA * saslmechlist :PLAIN\n:00S SINFO fullversion :x\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := all("00C"); got != ":00C SINFO version :child\n" {
		t.Errorf("got %q", got)
	}
	next := memory{}
	for _, l := range []string{":00S SINFO version :two\n", ":00S SINFO fullversion :y\n", ":00S SINFO rawversion :z\n"} {
		next.note(parse([]byte(l)), []byte(l))
	}
	if got, want := strings.Join(m.changed(&next), ""), ":00S SINFO fullversion :y\n:00S SINFO rawversion :z\n"; got != want {
		t.Errorf("changed: got %q, want %q", got, want)
	}
	for i := range 2 * maxRemembered {
		note(":00S METADATA * key" + strings.Repeat("x", i%1000) + string(rune('0'+i%10)) + " :" + strings.Repeat("v", 1000) + "\n")
	}
	if len(m.order) > maxRemembered || m.size > maxRememberedBytes || len(m.lines) != len(m.order) {
		t.Errorf("%d lines of %d bytes are remembered", len(m.order), m.size)
	}
}

// What a server has said goes with it, and with the server that it was behind.
func TestMemoryOfGoneServers(t *testing.T) {
	lines := []string{":00S SERVER services.example pw 0 00S :itself", ":00S SERVER child.example 0CH hidden=1 :x", ":0CH SERVER grand.example * 2 0GR :x", ":00S SERVER other.example 00X :x",
		":00S SINFO version :s", ":0CH SINFO version :c", ":0GR SINFO version :g", ":00X SINFO version :x", ":0GR METADATA * saslmechlist :PLAIN"}
	for _, c := range []struct{ name, squit, left string }{
		{"by id", ":00S SQUIT 0CH :gone", "00S 00X"},
		{"by name, and without a source", "SQUIT Child.Example :gone", "00S 00X"},
		{"the last in a row", ":0CH SQUIT 0GR :gone", "00S 0CH 00X"},
		{"who is not there", ":00S SQUIT 0ZZ :gone", "00S 0CH 0GR 00X 0GR"},
		{"nobody named", ":00S SQUIT", "00S 0CH 0GR 00X 0GR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m memory
			for _, l := range append(slices.Clone(lines), c.squit) {
				m.note(parse([]byte(l)), []byte(l))
			}
			var left []string
			size := 0
			for _, key := range m.order {
				left, size = append(left, m.lines[key].source), size+len(m.lines[key].line)
			}
			if got := strings.Join(left, " "); got != c.left || size != m.size || len(m.order) != len(m.lines) {
				t.Errorf("remembered is what %s said, want %s; %d of %d bytes, %d of %d lines", got, c.left, m.size, size, len(m.order), len(m.lines))
			}
		})
	}
	var m memory
	for i := range 3 * maxRemembered { // a server that comes back with another id each time leaves nothing
		sid := string([]byte{'0' + byte(i/1296%10), "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[i/36%36], "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[i%36]})
		for _, l := range []string{":peer SERVER leaf.example " + sid + " :x", ":" + sid + " SINFO version :x", ":peer SQUIT " + sid + " :x"} {
			m.note(parse([]byte(l)), []byte(l))
		}
	}
	if len(m.servers)+len(m.order)+len(m.lines)+m.size > 0 {
		t.Errorf("left are %d servers, %d lines", len(m.servers), len(m.order))
	}
}

// What was kept comes back, whole lines, in order, whatever the pieces.
func TestKept(t *testing.T) {
	var k kept
	var want bytes.Buffer
	for i := range 5000 {
		line := []byte(strings.Repeat("x", i%300) + "\n")
		if i%1000 == 0 {
			line = append(bytes.Repeat([]byte("y"), maxLine), '\n')
		}
		k.add(line)
		want.Write(line)
	}
	if k.size != int64(want.Len()) {
		t.Errorf("%d bytes, want %d", k.size, want.Len())
	}
	var got bytes.Buffer
	for n := 1; ; n = n%maxPiece + 97 {
		piece := k.take(n)
		if piece == nil {
			break
		}
		if piece[len(piece)-1] != '\n' || len(piece) > n && bytes.Count(piece, []byte("\n")) > 1 {
			t.Fatalf("a piece of %d bytes for %d", len(piece), n)
		}
		got.Write(piece)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) || k.size != 0 {
		t.Error("other lines came back")
	}
}

// Whatever is said, a line is taken apart without a panic, and lines are the same however the bytes are split.
func FuzzLines(f *testing.F) {
	for _, l := range []string{":00S PING 00A\r\n", "@a :b c :d\n", ":\n", "@\n@ \n: \n", "  \n\n", ":00A METADATA * ircferry :x\nSERVER a b 0 00A :x"} {
		f.Add([]byte(l), uint16(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint16) {
		cut := func(parts ...[]byte) (lines []string, rest string) {
			var s side
			for _, p := range parts {
				s.take(p)
				for l, ok := s.line(); ok; l, ok = s.line() {
					lines = append(lines, string(l))
				}
			}
			return lines, string(s.buf)
		}
		n := min(int(at), len(data))
		whole, rest := cut(data)
		split, restSplit := cut(data[:n], data[n:])
		if !slices.Equal(whole, split) || rest != restSplit || strings.Join(whole, "")+rest != string(data) {
			t.Fatalf("%q and %q: %q, %q", data[:n], data[n:], whole, split)
		}
		d, i, m := dialect{proto: 1202, peer: "00S", ircd: "00A"}, intro{}, memory{}
		for _, l := range whole {
			msg := parse([]byte(l))
			d.pong(msg)
			d.ircdPong(msg)
			d.answer(msg)
			d.marker(msg)
			i.hear(msg)
			m.note(msg, []byte(l))
		}
	})
}
