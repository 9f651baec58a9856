package protocol

import (
	"fmt"
	"strconv"
	"strings"
)

// Server links: section 14 of HANDOFF.md. What both ends know of them is here.

// FeatLinks is the feature of an ircd whose server links can be held; it has FeatMissing too.
const FeatLinks = "links"

// The verbs of records that links have.
const (
	VerbLink   = "LINK"
	VerbBurst  = "BURST"
	VerbRemote = "REMOTE"
)

// CodeLink and CodeID are codes of CONFLICT that a coordinator asks for by name.
const (
	CodeLink Code = "link" // l: the link is not up here, or is one that is not of the records
	CodeID   Code = "id"   // u: the user's id is taken
)

// MaxLinks bounds the links of one transaction.
const MaxLinks = 1000

// MaxBurstLine bounds the line of a BURST record, so that it fits into a piece of a replay with the question that ends it.
const MaxBurstLine = 7680

// LinkSelection is one held link: the server at its other end, its id in the network, and the number of the server protocol that it said.
type LinkSelection struct {
	Name  string
	SID   string
	Proto int
}

func (l LinkSelection) message(verb string) Message {
	key := "link"
	if verb == VerbLink {
		key = "n"
	}
	return NewMessage(verb, key, l.Name, "sid", l.SID, "proto", strconv.Itoa(l.Proto))
}

// linkOf reads what message has written.
func linkOf(m Message) (LinkSelection, error) {
	l := LinkSelection{Name: m.Get("link"), SID: m.Get("sid")}
	proto, err := m.Uint("proto")
	if err != nil || !isServer(l.Name) || !isServer(l.SID) || proto > maxProto || !m.Has("proto") {
		return l, &Error{Code: CodeBadValue, Text: m.Verb + ": link, sid or proto make no sense"}
	}
	l.Proto = int(proto)
	return l, nil
}

// maxProto bounds the numbers of server protocols, all of which have four digits.
const maxProto = 1 << 20

// isServer reports whether s can be the name or the id of a server.
func isServer(s string) bool { return s != "" && len(s) <= 255 && isWord(s) }

// isID reports whether s can be the id of a user.
func isID(s string) bool { return s != "" && len(s) <= 64 && isWord(s) }

// Greeting is how a peer would introduce itself to an ircd now. It holds a password.
type Greeting struct {
	Open  []byte // lines, each with its LF
	Close []byte // that end its burst
}

// String and GoString keep the password out of everything that prints a Greeting.
func (g Greeting) String() string {
	return fmt.Sprintf("greeting of %d and %d bytes", len(g.Open), len(g.Close))
}
func (g Greeting) GoString() string { return g.String() }

// Link, Burst and Remote are records seen by their known keys, as Chan and the others are.
type (
	// Link is one server link of the source.
	Link struct{ Message }
	// Burst is a line that its peer would have to say for a new process to know what this one knows.
	Burst struct{ Message }
	// Remote is what such lines cannot say of a user behind it.
	Remote struct{ Message }
)

// NewLink begins a LINK record.
func NewLink(l LinkSelection) Link { return Link{l.message(VerbLink)} }

func (l Link) Name() string   { return l.Get("n") }
func (l Link) SID() string    { return l.Get("sid") }
func (l Link) Users() int64   { return l.num("users") }
func (l Link) Stay() []string { return l.List("stay") } // ids of the ircd's own users who were not exported

// NewBurst makes a BURST record; line is without its end.
func NewBurst(link, line string) Burst { return Burst{NewMessage(VerbBurst, "l", link, "d", line)} }

func (b Burst) Link() string { return b.Get("l") }
func (b Burst) Line() string { return b.Get("d") }

// NewRemote begins a REMOTE record.
func NewRemote(link, id string) Remote { return Remote{NewMessage(VerbRemote, "l", link, "id", id)} }

func (r Remote) Link() string { return r.Get("l") }

// validateLink checks what of the records of links is more than text.
func validateLink(m Message) error {
	bad := func(what string) error { return badRecord(m, m.Verb+" "+what) }
	switch m.Verb {
	case VerbLink:
		proto, err := m.Uint("proto")
		if err != nil || proto > maxProto || !m.Has("proto") {
			return bad("proto: not a protocol's number")
		}
		if !isServer(m.Get("n")) || !isServer(m.Get("sid")) {
			return bad("n or sid: not a server's name and id")
		}
		if last := m.Get("last"); last != "" && !isID(last) {
			return bad("last: not an id")
		}
		for id := range strings.FieldsSeq(m.Get("stay")) {
			if !isID(id) {
				return bad("stay: not a list of ids")
			}
		}
	case VerbBurst:
		if n := len(m.Get("d")); n > MaxBurstLine {
			return bad("d: over " + strconv.Itoa(MaxBurstLine) + " bytes")
		}
	case VerbRemote:
		if !isID(m.Get("id")) {
			return bad("id: not an id")
		}
	}
	return nil
}
