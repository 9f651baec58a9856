package handoff

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// The fake ircd's part in links: section 14 of HANDOFF.md.

func (i *fakeIrcd) tellLinksLocked(h *protocol.Hello) {
	if i.server != "" {
		h.Name, h.SID = i.server, "00A"
	}
	if len(i.servers) > 0 {
		h.Links = len(i.servers)
	}
	if len(i.blocks) == 0 || i.older {
		return
	}
	h.Linked, h.ULined, h.LinkCaps = slices.Sorted(maps.Keys(i.servers)), []string{"services.example"}, i.caps
	h.Feat = append(h.Feat, protocol.FeatLinks)
}

// sayLocked writes to one of the servers that are linked.
func (i *fakeIrcd) sayLocked(name string, words ...string) {
	if s := i.servers[name]; s != nil {
		s.out = append(s.out, words...)
	}
}

// exportLinksLocked writes the markers and tells the links.
func (i *fakeIrcd) exportLinksLocked(r protocol.ExportRequest, end *protocol.End, emit func(protocol.Message) error) error {
	if len(i.blocks) == 0 || r.Peek {
		return nil
	}
	for name := range i.servers {
		if !slices.ContainsFunc(r.Links, func(l protocol.LinkSelection) bool { return l.Name == name }) {
			end.Unheld = append(end.Unheld, name)
		}
	}
	for _, l := range r.Links {
		i.sayLocked(l.Name, "chat", "marker "+r.Tx)
		if l.Name == i.untold {
			continue
		}
		link := protocol.NewLink(l)
		link.SetList("stay", i.stay)
		records := []protocol.Message{link.Message, protocol.NewBurst(l.Name, "server "+l.Name).Message, protocol.NewBurst(l.Name, "user").Message,
			protocol.NewRemote(l.Name, "id-far").Message, protocol.NewChan("#"+l.Name, 1).Message, protocol.NewList("#"+l.Name, "ban", "x", "y", 1).Message}
		for _, rec := range records {
			if err := emit(rec); err != nil {
				return err
			}
		}
		end.Links++
	}
	return nil
}

func (p *fakeParty) Greet(ctx context.Context, tx string, l protocol.LinkSelection) (g protocol.Greeting, err error) {
	err = p.do(ctx, "GREET", func() error {
		if err := p.openLocked(tx); err != nil {
			return err
		}
		switch {
		case !p.i.imports.links:
			return refusal(protocol.CodeState, tx, "")
		case !slices.Contains(p.i.blocks, l.Name):
			return refusal(protocol.CodeUnknownLink, tx, "")
		case p.i.servers[l.Name] != nil:
			return refusal(protocol.CodeLinked, tx, "")
		}
		g = protocol.Greeting{Open: []byte("open " + l.Name + " " + tx + "\n"), Close: []byte("close\n")}
		return nil
	})
	return g, err
}

// takeLink takes a record of the links.
func (im *fakeImport) takeLink(rec protocol.Message) error {
	switch {
	case rec.Verb == protocol.VerbBurst:
		return fmt.Errorf("BURST of %s goes to a destination", rec.Get("l"))
	case !im.links:
		return fmt.Errorf("%s without IMPORT links", rec.Verb)
	case rec.Verb == protocol.VerbLink:
		im.linked = append(im.linked, rec.Get("n"))
	case !slices.Contains(im.linked, rec.Get("l")):
		return fmt.Errorf("REMOTE of %s before its LINK", rec.Get("l"))
	}
	return nil
}

// checkLinksLocked is PREPARE: the links of the records are up, and no other.
func (im *fakeImport) checkLinksLocked(i *fakeIrcd) {
	if !im.links {
		return
	}
	for _, name := range im.linked {
		if i.servers[name] == nil {
			im.clash = append(im.clash, protocol.Note{L: name, Code: string(protocol.CodeLink)})
		}
	}
	for name := range i.servers {
		if !slices.Contains(im.linked, name) {
			im.clash = append(im.clash, protocol.Note{L: name, Code: string(protocol.CodeLink)})
		}
	}
}

// commitLinksLocked is COMMIT: what it tells of the users, and then the second marker.
func (i *fakeIrcd) commitLinksLocked(tx string) {
	for name := range i.servers {
		i.sayLocked(name, "ours")
		if i.imports.links {
			i.sayLocked(name, "marker "+tx)
		}
		i.sayLocked(name, "chat")
	}
}
