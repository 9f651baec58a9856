package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	r.Cleanup(cancel)
	return ctx
}

// background runs f and gives its error.
func background(f func() error) <-chan error {
	c := make(chan error, 1)
	go func() { c <- f() }()
	return c
}

// must waits for what background gives.
func (r *rig) must(what string, c <-chan error) {
	r.Helper()
	select {
	case err := <-c:
		if err != nil {
			r.Fatalf("%s: %v", what, err)
		}
	case <-time.After(patience):
		r.Fatalf("%s: not in time", what)
	}
}

// fence reads a fence of ours and answers it as an ircd does that has doubled what it has to.
func (e *end) fence(d dialectCase) {
	e.t.Helper()
	e.pong(d, e.next())
}

func (e *end) pong(d dialectCase, line string) {
	e.t.Helper()
	w := strings.Fields(line)
	if w[0] != ":00S" || w[1] != "PING" || w[len(w)-2] != "00A" || (len(w) == 5) != (d.proto == 1202) || len(w) == 5 && w[2] != "00S" {
		e.t.Fatalf("%s: %q is no fence of %d", e.name, line, d.proto)
	}
	if d.proto == 1202 {
		e.say(":00A PONG 00A 00S " + w[4])
	} else {
		e.say(":00A PONG 00S " + w[3])
	}
}

// hold is Set.Hold with an ircd that answers.
func (r *rig) hold(d dialectCase, ircd *end) *Held {
	r.Helper()
	var h *Held
	done := background(func() (err error) { h, err = r.set.Hold(r.ctx(), "main/a"); return err })
	ircd.fence(d)
	r.must("hold", done)
	return h
}

// cut lets the ircd write its marker behind a line, and what it says when it ends.
func (r *rig) cut(h *Held, peer, ircd *end, tx string) {
	r.Helper()
	done := background(func() error { return h.Cut(r.ctx(), tx) })
	ircd.say(":00A PRIVMSG #sea :last", ":00A METADATA * ircferry :"+tx, ":00A SQUIT 00S :restart", "ERROR :restart")
	r.must("cut", done)
	peer.expect(":00A PRIVMSG #sea :last")
}

var (
	open   = []string{"CAPAB START 1205", "CAPAB END", "SERVER services.example topsecret 0 00S :Services", ":00S BURST 1700000001"}
	dump   = []string{":00S SERVER child.example 0CH :child", ":00S UID 00SAAAAAB 1700000000 ChanServ", ":00S FJOIN #sea 1700000000 +nrt :oq,00SAAAAAB:17"}
	ending = []string{":00S ENDBURST"}
)

func text(lines []string) []byte { return []byte(strings.Join(lines, "\n") + "\n") }

func (r *rig) replayOf(tx string) backend.Replay {
	return backend.Replay{Link: "services.example", To: "main/a", Tx: tx, Open: text(open), Close: text(ending), Burst: slices.Values(dump)}
}

// newProcess is an ircd that takes a replay: it says hello and bursts, as it would.
func (r *rig) takeReplay(d dialectCase, ircd *end, version string) {
	r.Helper()
	ircd.say("CAPAB START 1205", "CAPAB END")
	ircd.expect(open...)
	ircd.say("SERVER irc.example otherpass 0 00A :An ircd", ":00A BURST 1700000002", ":00A SINFO version :"+version, ":00A SINFO rawversion :InspIRCd-3", ":00A ENDBURST")
	ircd.fence(d)
	ircd.expect(dump[0], ":00S SINFO version :Services 1.0", ":00S METADATA * saslmechlist :PLAIN")
	ircd.expect(dump[1:]...)
	ircd.fence(d)
	ircd.expect(ending...)
	ircd.fence(d)
}

func (r *rig) replay(d dialectCase, h *Held, tx, version string) *end {
	r.Helper()
	done := background(func() error { return h.Replay(r.ctx(), r.replayOf(tx)) })
	ircd := r.accept("a")
	r.takeReplay(d, ircd, version)
	r.must("replay", done)
	return ircd
}

