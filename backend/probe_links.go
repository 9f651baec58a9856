package backend

import (
	"slices"
	"strings"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// links says of an ircd's server links which a move could hold, and which would be seen to split.
func (p prober) links(pool config.Pool, c config.Backend, h Hello) {
	can := h.Can(protocol.FeatLinks)
	if len(pool.Links) > 0 && c.Servers != nil && !can {
		p.add(config.SeverityWarning, "%s %s cannot have its server links held (feat links): load the module of this version, or links: of the pool is in vain",
			h.Software, h.Version)
	}
	past := slices.DeleteFunc(slices.Clone(h.Linked), func(name string) bool {
		return slices.ContainsFunc(pool.Links, func(l config.Link) bool { return strings.EqualFold(l.Name, name) })
	})
	services := slices.DeleteFunc(slices.Clone(past), func(name string) bool { return !slices.Contains(h.ULined, name) })
	servers := slices.DeleteFunc(slices.Clone(past), func(name string) bool { return slices.Contains(h.ULined, name) })
	switch {
	case !can && h.Links > 0:
		p.add(config.SeverityWarning, "it is linked to %d servers, and they would see every move: drain, restart and hold are refused without --allow-visible", h.Links)
		return
	case len(servers) > 0:
		p.add(config.SeverityWarning, "it is linked to %s past us: users there would see a move as a split, so drain, restart and hold are refused without "+
			"--allow-visible; write it into links: of the pool, and let it and the ircd link through us", strings.Join(servers, ", "))
	}
	if len(services) > 0 {
		p.add(config.SeverityWarning, "services (%s) are linked to it past us: a move would leave users without them until they have linked again, so drain, restart and "+
			"hold are refused without --allow-visible; write them into links: of the pool, and make us their uplink", strings.Join(services, ", "))
	}
}
