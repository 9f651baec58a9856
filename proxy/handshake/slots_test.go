package handshake

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// What has begun is finished first, but one slot in four is a new handshake's.
func TestSlotsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1)
		s.take(false)
		var got []string
		for _, who := range []string{"new 1", "new 2", "on 1", "on 2", "on 3", "on 4", "on 5", "new 3", "on 6"} {
			go func() {
				s.take(who[0] == 'o')
				got = append(got, who) // one at a time: that is what a slot is for
				s.give()
			}()
			synctest.Wait()
		}
		s.give()
		synctest.Wait()
		want := []string{"on 1", "on 2", "on 3", "new 1", "on 4", "on 5", "on 6", "new 2", "new 3"}
		if !slices.Equal(got, want) || s.free != 1 {
			t.Errorf("got  %q, %d slots free\nwant %q, 1", got, s.free, want)
		}
	})
}

// A storm of clients whose hello has come does not keep a handshake waiting that has begun.
func TestStormLeavesSlotsForWhatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := linkConfigs(t, ServerOptions{RequestCert: true})
		var order []string // of what is done with the slot, by whoever has it
		choose := server.GetCertificate
		server.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			order = append(order, "hello")
			return choose(h)
		}
		server.VerifyConnection = func(tls.ConnectionState) error { // with what the client says second
			order = append(order, "end")
			return nil
		}
		s := NewSlots(1)
		back := &hold{after: 1}
		begun := newLink(server, client, s, back.pass)
		begun.client.Start()
		synctest.Wait()

		s.take(false)
		storm := make([]*link, 20)
		for i := range storm {
			storm[i] = newLink(server, client, s, nil)
			storm[i].client.Start() // without a slot: it is not ours
		}
		synctest.Wait()
		for _, p := range back.held {
			begun.server.Feed(p)
		}
		synctest.Wait()
		s.give()
		synctest.Wait()
		ok(t, &begun.server)
		if begin := strings.Join(order[:2], " "); begin != "hello end" {
			t.Errorf("the slot was used for %s", order)
		}
		for _, l := range storm {
			ok(t, &l.server)
		}
	})
}
