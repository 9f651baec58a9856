package track

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// traffic is what a client hears on busy channels: mostly talk, some comings and goings, little of its own.
func traffic() []byte {
	var b strings.Builder
	for i := range 1000 {
		switch {
		case i%200 == 0:
			fmt.Fprintf(&b, ":ann!ann@host JOIN #room%d\r\n", i%3)
		case i%40 == 0:
			fmt.Fprintf(&b, ":irc.test MODE #room%d +v user%d\r\n", i%3, i)
		case i%10 == 0:
			fmt.Fprintf(&b, ":user%d!u@host.example JOIN #room%d\r\n", i, i%3)
		default:
			fmt.Fprintf(&b, ":user%d!u@host.example PRIVMSG #room%d :%s\r\n", i, i%3, strings.Repeat("word ", 10))
		}
	}
	return []byte(b.String())
}

// What tracking costs for each line beside the relay's 1 to 2 us (make bench).
func BenchmarkLines(b *testing.B) {
	r, text := welcomed(b, "ann"), traffic()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		r.FromIRCd(text)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/line")
}

// bytesPerUser is what a record costs of a user on three of thirty channels.
func bytesPerUser(t testing.TB) float64 {
	const users = 10_000
	n, all := NewNetwork(), make([]*Record, users)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range all {
		r := n.New()
		nick := fmt.Sprintf("user%d", i)
		r.FromClient([]byte("NICK " + nick + "\r\nUSER " + nick + " 0 * :User number of the many\r\n"))
		r.FromIRCd([]byte(":i 001 " + nick + " :x\r\n:i CAP x ACK :multi-prefix server-time away-notify\r\n:" + nick + " MODE " + nick + " :+ix\r\n"))
		for c := range 3 {
			r.FromIRCd(fmt.Appendf(nil, ":%s!u@h JOIN #channel%d\r\n:i 332 x #channel%d :A topic\r\n:i 353 x = #channel%d :@%s ben\r\n", nick, (i+c)%30, (i+c)%30, (i+c)%30, nick))
		}
		all[i] = r
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := len(all[users-1].Channels()); got != 3 {
		t.Fatalf("%d channels", got)
	}
	runtime.KeepAlive(all)
	return float64(after.HeapAlloc-before.HeapAlloc) / users
}

// The goal is 400 bytes for a user on three channels.
func TestBytesPerUser(t *testing.T) {
	if got := bytesPerUser(t); got > 400 {
		t.Errorf("a record costs %.0f bytes", got)
	} else {
		t.Logf("a record costs %.0f bytes", got)
	}
}
