package track

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func welcomed(t testing.TB, nick string) *Record {
	t.Helper()
	r := NewNetwork().New()
	r.FromClient([]byte("CAP LS 302\r\nNICK " + nick + "\r\nuser ann 0 * :Ann A.\r\nCAP END\r\n"))
	r.FromIRCd([]byte(":irc.test 001 " + nick + " :Welcome\r\n:irc.test 005 " + nick + " CASEMAPPING=ascii PREFIX=(qaohv)~&@%+ CHANMODES=beI,k,l,imnpst :are supported\r\n"))
	return r
}

// picture is a record as one line.
func picture(r *Record) string {
	parts := []string{r.Nick(), "+" + r.Modes(), "away=" + r.Away(), "account=" + r.Account(), "caps=" + strings.Join(r.Caps(), ","), "used=" + strings.Join(r.Secrets(), ",")}
	for _, m := range r.Channels() {
		parts = append(parts, m.Channel.Name+":"+m.Status+":"+m.Channel.Topic)
	}
	for l := range listKinds {
		parts = append(parts, strings.Join(r.List(l), ","))
	}
	return strings.Join(parts, " ")
}

// carried is a record in another process.
func carried(t *testing.T, r *Record) *Record {
	t.Helper()
	text, err := json.Marshal(r.State())
	if err != nil {
		t.Fatal(err)
	}
	var st State
	if err := json.Unmarshal(text, &st); err != nil {
		t.Fatal(err)
	}
	return NewNetwork().Resume(st)
}

func TestRecord(t *testing.T) {
	const me = ":ann!ann@host "
	for _, c := range []struct{ name, client, ircd, want string }{
		{"nothing", "", "", "ann + away= account= caps= used=    "},
		{"a nick", "", me + "NICK :Anna\r\n:anna!a@b JOIN #x\r\n", "Anna + away= account= caps= used= #x::    "},
		{"another's nick", "", ":ben!b@c NICK ann2\r\n", "ann + away= account= caps= used=    "},
		{"user modes", "", ":ann MODE ann :+ix\r\n" + me + "MODE ann -i+ws +c\r\n", "ann +swx away= account= caps= used=    "},
		{"user modes asked for", "", ":ann MODE ann :+ix\r\n:irc.test 221 ann +B\r\n", "ann +B away= account= caps= used=    "},
		{"away", "AWAY :gone  fishing\r\n", ":irc.test 306 ann :You have been marked as being away\r\n", "ann + away=gone  fishing account= caps= used=    "},
		{"away that was not answered", "away :gone\r\n", "", "ann + away= account= caps= used=    "},
		{"back", "AWAY x\r\nAWAY\r\n", "306 ann :x\r\n:i 305 ann :x\r\n", "ann + away= account= caps= used=    "},
		{"channels", "", me + "JOIN #a\r\n@time=1 " + me + "JOIN :#B\r\n" + me + "JOIN #c\r\n:ben!b@c JOIN #a\r\n:ben!b@c PART #a\r\n" + me + "PART #A :bye\r\n:ben!b@c KICK #C Ann :out\r\n" +
			":ben!b@c KICK #b carl :out\r\n", "ann + away= account= caps= used= #B::    "},
		{"statuses", "", me + "JOIN #a\r\n:i 353 ann = #a :@ann ~@+ben carl\r\n:i MODE #a +l-v+hvb 30 ann ann ann x!*@*\r\n:i MODE #a -h ann\r\n:i MODE #a +o ben\r\n",
			"ann + away= account= caps= used= #a:ov:    "},
		{"a list with a parameter comes before a status", "", me + "JOIN #a\r\n:i MODE #a +bkov a!*@* key ann ben\r\n", "ann + away= account= caps= used= #a:o:    "},
		{"NAMES without multi-prefix", "", me + "JOIN #a\r\n:i MODE #a +ov ann ann\r\n:i 353 ann = #a :@ann\r\n", "ann + away= account= caps= used= #a:ov:    "},
		{"NAMES with multi-prefix", "", ":i CAP ann ACK :multi-prefix\r\n" + me + "JOIN #a\r\n:i MODE #a +ov ann ann\r\n:i 353 ann = #a :+ann!a@b\r\n",
			"ann + away= account= caps=multi-prefix used= #a:v:    "},
		{"topic", "", me + "JOIN #a\r\n:i 332 ann #a :one\r\n:i 333 ann #a ben 1700000000\r\n:ben!b@c TOPIC #a :two words\r\n:ben!b@c TOPIC #other :x\r\n",
			"ann + away= account= caps= used= #a::two words    "},
		{"capabilities", "", ":i CAP ann ACK :server-time -away-notify echo-message \r\n:i CAP ann DEL :echo-message\r\n:i CAP ann ACK :batch\r\n:i CAP ann NAK :sasl\r\n",
			"ann + away= account= caps=batch,server-time used=    "},
		{"a login", "AUTHENTICATE PLAIN\r\nPASS x\r\nOPER root secret\r\n", ":i 900 ann ann!a@b Ann :You are now logged in\r\n:i 903 ann :ok\r\n:i 381 ann :You are now an IRC operator\r\n",
			"ann + away= account=Ann caps= used=SASL,OPER    "},
		{"a logout", "", ":i 900 ann ann!a@b Ann :x\r\n" + me + "ACCOUNT *\r\n", "ann + away= account= caps= used=    "},
		{"lists", "MONITOR + ben,carl,Ben\r\nMONITOR - CARL\r\nWATCH +dan -x +eve\r\nSILENCE +*!*@bad\r\nACCEPT fay,-gil,*\r\n", "", "ann + away= account= caps= used= ben dan,eve *!*@bad fay"},
		{"a full list", "MONITOR + ben,carl\r\n", ":i 734 ann 1 carl :Monitor list is full\r\n", "ann + away= account= caps= used= ben   "},
		{"an emptied list", "MONITOR + ben\r\nMONITOR C\r\n", "", "ann + away= account= caps= used=    "},
		{"what others say", "PRIVMSG #a :AWAY\r\n", ":ben!b@c PRIVMSG #a :JOIN #b\r\n:ben!b@c NOTICE ann :MODE ann +o\r\n:ann!a@b PRIVMSG ann :001 NICK x\r\n", "ann + away= account= caps= used=    "},
		{"no lines of IRC", "\r\n :\r\n@ \r\n", "\r\n:\r\n@a\r\n: MODE\r\n:i MODE #a\r\n:i 353\r\n:i 005\r\n:i 001\r\n", " + away= account= caps= used=    "},
		{"another life", "", me + "JOIN #a\r\n:ann MODE ann +i\r\n:irc.test 001 Anna :Welcome\r\n", "Anna + away= account= caps= used=    "},
	} {
		r := welcomed(t, "ann")
		r.FromClient([]byte(c.client[:len(c.client)/2]))
		r = carried(t, r)
		r.FromClient([]byte(c.client[len(c.client)/2:]))
		r.FromIRCd([]byte(c.ircd[:len(c.ircd)/2]))
		r = carried(t, r)
		r.FromIRCd([]byte(c.ircd[len(c.ircd)/2:]))
		if got := strings.ReplaceAll(picture(r), "PASS,", ""); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
		if r.User() != "ann" || r.Realname() != "Ann A." {
			t.Errorf("%s: user %q, %q", c.name, r.User(), r.Realname())
		}
		r.Drop()
		if n := len(r.net.channels); n != 0 {
			t.Errorf("%s: %d channels are left", c.name, n)
		}
	}
}

