package protocol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// ImportLinks is Import of a transaction in which links are replayed: until its end nobody registers in any other way. For an ircd with
// FeatLinks.
func (c *Control) ImportLinks(ctx context.Context, tx, tok string, lease time.Duration, kick string) error {
	m := importMessage(tx, tok, lease, kick)
	m.SetBare("links")
	return c.askImport(ctx, m, tx)
}

// Greet asks for the lines by which the peer of a link would introduce itself now, within a transaction that ImportLinks opened. An Error
// with CodeUnknownLink says that the ircd's configuration has no such link, with CodeLinked that such a server is linked already.
func (c *Control) Greet(ctx context.Context, tx string, l LinkSelection) (Greeting, error) {
	q := l.message("GREET")
	q.Set("tx", tx)
	m, err := c.ask(ctx, q, "GREETING", tx)
	if err != nil {
		return Greeting{}, err
	}
	g := Greeting{Open: []byte(m.Get("open")), Close: []byte(m.Get("close"))}
	switch {
	case m.Get("link") != l.Name:
		return Greeting{}, c.breakWith(errors.New("GREETING of another link"))
	case !wholeLines(g.Open) || !wholeLines(g.Close):
		return Greeting{}, &Error{Code: CodeBadValue, Tx: tx, Text: "GREETING open or close: not lines"}
	}
	return g, nil
}

// wholeLines reports whether b is one or more lines, each with its LF and none of them empty.
func wholeLines(b []byte) bool {
	return len(b) > 0 && b[len(b)-1] == '\n' && b[0] != '\n' && !bytes.Contains(b, []byte("\n\n")) && !bytes.ContainsAny(b, "\x00\r")
}

// linkOrder checks the records of links among those of one export: a LINK once, and before what is its.
type linkOrder map[string]bool

func (o *linkOrder) check(m Message) error {
	switch m.Verb {
	case VerbLink, VerbBurst, VerbRemote:
	default:
		return nil
	}
	if err := Validate(m); err != nil {
		return err
	}
	if m.Verb != VerbLink {
		if !(*o)[m.Get("l")] {
			return badRecord(m, m.Verb+" before its LINK")
		}
		return nil
	}
	name := m.Get("n")
	switch {
	case (*o)[name]:
		return badRecord(m, "LINK twice")
	case len(*o) == MaxLinks:
		return &Error{Code: CodeLimit, Text: fmt.Sprintf("more than %d links", MaxLinks)}
	case *o == nil:
		*o = make(linkOrder)
	}
	(*o)[name] = true
	return nil
}
