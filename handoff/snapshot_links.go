package handoff

import (
	"maps"
	"slices"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// CarriedLink is what the source tells of one server link for us alone.
type CarriedLink struct {
	Stay  []string // ids of its users who were not exported
	Burst []string // lines for a new process, without their end
}

// addLink takes a record of the links in.
func (s *Snapshot) addLink(rec protocol.Message) {
	switch rec.Verb {
	case protocol.VerbLink:
		s.Links[rec.Get("n")] = &CarriedLink{Stay: rec.List("stay")}
	case protocol.VerbBurst:
		if link := s.Links[rec.Get("l")]; link != nil { // it stands before; see protocol
			link.Burst = append(link.Burst, rec.Get("d"))
		}
	}
}

// For is what a destination with these links gets. Records of others are left out, and without any so are the channels of which nobody who
// moves is a member: they are there for the links' sake.
func (s *Snapshot) For(links []backend.Link) []protocol.Message {
	if len(s.Links) == 0 || len(links) == len(s.Links) {
		return s.Records
	}
	lived := make(map[string]bool)
	for _, rec := range s.Records {
		if rec.Verb == protocol.VerbMemb {
			lived[rec.Get("c")] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(s.Records), func(rec protocol.Message) bool {
		switch rec.Verb {
		case protocol.VerbLink:
			return !named(links, rec.Get("n"))
		case protocol.VerbRemote:
			return !named(links, rec.Get("l"))
		case protocol.VerbChan:
			return len(links) == 0 && !lived[rec.Get("n")]
		case protocol.VerbList:
			return len(links) == 0 && !lived[rec.Get("c")]
		}
		return false
	})
}

// Lost are the ids of exported users whose records a destination does not get any more.
func (s *Snapshot) Lost() (ids []string) {
	for _, u := range slices.Sorted(maps.Keys(s.ids)) {
		if s.Users[u] == nil {
			ids = append(ids, s.ids[u])
		}
	}
	return ids
}

// Stay are the ids of users whom the source has kept, as each of its links tells it.
func (s *Snapshot) Stay() []string {
	var ids []string
	for _, link := range s.Links {
		ids = append(ids, link.Stay...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
