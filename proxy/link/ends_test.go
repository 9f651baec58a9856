package link

import (
	"errors"
	"net"
	"strings"
	"testing"
)

// fin ends one end's side.
func (e *end) fin() { e.Conn.(*net.TCPConn).CloseWrite() }

// gone waits until a link has gone.
func (r *rig) gone() {
	r.Helper()
	r.until("the link is gone", func() bool { return len(r.set.all()) == 0 })
}

// kept makes the peer say a line, and waits until it is kept.
func (r *rig) kept(h *Held, peer *end, line string) {
	r.Helper()
	before := h.Ends()[0].Kept
	peer.say(line)
	r.until("it is kept", func() bool { return h.Ends()[0].Kept > before })
}

// The ircd ends at each step of a move.
func TestTheIrcdEndsAtEachStep(t *testing.T) {
	begin := func(t *testing.T) (r *rig, peer, ircd *end, h *Held) {
		r = newRig(t)
		peer, ircd = r.linked(anope)
		return r, peer, ircd, r.hold(anope, ircd)
	}
	caused := func(t *testing.T, h *Held, want string) {
		t.Helper()
		if e := h.Ends(); len(e) != 1 || e[0].Cause == nil || !strings.Contains(e[0].Cause.Error(), want) {
			t.Errorf("ends: %+v, want %q", e, want)
		}
	}
	t.Run("held", func(t *testing.T) {
		r, peer, ircd, h := begin(t)
		cut := background(func() error { return h.Cut(r.ctx(), "tx1") })
		ircd.say(":00A PRIVMSG #sea :last words")
		ircd.fin()
		peer.expect(":00A PRIVMSG #sea :last words")
		peer.ended()
		if err := <-cut; err == nil || !strings.Contains(err.Error(), "services.example") {
			t.Errorf("cut: %v", err)
		}
		caused(t, h, "ended (ircd)")
		if len(h.Links()) != 0 {
			t.Error("it is held still")
		}
		h.End(nil)
	})
	t.Run("cut, and nobody comes back", func(t *testing.T) {
		r, peer, ircd, h := begin(t)
		r.cut(h, peer, ircd, "tx1")
		ircd.Close()
		h.Part()
		if err := h.Cut(r.ctx(), "tx1"); err == nil {
			t.Error("it was cut twice")
		}
		h.Resume() // there is no process to go back to
		peer.ended()
		caused(t, h, "no process to go back to")
		h.End(nil)
	})
	t.Run("cut, and the freeze was over", func(t *testing.T) {
		r, peer, ircd, h := begin(t)
		r.cut(h, peer, ircd, "tx1")
		ircd.fin()
		h.Resume()
		peer.expect(":00A SQUIT 00S :restart", "ERROR :restart")
		peer.ended()
		h.End(nil)
	})
	t.Run("replayed", func(t *testing.T) {
		r, peer, ircd, h := begin(t)
		r.cut(h, peer, ircd, "tx1")
		h.Part()
		ircd = r.replay(anope, h, "tx2", "new")
		ircd.fin()
		r.until("it is seen", func() bool { return r.state("services.example") == Cut })
		h.Live(r.ctx(), nil)
		peer.ended()
		caused(t, h, "closed the connection")
		h.End(nil)
	})
	t.Run("behind the marker", func(t *testing.T) {
		r, peer, ircd, h := begin(t)
		r.cut(h, peer, ircd, "tx1")
		h.Part()
		ircd = r.replay(anope, h, "tx2", "InspIRCd-3 one")
		ircd.say(":00A METADATA * ircferry :tx2", ":00A PRIVMSG #sea :last words")
		ircd.fin()
		if e := h.Live(r.ctx(), nil); e[0].Cause != nil {
			t.Errorf("ends: %+v", e)
		}
		peer.expect(":00A PRIVMSG #sea :last words")
		peer.ended()
		h.End(nil)
	})
	t.Run("fed", func(t *testing.T) {
		r, peer, ircd, h := begin(t)
		r.cut(h, peer, ircd, "tx1")
		h.Part()
		r.kept(h, peer, strings.TrimSuffix(strings.Repeat(":00S PRIVMSG #sea :much\n", maxPiece/8), "\n"))
		ircd = r.replay(anope, h, "tx2", "InspIRCd-3 one")
		r.live(h, ircd, "tx2")
		h.End(nil)
		peer.expect(":00AAAAAAC MODE 00AAAAAAC -o")
		ircd.fin()
		peer.ended()
		peer.Close()
		r.gone()
	})
}

// The peer ends at each step of a move: its FIN is passed when an ircd can hear it, behind all that it has said.
func TestThePeerEndsAtEachStep(t *testing.T) {
	for _, step := range []string{"held", "cut", "parted", "replayed", "fed"} {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			peer, ircd := r.linked(anope)
			h := r.hold(anope, ircd)
			leave := func(at string) {
				if step == at {
					r.kept(h, peer, ":00S QUIT :last words")
					peer.fin()
				}
			}
			leave("held")
			if step == "held" {
				h.Resume()
				h.End(nil)
				ircd.expect(":00S QUIT :last words")
				ircd.ended()
				return
			}
			r.cut(h, peer, ircd, "tx1")
			leave("cut")
			h.Part()
			leave("parted")
			ircd = r.replay(anope, h, "tx2", "InspIRCd-3 one")
			leave("replayed")
			pieces := 0
			if step == "fed" {
				pieces = 2*maxPiece/24 + 1
				r.kept(h, peer, strings.TrimSuffix(strings.Repeat(":00S PRIVMSG #sea :much\n", pieces), "\n"))
				r.until("all of it", func() bool { return h.Ends()[0].Kept >= int64(pieces*24) })
			}
			r.live(h, ircd, "tx2")
			h.End(nil)
			if step == "fed" {
				peer.say(":00S QUIT :last words")
				peer.fin()
			}
			for pieces > 0 {
				if l := ircd.next(); strings.Contains(l, " PING ") {
					ircd.pong(anope, l)
				} else if pieces--; l != ":00S PRIVMSG #sea :much" {
					t.Fatalf("got %q", l)
				}
			}
			ircd.expect(":00S QUIT :last words")
			ircd.ended()
			ircd.Close()
			r.gone()
		})
	}
}

// Both sides are closed when a move gives one link up, and the other one goes on and hears of it.
func TestGiveUpIsOfOneLink(t *testing.T) {
	r := newRig(t, withLeaf)
	peer, ircd := r.linked(anope)
	leaf, leafIrcd := r.leaf()
	h := r.holdBoth(ircd, leafIrcd)
	h.GiveUp("services.example", errors.New("as the move says"))
	h.GiveUp("nobody.example", errors.New("x"))
	peer.ended()
	ircd.ended()
	cut := background(func() error { return h.Cut(r.ctx(), "tx1") })
	leafIrcd.say(":00A METADATA * ircferry :tx1")
	r.must("cut", cut)
	h.Part()
	again := r.replayOf("tx2")
	again.Link = "leaf.example"
	replayed := background(func() error { return h.Replay(r.ctx(), again) })
	leafIrcd = r.accept("a")
	leafIrcd.say("SERVER irc.example otherpass 0 00A :An ircd")
	leafIrcd.answerAll(r.must, replayed)
	leafIrcd.say(":00A METADATA * ircferry :tx2", ":00A PRIVMSG #sea :on")
	h.Live(r.ctx(), nil)
	h.End(nil)
	leaf.expect(":00A SQUIT 00S :"+closing, ":00A PRIVMSG #sea :on")
}