// live is HeldLinks.Live while the new process says what it says at COMMIT.
func (r *rig) live(h *Held, ircd *end, tx string, quits ...backend.Quit) []backend.LinkEnd {
	r.Helper()
	ends := make(chan []backend.LinkEnd, 1)
	go func() { ends <- h.Live(r.ctx(), quits) }()
	ircd.say(":00A UID 00AAAAAAA 1 nick h h i 1 1 + :x", ":00A METADATA * ircferry :"+tx, ":00AAAAAAC MODE 00AAAAAAC -o")
	select {
	case e := <-ends:
		return e
	case <-time.After(patience):
		r.Fatal("live: not in time")
		return nil
	}
}

var dialects = []dialectCase{{proto: 1202}, {proto: 1205}, {proto: 1205, prefix: ":00S "}, {proto: 1206}}

// A restart: between the cut and LIVE the peer hears answers to its PINGs and nothing else, and everything that it says arrives, once and in order.
func TestARestartIsUnseen(t *testing.T) {
	for _, d := range dialects {
		t.Run(fmt.Sprint(d.proto, d.prefix), func(t *testing.T) {
			r := newRig(t)
			peer, ircd := r.linked(d)
			h := r.hold(d, ircd)
			ping, pong := ":00S PING 00A", ":00A PONG 00S"
			if d.proto == 1202 {
				ping, pong = ":00S PING 00S 00A", ":00A PONG 00A 00S"
			}
			peer.say(":00S PRIVMSG #sea :1", ping, ":00S PRIVMSG #sea :2")
			peer.expect(pong)
			ircd.say(":00A PING " + map[bool]string{true: "00A 00S", false: "00S"}[d.proto == 1202])
			ircd.expect(":00S PONG " + map[bool]string{true: "00S 00A", false: "00A"}[d.proto == 1202])
			r.cut(h, peer, ircd, "tx1")
			ircd.silent(20 * time.Millisecond)
			h.Part()
			if ends := h.Ends(); len(ends) != 1 || ends[0].Cause != nil || ends[0].Kept == 0 || ends[0].Away == 0 {
				t.Errorf("ends: %+v", ends)
			}
			another := ":00S PING 00B" // of a server behind the ircd
			if d.proto == 1202 {
				another = ":00S PING 00S 00B"
			}
			peer.say(ping, ":00SAAAAAB PRIVMSG #sea :3", "@x=1 "+ping, another)
			peer.expect(pong, pong)
			ircd = r.replay(d, h, "tx2", "InspIRCd-3 two")
			ircd.say(":00A METADATA * ircferry :tx1") // not ours
			if d.proto == 1202 {
				ircd.say(":00A PING 00A 00S")
				ircd.expect(":00S PONG 00S 00A")
			} else {
				ircd.say(":00A PING 00S")
				ircd.expect(":00S PONG 00A")
			}
			peer.silent(20 * time.Millisecond)
			ends := r.live(h, ircd, "tx2", backend.Quit{ID: "00AAAAAAD", Reason: "gone\r\nx"})
			h.End(nil)
			peer.expect(":00AAAAAAD QUIT :gone  x", ":00A SINFO version :InspIRCd-3 two", ":00AAAAAAC MODE 00AAAAAAC -o")
			ircd.expect(":00S PRIVMSG #sea :1", ":00S PRIVMSG #sea :2", ":00SAAAAAB PRIVMSG #sea :3", another)
			if len(ends) != 1 || ends[0].Cause != nil || ends[0].Link.Proto != d.proto || ends[0].Link.SID != "00S" {
				t.Errorf("ends: %+v", ends)
			}
			r.until("raw again", func() bool { return r.state("services.example") == Raw })
			peer.say(":00S PRIVMSG #sea :4")
			ircd.expect(":00S PRIVMSG #sea :4")
			ircd.say(":00A PRIVMSG #sea :5")
			peer.expect(":00A PRIVMSG #sea :5")
			if got, want := r.words(), "up held live"; got != want {
				t.Errorf("told: %s, want %s", got, want)
			}
			for _, secret := range []string{"secretpass", "otherpass", "topsecret", "PRIVMSG"} {
				if strings.Contains(r.log.String(), secret) {
					t.Errorf("the log has %s: %s", secret, r.log)
				}
			}
		})
	}
}

