package handoff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// linksToHold says which server links a move is to hold: all that its source has, or none. If they cannot all be held the move would be seen on
// other servers, so it is refused, unless the operator has said that it may be: then they are left alone.
func linksToHold(r Request, from *backend.Backend, src protocol.Hello, dst *protocol.Hello, held []backend.Link) ([]backend.Link, error) {
	held = slices.DeleteFunc(slices.Clone(held), func(l backend.Link) bool { return !slices.ContainsFunc(src.Linked, equals(l.Name)) })
	refused := guardLinks(r, from, src, dst, held)
	switch {
	case refused == nil:
		return held, nil
	case r.AllowVisible:
		return nil, nil
	}
	return nil, refused
}

// equals compares names of servers.
func equals(name string) func(string) bool {
	return func(other string) bool { return strings.EqualFold(name, other) }
}

// guardLinks refuses what the users of other servers would see, and to take users out of their network. held are the links of the source that can be
// held.
func guardLinks(r Request, from *backend.Backend, src protocol.Hello, dst *protocol.Hello, held []backend.Link) *Refused {
	past := pastUs(src, held)
	to := r.Pool + "/" + r.To
	switch {
	case dst != nil && src.Links > 0 && dst.Links > 0:
		return guardBothLinked(from, to, src, *dst)
	case dst != nil && dst.Links > 0:
		return &Refused{Reason: fmt.Sprintf("%s is linked to %s, whose users would see the users of %s come", to, servers(*dst, dst.Linked), from.FullName()),
			Hint: "drain to one without links, or say --allow-visible"}
	case src.Links == 0:
		return nil
	case !canHoldLinks(src):
		return &Refused{Reason: fmt.Sprintf("%s is linked to %s, and its ircd cannot have its links held: %s", from.FullName(), servers(src, src.Linked), wouldSee(src, src.Linked)),
			Hint: "load a handoff module that can (feat links), or say --allow-visible"}
	case len(past) > 0:
		return &Refused{Reason: fmt.Sprintf("%s is linked to %s past ircferry: %s", from.FullName(), servers(src, past), wouldSee(src, past)),
			Hint: "let all servers link through ircferry (links: of the pool in the configuration), or say --allow-visible"}
	case dst != nil:
		if err := misfit(src, *dst, held); err != nil {
			return &Refused{Reason: fmt.Sprintf("%s cannot take over the links of %s to %s: %v", to, from.FullName(), servers(src, src.Linked), err),
				Hint: "drain to an ircd that is the same server for the network, ferryctl restart the backend in place, or say --allow-visible"}
		}
	}
	return nil
}

// guardBothLinked refuses to move users from one server of a network to another.
func guardBothLinked(from *backend.Backend, to string, src, dst protocol.Hello) *Refused {
	lacks := slices.DeleteFunc(slices.Clone(src.Linked), func(name string) bool {
		return slices.ContainsFunc(dst.Linked, equals(name)) || strings.EqualFold(name, dst.Name)
	})
	if len(lacks) > 0 || src.Links > dst.Links {
		without := "some of them"
		if len(lacks) > 0 {
			without = servers(src, lacks)
		}
		return &Refused{Reason: fmt.Sprintf("%s is linked to %s and %s to %s: there the users would be without %s, and other servers would see them go and come",
			from.FullName(), servers(src, src.Linked), to, servers(dst, dst.Linked), without),
			Hint: "link it first, ferryctl restart the backend in place, or say --allow-visible"}
	}
	return &Refused{Reason: fmt.Sprintf("%s and %s are two servers of a network (linked to %s and to %s), whose users would see the users go and come",
		from.FullName(), to, servers(src, src.Linked), servers(dst, dst.Linked)), Hint: "ferryctl restart the backend in place, or say --allow-visible"}
}

// pastUs lists the linked servers of an ircd whose links are not held here.
func pastUs(h protocol.Hello, held []backend.Link) []string {
	return slices.DeleteFunc(slices.Clone(h.Linked), func(name string) bool {
		return slices.ContainsFunc(held, func(l backend.Link) bool { return strings.EqualFold(l.Name, name) })
	})
}

// servers names servers that an ircd is linked to; one that does not tell their names has a number of them.
func servers(h protocol.Hello, names []string) string {
	switch {
	case len(names) > 0:
	case h.Links == 1:
		return "one server"
	default:
		return fmt.Sprintf("%d servers", h.Links)
	}
	said := make([]string, 0, maxNamed+1)
	for i, name := range names {
		if i == maxNamed {
			said = append(said, fmt.Sprintf("%d more", len(names)-i))
			break
		}
		if slices.ContainsFunc(h.ULined, equals(name)) {
			name += " (services)"
		}
		said = append(said, name)
	}
	return strings.Join(said, ", ")
}

// maxNamed is how many servers a refusal names.
const maxNamed = 8

// wouldSee says what would be seen if links to these servers were not held.
func wouldSee(h protocol.Hello, names []string) string {
	services, others := len(names) == 0, len(names) == 0
	for _, name := range names {
		if slices.ContainsFunc(h.ULined, equals(name)) {
			services = true
		} else {
			others = true
		}
	}
	var see []string
	if others {
		see = append(see, "users there would see ours quit and join again, and ours would see them quit")
	}
	if services {
		see = append(see, "services would be away until they have linked again")
	}
	return strings.Join(see, "; ")
}

// GuardHold says why a hold of a backend would be refused, by what its ircd says of itself and the links of it that are held here; nil: it would
// not be. allowed is that moves.visible allows what would be seen.
func GuardHold(b *backend.Backend, h protocol.Hello, held []backend.Link, allowed bool) *Refused {
	r := Request{Kind: KindHold, Pool: b.Pool().Name(), From: b.Name(), AllowVisible: allowed}
	if err := guardNative(b); err != nil {
		return err
	}
	if err := guardUnmovable(r, b, h); err != nil || allowed {
		return err
	}
	return guardLinks(r, b, h, nil, held)
}

// HoldRefusal is GuardHold by what the backend's last check has heard and what is held now; nil also if nothing is known of it yet. It asks nobody.
func (c *Coordinator) HoldRefusal(b *backend.Backend) *Refused {
	h, _, ok := b.Hello()
	if !ok && b.Movable() {
		return nil
	}
	return GuardHold(b, h, c.linksOf(b), c.opt.Limits().Visible)
}

// tellLinks says which links of the source would be held, all or none.
func (p *Plan) tellLinks(src protocol.Hello, held []backend.Link) {
	for _, l := range held {
		p.Held = append(p.Held, l.Name)
	}
	p.Unheld = pastUs(src, held)
}
