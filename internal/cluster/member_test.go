package cluster

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func aNode(name, instance string) meta {
	return meta{Name: name, Instance: instance, RPC: "192.0.2.1:7947", Version: "1", Pools: "aa"}
}

var somewhere = netip.MustParseAddrPort("192.0.2.1:7946")

// A member is the newest node of its name: what becomes of an older one does not matter to it.
func TestAMemberIsItsNewestNode(t *testing.T) {
	m := newMembers("me")
	now := time.Now()
	m.now = func() time.Time { return now }
	expect := func(n Notice, ok bool, word string) {
		t.Helper()
		if ok != (word != "") || n.Word != word {
			t.Fatalf("told %v %q, want %q", ok, n.Word, word)
		}
	}
	is := func(state State, instance string, twice bool) {
		t.Helper()
		if p, ok := m.get("b"); !ok || p.State != state || p.Instance != instance || p.Twice != twice {
			t.Fatalf("%+v, want %s %s %v", p, state, instance, twice)
		}
	}
	n, ok := m.here("b.1", aNode("b", "i1"), somewhere)
	expect(n, ok, "joined")
	n, ok = m.here("b.1", aNode("b", "i1"), somewhere)
	expect(n, ok, "")
	// A restart: the new node is there before the old one is known to be dead.
	n, ok = m.here("b.2", aNode("b", "i2"), somewhere)
	expect(n, ok, "restarted")
	is(Alive, "i2", false)
	n, ok = m.gone("b.1")
	expect(n, ok, "")
	is(Alive, "i2", false)
	// An upgrade: another node of the same instance.
	changed := aNode("b", "i2")
	changed.Version = "2"
	n, ok = m.here("b.3", changed, somewhere)
	expect(n, ok, "changed")
	n, ok = m.gone("b.2")
	expect(n, ok, "")
	// Two of a name that both stay.
	n, ok = m.here("b.4", aNode("b", "i4"), somewhere)
	expect(n, ok, "restarted")
	is(Alive, "i4", false)
	now = now.Add(sameName + time.Second)
	is(Alive, "i4", true)
	n, ok = m.gone("b.4") // the other one is the member again
	expect(n, ok, "")
	is(Alive, "i2", false)
	n, ok = m.gone("b.3")
	expect(n, ok, "lost")
	is(Lost, "i2", false)
	// Who has said so has left, whichever is heard first.
	n, ok = m.here("b.5", aNode("b", "i5"), somewhere)
	expect(n, ok, "joined")
	m.leaving("b")
	n, ok = m.gone("b.5")
	expect(n, ok, "left")
	n, ok = m.here("b.6", aNode("b", "i6"), somewhere)
	expect(n, ok, "joined")
	n, ok = m.gone("b.6")
	expect(n, ok, "lost")
	m.leaving("b")
	is(Left, "i6", false)
	// A node of before whose death is not known yet does not bring it back.
	n, ok = m.here("b.61", aNode("b", "i6"), somewhere)
	expect(n, ok, "joined")
	n, ok = m.here("b.62", aNode("b", "i6"), somewhere)
	expect(n, ok, "")
	m.leaving("b")
	n, ok = m.gone("b.62")
	expect(n, ok, "left")
	n, ok = m.gone("b.61")
	expect(n, ok, "")
	is(Left, "i6", false)
	// Who answers is there, whatever the gossip says.
	n, ok = m.here("b.7", aNode("b", "i7"), somewhere)
	expect(n, ok, "joined")
	m.asked("b", nil)
	n, ok = m.gone("b.7")
	expect(n, ok, "lost")
	is(Unheard, "i7", false)
	now = now.Add(answering)
	is(Lost, "i7", false)
	m.leaving("b")
	now = now.Add(keepLeft + time.Second)
	if all := m.list(); len(all) != 0 {
		t.Errorf("who has left is remembered for ever: %+v", all)
	}
}

// What a member says of itself fits into the gossip, however long its version is, and comes back whole.
func TestMetaFits(t *testing.T) {
	m := meta{Name: strings.Repeat("n", maxName), Instance: strings.Repeat("i", 99), RPC: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535", Version: strings.Repeat("v", 999), Pools: strings.Repeat("p", 99)}
	b := m.encode()
	if len(b) > memberlist.MetaMaxSize {
		t.Fatalf("%d bytes", len(b))
	}
	got, err := decodeMeta(b)
	if err != nil || got.Name != m.Name || got.RPC != m.RPC || !strings.HasPrefix(m.Version, got.Version) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMetaThatIsNone(t *testing.T) {
	for _, c := range []string{"", "{", "null", `{"n":"a"}`, `{"n":"a b","i":"i","r":"192.0.2.1:1","p":"x"}`, `{"n":"a","i":"i","r":"ferry:1","p":"x"}`,
		`{"n":"` + strings.Repeat("a", 65) + `","i":"i","r":"192.0.2.1:1","p":"x"}`} {
		if _, err := decodeMeta([]byte(c)); err == nil {
			t.Errorf("%q was taken", c)
		}
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(aNode("b", "i").encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		if again, err := decodeMeta(m.encode()); err != nil || again != m {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}