// What the ircd says behind its marker is the peer's if the move is taken back, and the marker is nobody's.
func TestResumeLosesNothing(t *testing.T) {
	for _, parted := range []string{"held", "cut", "replayed"} {
		t.Run(parted, func(t *testing.T) {
			r := newRig(t)
			peer, ircd := r.linked(anope)
			h := r.hold(anope, ircd)
			peer.say(":00S PRIVMSG #sea :kept")
			r.until("it is kept", func() bool { return h.Ends()[0].Kept > 0 })
			behind := []string{}
			if parted != "held" {
				r.cut(h, peer, ircd, "tx1")
				behind = []string{":00A SQUIT 00S :restart", "ERROR :restart"}
			}
			var other *end
			if parted == "replayed" {
				other = r.replay(anope, h, "tx1", "new")
			}
			h.Resume()
			h.End(nil)
			if other != nil {
				other.ended()
			}
			peer.expect(behind...)
			ircd.expect(":00S PRIVMSG #sea :kept")
			ircd.say(":00A METADATA * ircferry :late", ":00A PRIVMSG #sea :on")
			peer.expect(":00A PRIVMSG #sea :on")
			r.until("raw again", func() bool { return r.state("services.example") == Raw })
			if e := h.Ends(); len(e) != 1 || e[0].Cause != nil {
				t.Errorf("ends: %+v", e)
			}
			h = r.hold(anope, ircd) // and it can be held again
			r.cut(h, peer, ircd, "tx2")
			h.End(errors.New("over"))
		})
	}
}

// A marker of an export that was taken back is none for the next one.
func TestTheMarkerOfBeforeDoesNotCut(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	ircd.say(":00A METADATA * ircferry :old", ":00A PRIVMSG #sea :between")
	r.cut2(h, ircd, "new")
	peer.expect(":00A PRIVMSG #sea :between")
	peer.silent(20 * time.Millisecond)
	h.End(errors.New("over"))
	peer.ended()
	ircd.ended()
}

func (r *rig) cut2(h *Held, ircd *end, tx string) {
	r.Helper()
	done := background(func() error { return h.Cut(r.ctx(), tx) })
	ircd.say(":00A METADATA * ircferry :" + tx)
	r.must("cut", done)
}

// No marker, not a byte: the peer gets a FIN and nothing else.
func TestWithoutTheMarkerNotAByteIsPassed(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	h.Part()
	ircd = r.replay(anope, h, "tx2", "new")
	ircd.say(":00A UID 00AAAAAAA", ":00A METADATA * ircferry :tx1", ":00A METADATA * other :tx2", ":00B METADATA * ircferry :tx2", ":00A PRIVMSG #sea :burst")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ends := h.Live(ctx, []backend.Quit{{ID: "00AAAAAAD"}})
	peer.ended()
	ircd.ended()
	if len(ends) != 1 || ends[0].Cause == nil || !strings.Contains(ends[0].Cause.Error(), "marker") {
		t.Errorf("ends: %+v", ends)
	}
	h.End(nil)
}

// A peer that does not read keeps no replay from being made: what the ircd says then is not for it.
func TestAPeerThatDoesNotReadHoldsUpNoReplay(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	h.Part()
	l := r.set.all()[0]
	ping := strings.TrimSuffix(strings.Repeat(":00S PING 00A xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", 1000), "\n")
	for !l.peer.full() {
		peer.say(ping)
	}
	r.replay(anope, h, "tx2", "new")
	h.End(errors.New("over"))
}

// Five megabytes that services say meanwhile arrive in order, in pieces that are each answered.
func TestFiveMegabytesAreKeptInOrder(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	h.Part()
	const lines = 60000
	line := func(i int) string { return fmt.Sprintf(":00SAAAAAB PRIVMSG #sea :%08d %s", i, strings.Repeat("x", 50)) }
	var b strings.Builder
	for i := range lines {
		b.WriteString(line(i) + "\n")
	}
	peer.say(strings.TrimSuffix(b.String(), "\n"), ":00S PING 00A end")
	peer.expect(":00A PONG 00S end")
	ircd = r.replay(anope, h, "tx2", "InspIRCd-3 one")
	r.live(h, ircd, "tx2")
	h.End(nil)
	peer.expect(":00AAAAAAC MODE 00AAAAAAC -o")
	piece := 0
	for i := 0; i < lines; {
		got := ircd.next()
		piece += len(got) + 1
		if strings.Contains(got, " PING ") {
			if piece > maxPiece {
				t.Fatalf("a piece of %d bytes", piece)
			}
			piece = 0
			ircd.pong(anope, got)
			continue
		}
		if got != line(i) {
			t.Fatalf("line %d: %q", i, got)
		}
		i++
	}
	r.until("raw again", func() bool { return r.state("services.example") == Raw })
}

