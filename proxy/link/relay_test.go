package link

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// Whatever the splits, both sides get what the other one said, to the byte, with tags, CRs, empty lines and the half line of an end.
func TestRelayIsByteExact(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	r := newRig(t)
	peer, ircd := r.linked(anope)
	var text bytes.Buffer
	for text.Len() < 3<<20 {
		switch rnd.IntN(8) {
		case 0:
			fmt.Fprintf(&text, "@time=2023;x=%d :00SAAAAAB PRIVMSG #sea :%s\r\n", rnd.Int(), strings.Repeat("ä", rnd.IntN(200)))
		case 1:
			text.WriteString("\r\n")
		case 2:
			fmt.Fprintf(&text, ":00B METADATA * ircferry :%d\n", rnd.Int()) // of another server's proxy
		case 3:
			fmt.Fprintf(&text, ":00S PONG 00A x%d\n", rnd.Int())
		default:
			fmt.Fprintf(&text, ":00S FJOIN #%d 1700000000 +nt :%s\n", rnd.Int(), strings.Repeat("o,00SAAAAAB:1 ", rnd.IntN(300)))
		}
	}
	text.WriteString(":00S half a li")
	want := text.Bytes()
	for _, way := range []struct{ from, to *end }{{ircd, peer}, {peer, ircd}} {
		go func() {
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+rnd.IntN(40000))
				way.from.Write(rest[:n])
				rest = rest[n:]
			}
		}()
		got := make([]byte, len(want)-len(":00S half a li"))
		way.to.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(way.to.r, got); err != nil || !bytes.HasPrefix(want, got) {
			t.Fatalf("got other bytes (%v)", err)
		}
	}
	peer.Conn.(*net.TCPConn).CloseWrite()
	ircd.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(ircd.r)
	if err != nil || string(rest) != ":00S half a li" {
		t.Errorf("before its end the ircd got %q, %v", rest, err)
	}
}

// Who may not connect is closed, and the ircd never hears of him.
func TestOnlyThoseOfAllowMayConnect(t *testing.T) {
	r := newRig(t, func(p *config.Pool) { p.Links[0].Allow = nets("192.0.2.0/24") })
	r.dial("services.example").ended()
	r.until("it is told", func() bool { return strings.Contains(r.log.String(), "reason=address") })
}

// A peer that is another one than links says is closed before the ircd hears its name.
func TestAPeerByAnotherNameIsClosed(t *testing.T) {
	r := newRig(t, func(p *config.Pool) { p.Links[0].Name = "leaf.example" })
	peer, ircd := r.dial("leaf.example"), r.accept("a")
	hello := anope.hello()
	peer.say(hello...)
	ircd.expect(hello[:3]...)
	ircd.ended()
	peer.ended()
	if text := r.log.String(); !strings.Contains(text, "services.example") || strings.Contains(text, "secretpass") {
		t.Errorf("log: %s", text)
	}
}

// A line without an end is not kept for ever.
func TestALineThatIsTooLongEndsTheLink(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	peer.Write(bytes.Repeat([]byte("x"), maxLine+readSize+1))
	ircd.ended()
	peer.ended()
}

// With dial it is the ircd that connects, and we connect to the peer.
func TestTheIrcdDials(t *testing.T) {
	far := listen(t)
	r := newRig(t, func(p *config.Pool) { p.Links[0].Dial = far.Addr().String() })
	ircd := r.dial("services.example")
	c, err := far.Accept()
	if err != nil {
		t.Fatal(err)
	}
	peer := newEnd(t, "peer", c)
	r.handshake(peer, ircd, dialectCase{proto: 1205})
	if i := r.set.all()[0].picture(); i.Backend != "main/a" || i.SID != "00S" || i.Server != "irc.example" {
		t.Errorf("%+v", i)
	}
	r.until("it is up", func() bool { return r.state("services.example") == Raw })
	r.dial("services.example").ended() // a twin: the peer does not hear of it
	far.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
	if c, err := far.Accept(); err == nil {
		c.Close()
		t.Error("the peer was dialled for a twin")
	}
	r.until("it is told", func() bool { return strings.Contains(r.log.String(), "reason=twin") })
	peer.say(":00S PRIVMSG #sea :on")
	ircd.expect(":00S PRIVMSG #sea :on")
}

// The end of either side reaches the other one.
func TestEndsArePassed(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	ircd.say(":00A SQUIT 00S :bye")
	ircd.Close()
	peer.expect(":00A SQUIT 00S :bye")
	peer.ended()
	peer.Close()
	r.until("no link is left", func() bool { return len(r.set.all()) == 0 })
	peer, ircd = r.linked(anope)
	peer.Close()
	ircd.ended()
}

// A backend that is not ready gets no new link; the next one does.
func TestTheNextBackendGetsTheLink(t *testing.T) {
	r := newRig(t)
	b, _ := r.backends.Backend("main/a")
	if err := b.SetAdmin("drain"); err != nil {
		t.Fatal(err)
	}
	peer := r.dial("services.example")
	r.handshake(peer, r.accept("b"), anope)
}
