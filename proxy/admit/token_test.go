package admit

import (
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

// What a client holds is given back once: a second time is a fault of ours that must not pass in silence.
func TestTokenIsReleasedOnce(t *testing.T) {
	h := newHouse(t, nil)
	h.mustListen("127.0.0.1:0", config.Listener{Limits: config.Limits{PerIP: 1}})
	in, refused := h.come("127.0.0.1"), h.come("127.0.0.1")
	if in.Refusal != Admitted || refused.Refusal != RefusedPerIP {
		t.Fatalf("%v and %v, want the second one refused", in.Refusal, refused.Refusal)
	}
	for name, c := range map[string]*Client{"in": &in, "refused": &refused} {
		c.Token.Release(c.Addr.Addr())
		if c.Token.Admitted() {
			t.Errorf("%s: is counted still", name)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: released twice in silence", name)
				}
			}()
			c.Token.Release(c.Addr.Addr())
		}()
	}
	if next := h.come("127.0.0.1"); next.Refusal != Admitted {
		t.Errorf("after the one has left: %v", next.Refusal)
	}
	if l := in.Token.Listener().limits; l.open != 1 {
		t.Errorf("%d connections are counted, want 1", l.open)
	}
}

// Each limit refuses for its reason, and what was refused takes no place.
func TestRefusals(t *testing.T) {
	h := newHouse(t, nil)
	for _, c := range []struct {
		limits config.Limits
		want   Refusal
	}{
		{config.Limits{Connections: 2}, RefusedConnections},
		{config.Limits{PerIP: 2}, RefusedPerIP},
		{config.Limits{PerIPRate: config.Rate{N: 2, Per: 1 << 40}}, RefusedRate},
	} {
		h.mustListen("127.0.0.1:0", config.Listener{Limits: c.limits})
		var all []Client
		for _, want := range []Refusal{Admitted, Admitted, c.want, c.want} {
			x := h.come("127.0.0.1")
			if x.Refusal != want {
				t.Errorf("%v, want %v", x.Refusal, want)
			}
			all = append(all, x)
		}
		for _, x := range all {
			x.Token.Release(x.Addr.Addr())
		}
		if err := h.Apply(nil, nil); err != nil { // fresh limits
			t.Fatal(err)
		}
	}
}
