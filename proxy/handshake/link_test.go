package handshake

import (
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// side is one end of a link.
type side struct {
	*Handshake
	done []Result // exactly one, when it has ended
}

// link is a server and a client of ours that feed each other, without sockets: in a bubble of synctest it is known when nothing moves any more,
// and that no goroutine is left.
type link struct {
	server, client side
}

// hold keeps back what a client writes, from its nth write on.
type hold struct {
	after int
	held  [][]byte
}

func (h *hold) pass(p []byte) []byte {
	if h.after--; h.after < 0 {
		h.held = append(h.held, p)
		return nil
	}
	return p
}

func newLink(server, client *tls.Config, slots *Slots, toServer func([]byte) []byte) *link {
	l := new(link)
	if toServer == nil {
		toServer = func(p []byte) []byte { return p }
	}
	l.server.Handshake = Server(server, Options{Slots: slots,
		Write: func(p []byte) { l.client.Feed(p) },
		Done:  func(r Result) { l.server.done = append(l.server.done, r) }})
	l.client.Handshake = Client(client, Options{
		Write: func(p []byte) { l.server.Feed(toServer(p)) },
		Done:  func(r Result) { l.client.done = append(l.client.done, r) }})
	return l
}

func linkConfigs(t testing.TB, o ServerOptions) (server, client *tls.Config) {
	p := certtest.SelfSigned(t, certtest.Options{})
	return serverConfig(p, o), ClientConfig(ClientOptions{RootCAs: p.Roots(), ServerName: "irc.test"})
}

func ok(t *testing.T, s *side) {
	t.Helper()
	if len(s.done) != 1 || s.done[0].Err != nil {
		t.Errorf("results %+v", s.done)
	}
}

func TestStalledClientsHoldNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := linkConfigs(t, ServerOptions{})
		slots := NewSlots(1)
		back := &hold{after: 1}
		stalled := newLink(server, client, slots, back.pass) // its hello comes, its Finished does not
		stalled.client.Start()
		half := newLink(server, client, slots, func(p []byte) []byte { return p[:len(p)/2] })
		half.client.Start()
		silent := newLink(server, client, slots, nil)
		synctest.Wait()
		if slots.free != 1 {
			t.Error("the slot is held by a client that stalls")
		}
		if len(back.held) == 0 {
			t.Error("the stalled client was not answered")
		}

		quick := newLink(server, client, slots, nil)
		quick.client.Start()
		synctest.Wait()
		ok(t, &quick.server)
		ok(t, &quick.client)

		for _, p := range back.held { // and it can go on
			stalled.server.Feed(p)
		}
		synctest.Wait()
		ok(t, &stalled.server)
		for _, l := range []*link{half, silent} {
			l.server.End(errors.New("the test is over"))
			l.client.End(errors.New("the test is over"))
		}
		// synctest.Test fails if a goroutine is left.
	})
}

// As many handshakes compute as there are slots and no more, and all get their turn.
// A hello of 48 KiB of which all but the last bytes come at once: crypto/tls has the most of it, so the gate must not have it too.
func TestStalledClientsAreHeldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, _ := linkConfigs(t, ServerOptions{})
		h := Server(server, Options{Write: func([]byte) {}, Done: func(Result) {}})
		const most = 16 << 10
		var p []byte
		for range 3 {
			p = append(p, typeHandshake, 3, 1, most>>8, 0)
			p = append(p, make([]byte, most)...)
		}
		copy(p[headerLen:], []byte{1, 0, 3*most>>8 - 1, 252})
		h.Feed(p[:len(p)-100])
		synctest.Wait()
		if !h.gate.waiting || h.gate.record != 0 || len(h.gate.in) != headerLen+most-100 || cap(h.gate.in) > 2*most {
			t.Errorf("waiting %v, in mid-record %d, %d bytes in room for %d", h.gate.waiting, h.gate.record, len(h.gate.in), cap(h.gate.in))
		}
		h.End(errors.New("the test is over"))
	})
}

func TestSlotsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := linkConfigs(t, ServerOptions{})
		const slots, clients = 2, 7
		gate, inside := make(chan bool), make(chan bool, clients)
		choose := server.GetCertificate
		server.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			inside <- true
			<-gate
			return choose(h)
		}
		s := NewSlots(slots)
		var links []*link
		for range clients {
			l := newLink(server, client, s, nil)
			l.client.Start()
			links = append(links, l)
		}
		synctest.Wait()
		if n := len(inside); n != slots {
			t.Errorf("%d compute, want %d", n, slots)
		}
		close(gate)
		synctest.Wait()
		for _, l := range links {
			ok(t, &l.server)
		}
		if s.free != slots {
			t.Errorf("%d slots are left taken", slots-s.free)
		}
	})
}

// However a handshake ends, Done comes once, its goroutine ends and its slot is free.
func TestGoroutineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := linkConfigs(t, ServerOptions{Tickets: NewTickets(), RequestCert: true})
		s := NewSlots(1)
		over := errors.New("over")
		for fed := range 4 {
			back := &hold{after: fed}
			l := newLink(server, client, s, back.pass)
			l.client.Start()
			synctest.Wait()
			l.server.End(over)
			l.client.End(over)
			l.server.Feed([]byte("too late"))
			synctest.Wait()
			if len(l.server.done) != 1 || len(l.client.done) != 1 || s.free != 1 {
				t.Errorf("after %d writes: %d and %d results, %d slots free", fed, len(l.server.done), len(l.client.done), s.free)
			}
			if err := l.server.done[0].Err; (err == nil) != (fed > 1) {
				t.Errorf("after %d writes: %v", fed, err)
			}
		}
		never := newLink(server, client, s, nil) // no goroutine was begun
		_ = never
		trickled := Server(server, Options{Slots: s, Done: func(Result) {}})
		trickled.Feed([]byte{typeHandshake, 3})
	})
}

func TestSecretsAreWiped(t *testing.T) {
	for _, version := range versions {
		synctest.Test(t, func(t *testing.T) {
			server, client := linkConfigs(t, ServerOptions{})
			server.MaxVersion = version
			l := newLink(server, client, nil, nil)
			l.client.Start()
			synctest.Wait()
			for _, s := range []*side{&l.server, &l.client} {
				ok(t, s)
				if s.secrets != (secrets{}) {
					t.Error("secrets are left in the handshake")
				}
				if seen := &s.gate.seen; seen.outSealed != nil || seen.inSealed != nil || seen.inHello.n > 0 || seen.outHello.n > 0 {
					t.Error("records are left in the handshake")
				}
				p := &s.done[0].Params
				kept := [][]byte{p.In.Secret, p.In.Key, p.In.IV, p.Out.Secret, p.Out.Key, p.Out.IV}
				p.Wipe()
				for _, b := range kept {
					for _, c := range b {
						if c != 0 {
							t.Fatal("secrets are left in the parameters")
						}
					}
				}
			}
		})
	}
}
