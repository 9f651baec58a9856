package link

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/config"
)

// legacyOf stops the set, and answers what another process gets: text, and descriptors of its own.
func (r *rig) legacyOf() (*Stopped, []byte, []int) {
	r.Helper()
	r.set.Quiesce(r.ctx())
	stopped, err := r.set.Stop(r.ctx())
	r.must("stop", background(func() error { return err }))
	st, fds, err := stopped.State()
	r.must("state", background(func() error { return err }))
	text, err := json.Marshal(st)
	r.must("write", background(func() error { return err }))
	own := make([]int, len(fds))
	for i, fd := range fds {
		if own[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			r.Fatal(err)
		}
	}
	return stopped, text, own
}

// standIn makes a set of what another one has left; it does not start yet.
func (r *rig) standIn(text []byte, fds []int) (*Set, error) {
	var st Carried
	if err := json.Unmarshal(text, &st); err != nil {
		return nil, err
	}
	s := NewSet(Options{Backends: r.backends, Log: slog.New(slog.NewTextHandler(r.log, nil)), Tell: r.set.tell})
	return s, s.Resume(st, fds, map[string]config.Pool{"main": r.pool})
}

// succeed puts another set in the place of the rig's.
func (r *rig) succeed() {
	r.Helper()
	stopped, text, fds := r.legacyOf()
	next, err := r.standIn(text, fds)
	if err != nil {
		r.Fatal(err)
	}
	if err := stopped.Leave(r.ctx()); err != nil {
		r.Error(err)
	}
	r.set = next
	next.Start()
}

// tlsOf has TLS on both sides of services.example; of is how peers and ircds speak it.
func tlsOf(t *testing.T, version uint16) (change func(*config.Pool), of *tls.Config) {
	ours, cert, key := pairFiles(t, "ferry.test")
	theirs, _, _ := pairFiles(t, "services.test")
	prints := []config.Fingerprint{config.Fingerprint(theirs.Fingerprint())}
	return func(p *config.Pool) {
		p.Links[0].TLS = &config.LinkTLS{Cert: cert, Key: key, Fingerprints: prints}
		p.Backends[0].Servers.TLS = &config.LinkTLS{Cert: cert, Key: key, Fingerprints: prints}
	}, &tls.Config{Certificates: []tls.Certificate{theirs.Cert}, RootCAs: ours.Roots(), ServerName: "ferry.test", MaxVersion: version, ClientAuth: tls.RequireAnyClientCert}
}

// withTLS is tlsOf for a rig; connect shakes hands as the peer and as the ircd.
func withTLS(t *testing.T, version uint16) (change func(*config.Pool), connect func(*rig) (peer, ircd *end)) {
	change, of := tlsOf(t, version)
	return change, func(r *rig) (peer, ircd *end) {
		c, err := net.Dial("tcp", r.door("services.example"))
		if err != nil {
			t.Fatal(err)
		}
		r.of = of
		peerConn := tls.Client(c, of)
		shaken := background(peerConn.Handshake)
		ircdConn := over(t, r.ircds["a"], of)
		r.must("ircd's handshake", background(ircdConn.Handshake))
		r.must("peer's handshake", shaken)
		return newEnd(t, "peer", peerConn), newEnd(t, "ircd", ircdConn)
	}
}

// ways are how a link may be connected.
func ways(t *testing.T, f func(t *testing.T, r *rig, connect func(*rig) (peer, ircd *end))) {
	t.Run("plaintext", func(t *testing.T) {
		f(t, newRig(t), func(r *rig) (peer, ircd *end) { peer = r.dial("services.example"); return peer, r.accept("a") })
	})
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			change, connect := withTLS(t, version)
			f(t, newRig(t, change), connect)
		})
	}
}