// A password is not in a record, nor in what waits for the end of a line.
func TestNoSecretIsKept(t *testing.T) {
	r := NewNetwork().New()
	r.FromClient([]byte("PASS hunter2\r\nNICK a\r\nUSER a 0 * :a\r\nAUTHENTICATE hunter2\r\nOPER root hun"))
	r.FromClient([]byte("ter2\r\n"))
	if got := picture(r); strings.Contains(got, "hunter2") || !strings.Contains(got, "used=PASS") || r.up.text != nil {
		t.Errorf("%q", got)
	}
}

func TestBounds(t *testing.T) {
	r := welcomed(t, "ann")
	var join strings.Builder
	for i := range maxChannels + 1 {
		join.WriteString(":ann!a@b JOIN #" + strings.Repeat("x", i) + "\r\n")
	}
	r.FromIRCd([]byte(join.String()))
	if len(r.Channels()) != maxChannels || !r.Overflow() {
		t.Errorf("%d channels, overflow %v", len(r.Channels()), r.Overflow())
	}
	r = welcomed(t, "ann")
	r.FromIRCd([]byte(":i MODE #" + strings.Repeat("x", 100)))
	for range 1000 {
		r.FromIRCd([]byte(strings.Repeat("y", 1000)))
	}
	if r.down.text != &skipped || !r.Overflow() {
		t.Error("a line without end is kept")
	}
	r.FromIRCd([]byte("\n:ann!a@b JOIN #a\r\n"))
	if len(r.Channels()) != 1 {
		t.Error("what is behind it is not heard")
	}
}

// A line counts wherever it was cut, also in the midst of a source that is long.
func TestLinesInTwoPieces(t *testing.T) {
	line := ":ann!~someident@" + strings.Repeat("very.", 12) + "long.example NICK bob\r\n"
	for i := range line {
		r := welcomed(t, "ann")
		r.FromIRCd([]byte(line[:i]))
		r.FromIRCd([]byte(line[i:]))
		if r.Nick() != "bob" {
			t.Fatalf("cut at %d: it is %s's", i, r.Nick())
		}
	}
}

// FuzzRecord: any bytes in any split make the same record, and no panic.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(":ann!a@b JOIN #a\r\n@t=1 :i MODE #a +o ann\r\n:ann!a@b NICK x\r\n:i CAP * ACK :a b\r\n"), uint64(1))
	f.Add([]byte(":i 353 ann = #a :@ann\r\nAWAY :x\r\n306\r\nMONITOR + a,b\r\n@"+strings.Repeat("x", 100)+" :ann MODE ann +i\n"), uint64(2))
	f.Add([]byte(":ann!a@"+strings.Repeat("h", 90)+" NICK x\r\n"), uint64(3))
	f.Add([]byte(":ann!a@"+strings.Repeat("h", 3300)+" NICK x\r\n"), uint64(14))
	f.Add([]byte(":ann!a@b NICK x "+strings.Repeat("y", maxHalf)+"\r\n:ann!"+strings.Repeat("z", maxHalf)+" NICK x\r\n"), uint64(4))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		feed := func(cut func(int) int) string {
			r := welcomed(t, "ann")
			for _, take := range []func([]byte){r.FromIRCd, r.FromClient} {
				for p := slices.Clone(in); len(p) > 0; {
					n := cut(len(p))
					take(p[:n])
					p = p[n:]
				}
			}
			return fmt.Sprint(picture(r), r.Overflow())
		}
		whole, split := feed(func(n int) int { return n }), feed(func(n int) int { return 1 + rnd.IntN(n) })
		if whole != split {
			t.Fatalf("%q\nwhole %q\nsplit %q", in, whole, split)
		}
	})
}