// A peer that does not stop talking has its link raw all the same as soon as what waits is one piece.
func TestABusyLinkBecomesRaw(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	h.Part()
	peer.say(strings.TrimSuffix(strings.Repeat(":00S PRIVMSG #sea :much\n", 2*maxPiece/24), "\n"))
	r.until("it is kept", func() bool { return h.Ends()[0].Kept > maxPiece })
	ircd = r.replay(anope, h, "tx2", "InspIRCd-3 one")
	r.live(h, ircd, "tx2")
	h.End(nil)
	if of := r.set.Of("main/a"); r.state("services.example") != Flushing || len(of) != 1 {
		t.Errorf("it is %s, and %v are listed", r.state("services.example"), of)
	}
	for fences := 0; r.state("services.example") != Raw; {
		if l := ircd.next(); strings.Contains(l, " PING ") {
			if fences++; fences > 3 {
				t.Fatal("it is still fed")
			}
			waits := r.set.Links()[0].Kept
			peer.say(":00S PRIVMSG #sea :and on") // before the answer, each time
			r.until("it waits too", func() bool { return r.set.Links()[0].Kept > waits })
			ircd.pong(anope, l)
		}
	}
}

// More than hold is a split of that link, and the others hear of it.
func TestTooMuchIsGivenUp(t *testing.T) {
	r := newRig(t, func(p *config.Pool) { p.Links[0].Hold = 64 << 10; p.Links = append(p.Links, leafLink) })
	peer, ircd := r.linked(anope)
	leaf, leafIrcd := r.leaf()
	h := r.holdBoth(ircd, leafIrcd)
	done := background(func() error { return h.Cut(r.ctx(), "tx1") })
	ircd.say(":00A METADATA * ircferry :tx1")
	leafIrcd.say(":00A METADATA * ircferry :tx1")
	r.must("cut", done)
	h.Part()
	peer.say(strings.Repeat(":00S PRIVMSG #sea :more and more\n", 4000))
	peer.ended()
	if left := h.Links(); len(left) != 1 || left[0].Name != "leaf.example" {
		t.Fatalf("links: %v", left)
	}
	again := r.replayOf("tx2")
	again.Link = "leaf.example"
	replayed := background(func() error { return h.Replay(r.ctx(), again) })
	leafIrcd = r.accept("a")
	leafIrcd.expect(open...)
	leafIrcd.say("SERVER irc.example otherpass 0 00A :An ircd", ":00A SINFO version :InspIRCd-3 one")
	leafIrcd.answerAll(r.must, replayed)
	ends := r.live(h, leafIrcd, "tx2")
	h.End(nil)
	leaf.expect(":00A SQUIT 00S :"+closing, ":00AAAAAAC MODE 00AAAAAAC -o")
	if len(ends) != 2 || ends[0].Cause != nil || ends[1].Cause == nil || !strings.Contains(ends[1].Cause.Error(), "64KiB") {
		t.Errorf("ends: %+v", ends)
	}
}

// A peer that leaves while it is held splits when the move is over: the ircd hears its FIN behind what it said.
func TestAPeerThatLeavesSplitsAtLive(t *testing.T) {
	for _, how := range []string{"leaves", "comes anew"} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t)
			peer, ircd := r.linked(anope)
			h := r.hold(anope, ircd)
			r.cut(h, peer, ircd, "tx1")
			h.Part()
			peer.say(":00S QUIT :last words", ":00S PING 00A")
			peer.expect(":00A PONG 00S")
			if how == "leaves" {
				peer.Conn.(*net.TCPConn).CloseWrite()
			} else {
				silent := r.dial("services.example")
				silent.Close()
				again := r.dial("services.example")
				again.say(anope.hello()...)
				peer.ended()
			}
			ircd = r.replay(anope, h, "tx2", "new")
			ends := r.live(h, ircd, "tx2")
			h.End(nil)
			ircd.expect(":00S QUIT :last words")
			ircd.ended()
			if len(ends) != 1 || ends[0].Cause == nil {
				t.Errorf("ends: %+v", ends)
			}
		})
	}
}