// Both sides talk as fast as they can, one of them reads slowly, and nothing is lost, doubled or out of order over successions and failed ones between.
func TestLinksGoAlongByteExact(t *testing.T) {
	ways(t, func(t *testing.T, r *rig, connect func(*rig) (peer, ircd *end)) {
		peer, ircd := connect(r)
		r.handshake(peer, ircd, anope)
		var texts [2]bytes.Buffer
		for i := range texts {
			for n := 0; texts[i].Len() < 8<<20; n++ {
				fmt.Fprintf(&texts[i], ":00SAAAAAB PRIVMSG #sea :%d %s\n", n, strings.Repeat("ä", rand.IntN(300)))
			}
		}
		done := make(chan error, 4)
		for i, way := range []struct{ from, to *end }{{peer, ircd}, {ircd, peer}} {
			want := texts[i].Bytes()
			go func() {
				way.from.SetWriteDeadline(time.Now().Add(3 * patience))
				for rest := want; len(rest) > 0; {
					n := min(len(rest), 1+rand.IntN(30000))
					if _, err := way.from.Write(rest[:n]); err != nil {
						done <- fmt.Errorf("%s: %w", way.from.name, err)
						return
					}
					rest = rest[n:]
				}
				done <- nil
			}()
			go func() {
				way.to.SetReadDeadline(time.Now().Add(3 * patience))
				buf := make([]byte, 20000)
				for at := 0; at < len(want); {
					n, err := way.to.r.Read(buf[:1+rand.IntN(len(buf))])
					if err != nil || at+n > len(want) || !bytes.Equal(buf[:n], want[at:at+n]) {
						done <- fmt.Errorf("%s got other bytes at %d (%w)", way.to.name, at, err)
						return
					}
					if at += n; way.to == ircd && rand.IntN(40) == 0 {
						time.Sleep(time.Millisecond)
					}
				}
				done <- nil
			}()
		}
		successions := 0
		for waiting := len(texts) * 2; waiting > 0; {
			select {
			case err := <-done:
				if waiting--; err != nil {
					t.Fatal(err)
				}
			default:
				if successions++; successions%3 == 0 {
					stopped, _, fds := r.legacyOf()
					closeAll(fds)
					stopped.GoOn()
				} else {
					r.succeed()
				}
			}
		}
		t.Logf("%d successions", successions)
		if successions < 5 {
			t.Errorf("only %d successions in all that was said", successions)
		}
		peer.Close()
		ircd.ended()
	})
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// A successor that fails at any step leaves the set as it was: with its links, its listeners and its TLS.
func TestASuccessorThatFailsHasChangedNothing(t *testing.T) {
	ways(t, func(t *testing.T, r *rig, connect func(*rig) (peer, ircd *end)) {
		peer, ircd := connect(r)
		r.handshake(peer, ircd, anope)
		n := 0
		talks := func() {
			t.Helper()
			n++
			line := fmt.Sprintf(":00SAAAAAB PRIVMSG #sea :%d", n)
			peer.say(line)
			ircd.expect(line)
			ircd.say(line)
			peer.expect(line)
		}
		for name, fails := range map[string]func(){
			"quiesced": func() { r.set.Quiesce(r.ctx()); r.set.EndQuiesce() },
			"stopped": func() {
				r.set.Quiesce(r.ctx())
				stopped, err := r.set.Stop(r.ctx())
				if err != nil {
					t.Fatal(err)
				}
				stopped.GoOn()
			},
			"told": func() {
				stopped, _, fds := r.legacyOf()
				closeAll(fds)
				stopped.GoOn()
			},
			"resumed": func() {
				stopped, text, fds := r.legacyOf()
				next, err := r.standIn(text, fds)
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range next.all() { // as the end of its process does
					l.vanish()
				}
				next.shut()
				stopped.GoOn()
			},
			"of another form": func() {
				stopped, text, fds := r.legacyOf()
				_, err := r.standIn(bytes.Replace(text, []byte(`"format":1`), []byte(`"format":2`), 1), fds)
				if err == nil {
					t.Error("form 2 was read")
				}
				closeAll(fds)
				stopped.GoOn()
			},
			"of too few descriptors": func() {
				stopped, text, fds := r.legacyOf()
				if _, err := r.standIn(text, fds[1:]); err == nil {
					t.Error("it takes what is not there")
				}
				closeAll(fds)
				stopped.GoOn()
			},
		} {
			fails()
			if t.Run(name, func(t *testing.T) { talks() }); t.Failed() {
				return
			}
		}
		other := r.dial("services.example") // the listener takes connections still
		r.until("it is accepted", func() bool { return r.set.connecting() > 0 || len(r.set.all()) > 1 })
		other.Close()
		if r.of == nil {
			r.accept("a").Close()
		}
	})
}

// What is known of a link goes along: a move behind the succession replays the peer with what it had said before, and the peer hears what changed and
// nothing else. What a move holds does not go.
func TestAMoveBehindASuccession(t *testing.T) {
	ways(t, func(t *testing.T, r *rig, connect func(*rig) (peer, ircd *end)) {
		peer, ircd := connect(r)
		r.handshake(peer, ircd, anope)
		r.succeed()
		if i := r.set.Links()[0]; i.State != Raw || i.SID != "00S" || i.Proto != 1205 || i.Server != "irc.example" || i.Backend != "main/a" || i.Since.IsZero() {
			t.Fatalf("%+v", i)
		}
		h := r.hold(anope, ircd)
		if _, err := r.set.Stop(r.ctx()); err == nil || !strings.Contains(err.Error(), "services.example: it is holding") {
			t.Errorf("stop of a held link: %v", err)
		}
		r.cut(h, peer, ircd, "tx1")
		h.Part()
		done := background(func() error { return h.Replay(r.ctx(), r.replayOf("tx2")) })
		if r.of == nil {
			ircd = r.accept("a")
		} else {
			ircd = newEnd(t, "ircd", over(t, r.ircds["a"], r.of))
		}
		r.takeReplay(anope, ircd, "InspIRCd-3 two")
		r.must("replay", done)
		r.live(h, ircd, "tx2")
		h.End(nil)
		peer.expect(":00A SINFO version :InspIRCd-3 two", ":00AAAAAAC MODE 00AAAAAAC -o")
		r.until("raw", func() bool { return r.state("services.example") == Raw })
		r.succeed()
		peer.say(":00S PRIVMSG #sea :x")
		ircd.expect(":00S PRIVMSG #sea :x")
	})
}

// A link whose handshake or burst is in its midst goes along, half a line included, and is up when both are through.
func TestALinkInItsBurstGoesAlong(t *testing.T) {
	ways(t, func(t *testing.T, r *rig, connect func(*rig) (peer, ircd *end)) {
		peer, ircd := connect(r)
		hello := anope.hello()
		for _, line := range hello {
			r.succeed()
			peer.say(line)
			ircd.expect(line)
		}
		ircd.say("CAPAB START 1205", "CAPAB END")
		peer.expect("CAPAB START 1205", "CAPAB END")
		io.WriteString(ircd, "SERVER irc.example otherp")
		peer.say(burst[:2]...)
		ircd.expect(burst[:2]...)
		r.succeed()
		ircd.say("ass 0 00A :An ircd", ":00A SINFO version :one", ":00A ENDBURST")
		peer.expect("SERVER irc.example otherpass 0 00A :An ircd", ":00A SINFO version :one", ":00A ENDBURST")
		r.succeed()
		peer.say(burst[2:]...)
		ircd.expect(burst[2:]...)
		r.until("link is raw", func() bool { return r.state("services.example") == Raw })
		l := r.set.all()[0].picture()
		if l.SID != "00S" || l.Proto != 1205 || l.Server != "irc.example" {
			t.Errorf("%+v", l)
		}
	})
}

// What was kept in a move is fed on by the successor, at the same pace, and the answer of a fence of before is not passed to the peer.
func TestALinkThatIsFedGoesAlong(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	var kept []string
	for n := range 300 {
		line := fmt.Sprintf(":00SAAAAAB PRIVMSG #sea :%d %s", n, strings.Repeat("x", 80))
		kept = append(kept, line)
	}
	peer.say(kept...)
	r.until("all is kept", func() bool { return h.Ends()[0].Kept > 300*80 })
	h.Resume()
	h.End(nil)
	peer.expect(":00A SQUIT 00S :restart", "ERROR :restart")
	var got []string
	fences := 0
	for len(got) < len(kept) {
		line := ircd.next()
		if !strings.Contains(line, " PING ") {
			got = append(got, line)
			continue
		}
		if fences++; fences == 2 {
			r.succeed() // it is fed still, and nobody waits for that for ever
			if s := r.state("services.example"); s != Flushing {
				t.Fatalf("it is %s", s)
			}
		}
		ircd.answer(line)
	}
	if !slices.Equal(got, kept) || fences < 3 {
		t.Errorf("%d lines with %d fences", len(got), fences)
	}
	r.until("raw", func() bool { return r.state("services.example") == Raw })
	ircd.say(":00A PRIVMSG #sea :behind")
	peer.expect(":00A PRIVMSG #sea :behind")
}

// Connections that come while all stands wait in the listener's queue, and are the successor's.
func TestTheQueueOfAListenerGoesAlong(t *testing.T) {
	r := newRig(t)
	r.set.Quiesce(r.ctx())
	peer := r.dial("services.example")
	r.succeed()
	r.handshake(peer, r.accept("a"), anope)
}

// Nothing of a process that has left stays open.
func TestNoDescriptorIsLeftBehind(t *testing.T) {
	r := newRig(t)
	peer, ircd := r.linked(anope)
	before := descriptors(t)
	for range 20 {
		r.succeed()
		stopped, _, fds := r.legacyOf()
		closeAll(fds)
		stopped.GoOn()
	}
	peer.say(":00S PRIVMSG #sea :x")
	ircd.expect(":00S PRIVMSG #sea :x")
	r.until(fmt.Sprintf("%d descriptors as before", before), func() bool { return descriptors(t) <= before })
}

// Each field of a link either goes along or is no part of a link in a state that does: who adds one decides.
func TestEveryFieldOfALinkGoesAlongOrNeedNot(t *testing.T) {
	carried := map[string]string{
		"port": "by its name", "conf": "the configuration's, or name, dial and hold", "backend": "", "from": "", "log": "made", "asks": "made", "over": "made",
		"state": "", "since": "", "peer": "", "ircd": "", "us": "", "kept": "", "memory": "", "own": "", "late": "of flushing: set anew", "fence": "of flushing: its token",
		"mu": "made", "info": "made", "number": "", "guard": "made", "relives": "made",
	}
	ofMoves := []string{"held", "holder", "waiter", "old", "paused", "marked", "wanted", "to", "fresh", "stop", "lost", "left", "cause"}
	of := reflect.TypeFor[link]()
	for i := range of.NumField() {
		name := of.Field(i).Name
		if _, ok := carried[name]; !ok && !slices.Contains(ofMoves, name) {
			t.Errorf("link.%s: does it go along?", name)
		}
	}
	sides := reflect.TypeFor[side]()
	for i := range sides.NumField() {
		if name := sides.Field(i).Name; !slices.Contains([]string{"stream", "tls", "who", "buf", "out", "last", "ended", "broken"}, name) { // out is given to the stream when it stands; last is TLS's
			t.Errorf("side.%s: does it go along?", name)
		}
	}
	if n := reflect.TypeFor[intro]().NumField(); n != reflect.TypeFor[introState]().NumField() {
		t.Errorf("intro has %d fields", n)
	}
}

// A memory goes along whole: it is the same behind it, and goes on forgetting who splits.
func TestAMemoryGoesAlong(t *testing.T) {
	var m, next memory
	for _, line := range []string{":00S SERVER far.example 0FA :x", ":0FA SERVER end.example 0EN :x", ":0EN SINFO version :\xff", ":00S METADATA * saslmechlist :PLAIN", ":0FA SINFO version :f"} {
		m.note(parse([]byte(line)), []byte(line+"\n"))
	}
	text, err := json.Marshal(m.carried())
	if err != nil {
		t.Fatal(err)
	}
	var st memoryState
	if err := json.Unmarshal(text, &st); err != nil {
		t.Fatal(err)
	}
	if next.resume(st); !reflect.DeepEqual(next, m) || len(m.order) != 3 {
		t.Errorf("got %+v\nwant %+v", next, m)
	}
	if next.note(parse([]byte(":00S SQUIT 0FA :x")), nil); len(next.order) != 1 {
		t.Errorf("behind a split: %+v", next)
	}
}

func descriptors(t *testing.T) (n int) {
	t.Helper()
	for fd := range 4096 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			n++
		}
	}
	return n
}
