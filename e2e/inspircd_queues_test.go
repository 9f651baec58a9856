//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// TestInspIRCdUnsentOutput: what waits in the ircd because its client does not read is in the record, and together with what was written it
// is every line, once and in order, also when the cut is in the middle of one; with TLS facts the bytes take another way out.
func TestInspIRCdUnsentOutput(t *testing.T) { onBoth(t, inspIRCdUnsentOutput) }

func inspIRCdUnsentOutput(t *testing.T, v *inspVersion) {
	for name, tls := range map[string]string{"plaintext": "", "TLS": "TLSv1.3/TLS_AES_128_GCM_SHA256"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is the kernel's waiting for a reader
			h := newHand(t, v.start(t, "a"))
			eye := h.open("i.1", "eye", nil)
			slow := h.open("i.2", "slow", func(o *protocol.Open) { o.TLS = tls })
			if err := slow.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
				t.Fatal(err)
			}
			said := 0
			eye.ask("OPER root rootpw") // whom no flood limit holds
			say := func(batches int) {
				for range batches { // each fits into one read of InspIRCd: what is over, it reads a second later
					var lines bytes.Buffer
					for range 25 {
						fmt.Fprintf(&lines, "PRIVMSG slow :%d %s\r\n", said, bytes.Repeat([]byte("x"), 300))
						said++
					}
					eye.send(lines.String())
					eye.ask("PING said")
				}
			}
			heard := 0
			hear := func(data []byte) (rest []byte) {
				for {
					line, after, ok := bytes.Cut(data, []byte("\n"))
					if !ok {
						return data
					}
					if !bytes.Contains(line, fmt.Appendf(nil, " PRIVMSG slow :%d xxx", heard)) || !bytes.HasSuffix(line, []byte("xxx\r")) {
						t.Fatalf("line %d is %q", heard, line)
					}
					heard++
					data = after
				}
			}
			var rest []byte
			for round := range 2 {
				say(60) // 500 KB, of which the kernel takes a part
				tx, users, records := h.export(eye, slow)
				_, out, err := users["i.2"].Cut()
				h.ok(err)
				rq, sq := users["i.2"].Queues()
				if len(sq) < 100000 || len(rq) != 0 {
					t.Errorf("round %d: %d bytes of output and %d of input wait", round, len(sq), len(rq))
				}
				h.ok(h.c.Release(t.Context(), tx, ""))
				_ = slow.Conn.(*net.TCPConn).SetReadBuffer(1 << 20)
				written := make([]byte, out-slow.out)
				if _, err := io.ReadFull(slow.r, written); err != nil {
					t.Fatalf("round %d: the stream has less than out says: %v", round, err)
				}
				if n, _ := io.Copy(io.Discard, slow.r); n != 0 {
					t.Errorf("round %d: %d bytes behind out", round, n)
				}
				rest = hear(append(append(rest, written...), sq...))
				tx, p := h.prepare(records...)
				if len(p.Conflicts)+len(p.Warns) != 0 {
					t.Errorf("%+v", p)
				}
				eye, slow = h.attach(tx, tx, "i.1"), h.attach(tx, tx, "i.2")
				if err := slow.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
					t.Fatal(err)
				}
				_, err = h.c.Commit(t.Context(), tx)
				h.ok(err)
				h.ok(eye.answer(protocol.VerbLive))
				h.ok(slow.answer(protocol.VerbLive))
			}
			if heard != said || len(rest) > 0 {
				t.Errorf("heard %d of %d lines, and %q", heard, said, rest)
			}
		})
	}
}

// TestInspIRCdRegisteringInAMove: who has not registered yet when the others are moved goes on registering at the new ircd, with what
// it has said so far.
func TestInspIRCdRegisteringInAMove(t *testing.T) { onBoth(t, inspIRCdRegisteringInAMove) }

func inspIRCdRegisteringInAMove(t *testing.T, v *inspVersion) {
	a, b := v.start(t, "a"), v.start(t, "b")
	f := startFerry(t, nil, "", a.backend(), b.backend())
	ann := login(t, f.port, "127.0.9.9", "ann")
	f.ctl("drain", "main/b", "--to", "a")
	f.ctl("undrain", "main/b")
	late := dial(t, f.port, "127.0.9.8", "")
	late.nick = "late"
	late.send("NICK late")
	late.send("CAP LS 302")
	late.expect(" CAP ")
	f.ctl("drain", "main/a", "--to", "b")
	b.users(1)
	late.send("CAP END")
	late.send("USER late 0 * :late")
	late.expect(" 001 late")
	b.users(2)
	a.users(0)
	ann.send("PRIVMSG late :welcome")
	late.expect("welcome")
}

// TestInspIRCdLeavesNobodyBehind: a selected stream that is no user yet is read up to its count, is not exported, and goes with the others.
func TestInspIRCdLeavesNobodyBehind(t *testing.T) { onBoth(t, inspIRCdLeavesNobodyBehind) }

func inspIRCdLeavesNobodyBehind(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	ann := h.open("i.1", "ann", nil)
	o := protocol.Open{SKey: h.hello.SKey, U: "i.2", Remote: netip.MustParseAddrPort("198.51.100.7:4000"), Local: netip.MustParseAddrPort("192.0.2.1:6667")}
	half := h.dial(protocol.AppendOpen(nil, o), "i.2")
	h.ok(half.answer(protocol.VerbOpened))
	half.send("NICK half\r\n")
	tx, users, _ := h.export(ann, half)
	if len(users) != 1 {
		t.Errorf("%d users are exported, want one", len(users))
	}
	h.ok(h.c.Resume(t.Context(), tx))
	half.send("USER half 0 * :half\r\n")
	half.await(" 001 half ")
	other := h.dial(protocol.AppendOpen(nil, protocol.Open{SKey: h.hello.SKey, U: "i.3", Remote: o.Remote, Local: o.Local}), "i.3")
	h.ok(other.answer(protocol.VerbOpened))
	other.send("NICK other\r\n")
	half.ask("PING all")
	tx, users, _ = h.export(ann, half, other)
	if len(users) != 2 {
		t.Errorf("%d users are exported, want two", len(users))
	}
	h.ok(h.c.Release(t.Context(), tx, ""))
	for _, s := range []*rawStream{ann, half, other} {
		_ = s.SetDeadline(time.Now().Add(slack))
		if _, err := io.Copy(io.Discard, s.r); err != nil {
			t.Errorf("%s: %v, want the end", s.u, err)
		}
	}
	if n := newHand(t, h.ircd).hello.Users; n != 0 {
		t.Errorf("%d users after all were given away", n)
	}
}
