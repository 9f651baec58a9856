package protocol

import (
	"context"
)

// Linker is implemented by an Ircd whose server links can be held (FeatLinks); its HELLO then has Linked, ULined and LinkCaps. The methods are
// called as those of Source and Destination are.
type Linker interface {
	// Mark is called in the stopped world, after Freeze: it writes the marker of tx on each link, behind all that there is for it, and hands all
	// to the kernel (ctx is over after the time that the standard gives for it: CodeBehind). A server that is not linked directly, or
	// has another id, is CodeNotLinked. On error the world goes on: Resume follows.
	Mark(ctx context.Context, tx string, links []LinkSelection) error

	// Unheld lists the servers that are linked directly and are none of links.
	Unheld(links []LinkSelection) []string

	// Bar is called after Begin of a transaction in which links are replayed: until Commit or Abort nobody registers in any other way, and at
	// Commit the marker of tx is written on each link behind what is swallowed. On error Abort follows.
	Bar(tx string) error

	// Greet makes the lines by which the peer would introduce itself, by the configuration and the clock of the ircd; CodeUnknownLink,
	// CodeLinked.
	Greet(link LinkSelection) (Greeting, error)
}

// linker is the ircd if it can hold links, and what a verb of them is answered with if it cannot.
func (s *Server) linker() (Linker, error) {
	if l, ok := s.ircd.(Linker); ok {
		return l, nil
	}
	return nil, &Error{Code: CodeBadValue, Text: "this ircd has no links that can be held"}
}

// selectLink takes one SELECT link=.
func (c *controlConn) selectLink(m Message) {
	l, err := linkOf(m)
	switch {
	case c.selFault != nil:
	case err != nil:
		c.selFault = asError(err)
	case len(c.links) == MaxLinks:
		c.selFault = &Error{Code: CodeLimit, Text: "too many SELECT link="}
	default:
		for _, other := range c.links {
			if other.Name == l.Name {
				c.selFault = &Error{Code: CodeBadValue, Text: "SELECT: the same link twice"}
				return
			}
		}
		c.links = append(c.links, l)
	}
}

// takeLinks returns the links that were selected and begins anew.
func (c *controlConn) takeLinks() []LinkSelection {
	links := c.links
	c.links = nil
	return links
}

// mark writes the first markers, if links were selected.
func (s *Server) mark(ctx context.Context, tx string, links []LinkSelection) error {
	if len(links) == 0 {
		return nil
	}
	l, err := s.linker()
	if err != nil {
		return err
	}
	return l.Mark(ctx, tx, links)
}

// unheld is END's, if the ircd has links at all.
func (s *Server) unheld(links []LinkSelection) []string {
	l, ok := s.ircd.(Linker)
	if !ok {
		return nil
	}
	return l.Unheld(links)
}

// bar begins a transaction in which links are replayed.
func (s *Server) bar(tx string) error {
	l, err := s.linker()
	if err == nil {
		err = l.Bar(tx)
	}
	return err
}

// greet answers GREET, of the import that is open and has links.
func (c *controlConn) greet(m Message) error {
	tx, err := txOf(m)
	if err != nil {
		return err
	}
	link, err := linkOf(m)
	if err != nil {
		return err
	}
	d := &c.s.dst
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.openLocked(c.s, tx); err != nil {
		return err
	}
	if !d.linked {
		return &Error{Code: CodeState, Text: "GREET without IMPORT links"}
	}
	l, err := c.s.linker()
	if err != nil {
		return err
	}
	g, err := l.Greet(link)
	if err != nil {
		return err
	}
	answer := answer("GREETING", tx, "link", link.Name, "open", string(g.Open), "close", string(g.Close))
	if answer.lineLen() > MaxLine {
		return &Error{Code: CodeInternal, Text: "the greeting is over a line"}
	}
	return c.send(answer)
}

// takeLinkLocked checks the records of links against those before them.
func (d *dest) takeLinkLocked(m Message) *Error {
	switch {
	case m.Verb == VerbBurst:
		return badRecord(m, "BURST is the coordinator's")
	case !d.linked:
		return badRecord(m, m.Verb+" without IMPORT links")
	case m.Verb == VerbRemote && !d.links[m.Get("l")]:
		return badRecord(m, "REMOTE before its LINK")
	case m.Verb == VerbLink && d.links[m.Get("n")]:
		return badRecord(m, "LINK twice")
	case m.Verb == VerbLink && len(d.links) == MaxLinks:
		return &Error{Code: CodeLimit, Text: "too many LINK"}
	case m.Verb == VerbLink:
		d.links[m.Get("n")] = true
	}
	return nil
}
