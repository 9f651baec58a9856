package handoff

import (
	"strings"
	"testing"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// hello is what an ircd tells that has links of these names.
func hello(names ...string) protocol.Hello {
	return protocol.Hello{Name: "irc.example", SID: "00A", LinkCaps: "ab12", Links: len(names), Linked: names, ULined: []string{"Services.example"},
		Feat: []string{protocol.FeatMissing, protocol.FeatLinks}}
}

// changed is a HELLO with something else.
func changed(h protocol.Hello, f func(*protocol.Hello)) protocol.Hello {
	f(&h)
	return h
}

// Who is linked to others is not moved unseen unless all links go along: not out of a network, not into one, and above all not to where its services
// are not.
func TestGuardLinks(t *testing.T) {
	none := hello()
	old := func(links int) protocol.Hello { return protocol.Hello{Links: links} }
	for _, c := range []struct {
		name string
		src  protocol.Hello
		dst  *protocol.Hello // nil: a hold
		held []string
		says string // "": it is not refused
		want int    // links that are held then
	}{
		{"no links", none, &none, nil, "", 0},
		{"no links, held", none, nil, nil, "", 0},
		{"all held", hello("services.example", "leaf.example"), nil, []string{"services.example", "leaf.example"}, "", 2},
		{"all held, to a twin", hello("services.example"), &none, []string{"services.example"}, "", 1},
		{"names are not of one case", hello("Services.Example"), nil, []string{"services.example"}, "", 1},
		{"held, and gone from the ircd", none, nil, []string{"services.example"}, "", 0},
		{"services past us", hello("services.example"), nil, nil, "main/a is linked to services.example (services) past ircferry: services would be away until they have linked again", 0},
		{"a leaf past us", hello("leaf.example", "services.example"), nil, []string{"services.example"},
			"main/a is linked to leaf.example past ircferry: users there would see ours quit and join again, and ours would see them quit", 0},
		{"both past us", hello("leaf.example", "services.example"), nil, nil, "linked to leaf.example, services.example (services) past ircferry: users there would see ours quit and join again, and ours would see them quit; services would", 0},
		{"ten past us", hello("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"), nil, nil, "h, 2 more past ircferry", 0},
		{"an older module", old(2), nil, []string{"services.example"}, "main/a is linked to 2 servers, and its ircd cannot have its links held", 0},
		{"a module without missing", changed(hello("leaf.example"), func(h *protocol.Hello) { h.Feat = []string{protocol.FeatLinks} }), nil, []string{"leaf.example"}, "cannot have its links held", 0},
		{"to another name", hello("leaf.example"), ptr(changed(none, func(h *protocol.Hello) { h.Name = "irc2.example" })), []string{"leaf.example"},
			"main/b cannot take over the links of main/a to leaf.example: it is irc2.example with id 00A in the network, the ircd of before was irc.example with id 00A", 0},
		{"to another sid", hello("leaf.example"), ptr(changed(none, func(h *protocol.Hello) { h.SID = "00B" })), []string{"leaf.example"}, "with id 00B", 0},
		{"to other modules", hello("leaf.example"), ptr(changed(none, func(h *protocol.Hello) { h.LinkCaps = "x" })), []string{"leaf.example"}, "it has other modules or modes", 0},
		{"to one that cannot", hello("leaf.example"), ptr(old(0)), []string{"leaf.example"}, "it cannot take server links over", 0},
		{"to one with fewer links", hello("leaf.example", "services.example"), ptr(changed(hello("leaf.example"), func(h *protocol.Hello) { h.Name = "irc2.example" })), []string{"leaf.example", "services.example"},
			"main/a is linked to leaf.example, services.example (services) and main/b to leaf.example: there the users would be without services.example (services), and other servers would see them go and come", 0},
		{"to one with other links", hello("services.example"), ptr(hello("leaf.example")), []string{"services.example"}, "there the users would be without services.example", 0},
		{"to one with the same links", hello("leaf.example"), ptr(hello("leaf.example")), []string{"leaf.example"}, "main/a and main/b are two servers of a network (linked to leaf.example and to leaf.example)", 0},
		{"to the other server of two", hello("irc2.example"), ptr(changed(hello("irc.example"), func(h *protocol.Hello) { h.Name = "irc2.example" })), nil, "two servers of a network", 0},
		{"to one with links, from one without", none, ptr(hello("leaf.example")), nil, "main/b is linked to leaf.example, whose users would see the users of main/a come", 0},
		{"older ones", old(2), ptr(old(1)), nil, "main/a is linked to 2 servers and main/b to one server: there the users would be without some of them", 0},
	} {
		in(t, func(t *testing.T, r *rig) {
			from, _ := r.c.find("main", "a")
			var held []backend.Link
			for _, name := range c.held {
				held = append(held, backend.Link{Name: name})
			}
			request := Request{Pool: "main", From: "a", To: "b"}
			got, err := linksToHold(request, from, c.src, c.dst, held)
			if (err == nil) != (c.says == "") || err != nil && (!isRefused(err) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "; ")) || len(got) != c.want {
				t.Errorf("%s: %d held, %v, want %q", c.name, len(got), err, c.says)
			}
			request.AllowVisible = true
			if got, err := linksToHold(request, from, c.src, c.dst, held); err != nil || len(got) != c.want {
				t.Errorf("%s, allowed: %d held, %v", c.name, len(got), err)
			}
		})
	}
}

func ptr(h protocol.Hello) *protocol.Hello { return &h }

// What would make a hold refuse is told long before it is said.
func TestHoldRefusalInAdvance(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		a, _ := r.c.find("main", "a")
		if err := r.c.HoldRefusal(a); err != nil { // it was never checked
			t.Errorf("%v", err)
		}
		for _, c := range []struct {
			h       protocol.Hello
			held    bool
			allowed bool
			says    string
		}{
			{hello(), false, false, ""},
			{hello("leaf.example"), true, false, ""},
			{hello("leaf.example"), false, false, "past ircferry"},
			{hello("leaf.example"), false, true, ""},
			{changed(hello(), func(h *protocol.Hello) { h.Unmovable = 2 }), false, false, "2 users who did not come through here"},
			{changed(hello(), func(h *protocol.Hello) { h.Unmovable = 2 }), false, true, ""},
		} {
			var held []backend.Link
			if c.held {
				held = []backend.Link{{Name: "leaf.example"}}
			}
			if err := GuardHold(a, c.h, held, c.allowed); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v: %v, want %q", c, err, c.says)
			}
		}
		r.relayTo(t)
		b, _ := r.c.find("main", "b")
		if err := r.c.HoldRefusal(b); err == nil || !strings.Contains(err.Error(), "has no driver") {
			t.Errorf("%v", err)
		}
	})
}