// A replay that fails leaves the peer held, and it is made again.
func TestAReplayThatFailsIsMadeAgain(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	h.Part()
	for _, c := range []struct {
		name, want string
		do         func(ircd *end)
	}{
		{"closed", "closed the connection", func(ircd *end) { ircd.Conn.(*net.TCPConn).CloseWrite() }},
		{"another name", "server other.example", func(ircd *end) { ircd.say("SERVER other.example x 0 00A :x") }},
		{"another id", "id 00X", func(ircd *end) { ircd.say("SERVER irc.example x 0 00X :x") }},
		{"no name", "did not say which server", func(ircd *end) { ircd.fence(anope) }},
		{"taken back", "taken back", func(ircd *end) { h.Unplay() }},
	} {
		done := background(func() error { return h.Replay(r.ctx(), r.replayOf("tx2")) })
		ircd := r.accept("a")
		ircd.expect(open...)
		c.do(ircd)
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "topsecret") {
				t.Errorf("%s: %v", c.name, err)
			}
		case <-time.After(patience):
			t.Fatalf("%s: not in time", c.name)
		}
		ircd.Close()
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	done := background(func() error { return h.Replay(ctx, r.replayOf("tx2")) })
	mute := r.accept("a")
	mute.expect(open...)
	cancel(errors.New("time is over"))
	if err := <-done; err == nil || !strings.Contains(err.Error(), "time is over") {
		t.Errorf("an ircd that does not answer: %v", err)
	}
	ircd = r.replay(anope, h, "tx3", "InspIRCd-3 one")
	r.live(h, ircd, "tx3")
	peer.expect(":00AAAAAAC MODE 00AAAAAAC -o")
	h.End(nil)
}

// A held link that nobody makes live is given up at the end, by a FIN on both sides.
func TestTheEndOfAMoveGivesUpWhatIsLeft(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	h.Part()
	h.End(errors.New("nobody takes the users"))
	h.End(nil)
	peer.ended()
	if e := h.Ends(); len(e) != 1 || e[0].Cause == nil || e[0].Cause.Error() != "nobody takes the users" {
		t.Errorf("ends: %+v", e)
	}
}

// An ircd that does not answer the fence: nothing has changed.
func TestHoldThatFailsChangesNothing(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.set.Hold(ctx, "main/a"); err == nil || !strings.Contains(err.Error(), "services.example") {
		t.Fatalf("%v", err)
	}
	late := ircd.next()
	peer.say(":00S PRIVMSG #sea :on")
	ircd.pong(anope, late)
	for l := ircd.next(); l != ":00S PRIVMSG #sea :on"; l = ircd.next() {
		ircd.pong(anope, l)
	}
	ircd.say(":00A PRIVMSG #sea :on")
	peer.expect(":00A PRIVMSG #sea :on")
}

// Nobody new is linked while a move has the backend; who comes waits, and whose handshake is under way is closed.
func TestNobodyIsLinkedDuringAMove(t *testing.T) {
	r := newRig(t, func(p *config.Pool) { p.Links = append(p.Links, leafLink) })
	half := r.dial("leaf.example")
	r.accept("a")
	half.say("CAPAB START 1205")
	r.until("it is under way", func() bool { return len(r.set.all()) == 1 })
	h, err := r.set.Hold(r.ctx(), "main/a")
	if err != nil || len(h.Links()) != 0 {
		t.Fatal(h, err)
	}
	half.ended()
	waits := r.dial("leaf.example")
	waits.say("CAPAB START 1205")
	waits.silent(50 * time.Millisecond)
	if e := h.Live(r.ctx(), nil); len(e) != 0 {
		t.Errorf("ends: %v", e)
	}
	h.End(nil)
	r.accept("a").expect("CAPAB START 1205")
}
