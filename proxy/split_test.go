package proxy

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/lines"
	"github.com/ircferry/ircferry/proxy/wire"
)

// talk is one user's conversation, with what each side has said and got in all.
type talk struct {
	*rig
	x   *user
	rnd *rand.Rand
	at  *native

	mu     sync.Mutex // what the ircd has read and written, on the present stream and in all
	cond   *sync.Cond
	in     int
	read   bytes.Buffer
	out    int
	said   bytes.Buffer
	ended  bool
	ircdly chan struct{} // closed when the reader of the present stream has ended
}

func newTalk(r *rig, a *native, seed uint64) *talk {
	k := &talk{rig: r, x: r.user(a, "ann"), at: a, rnd: rand.New(rand.NewPCG(seed, 5))}
	k.cond = sync.NewCond(&k.mu)
	k.in, k.out = int(k.x.in), int(k.x.out)
	k.listen()
	return k
}

// listen reads the present stream to its end.
func (k *talk) listen() {
	server, over := k.x.server, make(chan struct{})
	k.ircdly = over
	go func() {
		defer close(over)
		buf := make([]byte, 32<<10)
		for {
			n, err := server.r.Read(buf)
			k.mu.Lock()
			k.in += n
			k.read.Write(buf[:n])
			k.ended = err == io.EOF
			k.cond.Broadcast()
			k.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
}

// say has the ircd say some of a line or several.
func (k *talk) say() {
	k.mu.Lock()
	defer k.mu.Unlock()
	line := fmt.Sprintf(":irc PRIVMSG ann :%d %s\r\n", k.said.Len(), strings.Repeat("z", k.rnd.IntN(300)))
	line = line[k.rnd.IntN(2)*k.rnd.IntN(10):] + line[:k.rnd.IntN(len(line))]
	k.out += len(line)
	k.said.WriteString(line)
	k.x.server.send(line)
}

// move freezes the user, and thaws him or moves him to the other ircd, with what a real one would give along.
func (k *talk) move(other *native) {
	k.t.Helper()
	fs, err := k.Freeze(ctxOf(k.t), "main/"+k.at.name)
	if err != nil || len(fs) != 1 {
		k.t.Fatal(fs, err)
	}
	k.mu.Lock()
	for k.in < int(fs[0].In) {
		k.cond.Wait()
	}
	if k.in != int(fs[0].In) {
		k.t.Errorf("the ircd has read %d bytes, the proxy says that it wrote %d", k.in, fs[0].In)
	}
	cut := []backend.Cut{{U: k.x.u, Out: uint64(k.out)}}
	k.mu.Unlock()
	if k.rnd.IntN(4) == 0 {
		one(k.t, k.Thaw([]string{k.x.u}), "")
		return
	}
	one(k.t, k.ReadUp(ctxOf(k.t), cut), "")
	old := k.x.server
	if k.rnd.IntN(2) == 0 {
		k.Park([]string{k.x.u}, "irc.a")
	}
	sq := fmt.Sprintf(":irc PRIVMSG ann :what the old one had not sent %d\r\n", k.rnd.IntN(9))
	k.said.WriteString(sq)
	server := k.attach(k.x, other)
	done := make(chan []backend.Moved, 1)
	go func() {
		done <- k.Splice(ctxOf(k.t), "main/"+other.name, []backend.Splice{{U: k.x.u, RQ: []byte("RQ of the old ircd\r\n"), SQ: []byte(sq)}})
	}()
	server.send("LIVE u=" + k.x.u + "\n")
	old.SetReadDeadline(time.Now()) // whatever comes now is no line
	<-k.ircdly
	k.mu.Lock()
	k.in, k.out, k.ended = 0, 0, false
	k.mu.Unlock()
	k.x.server, k.at = server, other
	k.listen()
	one(k.t, <-done, "")
}

// maybeRead waits, mostly, until the proxy has read what was sent, so that a piece is a read; a frozen client is not read, so not for long.
func (k *talk) maybeRead(rnd *rand.Rand, sent int) {
	for range rnd.IntN(20) {
		if all, _ := k.Sessions(ctxOf(k.t)); len(all) == 1 && all[0].BytesIn >= uint64(sent)+uint64(len("NICK ann\r\n")) {
			return
		}
	}
}

// clientStream is what a client may say: lines of all sorts, STARTTLS in all places, and a half line.
func clientStream(rnd *rand.Rand) []byte {
	var b bytes.Buffer
	for range 150 {
		eol := []string{"\r\n", "\r\n", "\r\n", "\n", "\r\r\n"}[rnd.IntN(5)]
		switch rnd.IntN(8) {
		case 0:
			b.WriteString([]string{"STARTTLS", "starttls now", "@a=b :x  StartTLS", "  STARTTLS"}[rnd.IntN(4)] + eol)
		case 1:
			b.WriteString("PRIVMSG #a :b\rSTARTTLS" + eol)
		case 2:
			b.WriteString("STARTTLS\rPRIVMSG #a :c" + eol)
		case 3:
			b.WriteString("PRIVMSG #help :how do I use starttls on this server?" + eol)
		case 4:
			fmt.Fprintf(&b, "PRIVMSG #a :%s%s", strings.Repeat("y", rnd.IntN(9000)), eol)
		case 5:
			b.WriteString(eol)
		default:
			fmt.Fprintf(&b, "PRIVMSG #a :%d STARTTLS%s", b.Len(), eol)
		}
	}
	b.WriteString("QUIT :half a li")
	return b.Bytes()
}

// filtered is what of a client's stream an ircd must get, and how many STARTTLS were in it, reckoned in one piece.
func filtered(t *testing.T, in []byte) (string, int) {
	a, err := wire.New(wire.Options{Slots: 1, Shards: 1, MaxBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	refused := 0
	out, err := lines.NewFramer(a.Shard(0)).Filter(&wire.Queue{}, bytes.Clone(in), false, func(line []byte) bool {
		if lines.IsSTARTTLS(line) {
			refused++
			return false
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out[:wire.Cut(out)]), refused
}

// withoutRefusals takes the 691 lines out, which must be lines of their own.
func withoutRefusals(got string) (rest string, refused int) {
	var b strings.Builder
	for line := range strings.Lines(got) {
		if line == startTLSRefused {
			refused++
			continue
		}
		b.WriteString(line)
	}
	return b.String(), refused
}

// Whatever pieces a client's stream comes in, as reads or TLS records, whatever the ircd says meanwhile and however often the user is moved: the ircds get
// the same lines, in order, and the client gets what they say, with a refusal for each STARTTLS in between two lines.
func TestAnySplitGivesTheIrcdTheSameLines(t *testing.T) {
	seeds := 8
	if os.Getenv("CI") == "" {
		seeds = 25
	}
	r, a, b := moves(t, config.Listener{})
	first := uint64(time.Now().UnixNano())
	for seed := first; seed < first+uint64(seeds); seed++ {
		k := newTalk(r, a, seed)
		in := clientStream(k.rnd)
		want, refusals := filtered(t, in)
		got := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(k.x.client.r)
			got <- string(b)
		}()
		speaks := make(chan struct{})
		pieces := rand.New(rand.NewPCG(seed, 6))
		go func() {
			defer close(speaks)
			for p := in; len(p) > 0; {
				n := min(len(p), 1+pieces.IntN([]int{3, 40, 700, 9000, 70_000}[pieces.IntN(5)]))
				if at := bytes.Index(bytes.ToUpper(p[1:]), []byte("STARTTLS")); at >= 0 && pieces.IntN(2) == 0 {
					n = at + pieces.IntN(2) // before the word, or before the blank before it
				}
				if n > 0 {
					k.x.client.send(string(p[:n]))
					p = p[n:]
					k.maybeRead(pieces, len(in)-len(p))
				}
			}
			k.x.client.CloseWrite()
		}()
		moves := 0
		for range 4 {
			for range k.rnd.IntN(6) {
				k.say()
			}
			if k.rnd.IntN(3) > 0 {
				other := b
				if k.at == b {
					other = a
				}
				at := k.at
				if k.move(other); k.at != at {
					moves++
				}
			}
		}
		<-speaks
		k.mu.Lock()
		for !k.ended {
			k.cond.Wait()
		}
		read := strings.ReplaceAll(k.read.String(), "RQ of the old ircd\r\n", "")
		rqs := strings.Count(k.read.String(), "RQ of the old ircd\r\n")
		k.mu.Unlock()
		end := ":irc ERROR :bye\r\n"
		k.said.WriteString("\r\n" + end)
		k.x.server.send("\r\n" + end)
		k.x.server.Close()
		if read != want || rqs != moves {
			t.Errorf("seed %d: the ircds got %d bytes and %d leftovers in %d moves, want %d bytes: %s", seed, len(read), rqs, moves, len(want), difference(read, want))
		}
		heard, refused := withoutRefusals(<-got)
		if said := strings.TrimPrefix(k.said.String(), ":irc 001 ann :hello\r\n"); heard != said || refused != refusals {
			t.Errorf("seed %d: the client got %d bytes and %d refusals, want %d and %d: %s", seed, len(heard), refused, len(said), refusals, difference(heard, said))
		}
		if t.Failed() {
			return
		}
	}
}

// difference shows where two texts part.
func difference(got, want string) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("at byte %d: got %.60q, want %.60q", i, got[i:], want[i:])
}
