package handoff

import (
	"fmt"
	"slices"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// Snapshot is the state of the users of one move in ircferry's ircd-neutral form: the records of HANDOFF/1 as the source gave them, less
// the keys and BURSTs that are between the source and us. rq and sq are left out of what a destination gets because we write these bytes
// to the client and the new stream ourselves, in and out because they count a stream that ends here.
type Snapshot struct {
	Records  []protocol.Message // for a destination, in the source's order
	Users    map[string]*Carried
	Channels int
	Links    map[string]*CarriedLink

	ids map[string]string // of users who were exported, as the network knows them
}

// Carried is what a user's stream had in flight at the cut.
type Carried struct {
	Nick string
	Out  uint64 // bytes that the source has written to the stream
	RQ   []byte // input that it has read and not run
	SQ   []byte // output that it has not written
}

func newSnapshot() *Snapshot {
	return &Snapshot{Users: make(map[string]*Carried), Links: make(map[string]*CarriedLink), ids: make(map[string]string)}
}

// add takes one record of the source in and answers what of it goes on to a destination. It takes rec over.
func (s *Snapshot) add(rec protocol.Message) (protocol.Message, error) {
	switch rec.Verb {
	case "CHAN":
		s.Channels++
	case "USER":
		if err := s.addUser(rec); err != nil {
			return rec, err
		}
		rec.Del("in", "out", "rq", "sq")
	case protocol.VerbLink, protocol.VerbBurst:
		if s.addLink(rec); rec.Verb == protocol.VerbBurst {
			return rec, nil
		}
	}
	s.Records = append(s.Records, rec)
	return rec, nil
}

func (s *Snapshot) addUser(rec protocol.Message) error {
	u := rec.Get("u")
	if !protocol.ValidU(u) {
		return fmt.Errorf("record USER without a valid u")
	}
	if s.Users[u] != nil {
		return fmt.Errorf("record USER u=%s comes twice", u)
	}
	out, err := rec.Uint("out")
	if err != nil {
		return fmt.Errorf("record USER u=%s: %w", u, err)
	}
	if id := rec.Get("id"); id != "" {
		s.ids[u] = id
	}
	s.Users[u] = &Carried{Nick: rec.Get("nick"), Out: out, RQ: []byte(rec.Get("rq")), SQ: []byte(rec.Get("sq"))}
	return nil
}

// drop takes a user, and all that is his, out of what a destination gets.
func (s *Snapshot) drop(u string) {
	delete(s.Users, u)
	s.Records = slices.DeleteFunc(s.Records, func(rec protocol.Message) bool {
		return rec.Verb != "CHAN" && rec.Get("u") == u
	})
}

// dropChannel takes a channel out of what a destination gets, and answers who is on it: they are still to be dropped.
func (s *Snapshot) dropChannel(name string) (members []string) {
	s.Records = slices.DeleteFunc(s.Records, func(rec protocol.Message) bool {
		if rec.Verb == protocol.VerbMemb && rec.Get("c") == name {
			members = append(members, rec.Get("u"))
		}
		return rec.Verb == protocol.VerbChan && rec.Get("n") == name || rec.Get("c") == name
	})
	return members
}
