package handoff

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Underway is a move that rests, for a Coordinator of another process: what does not stand in its journal, which has the users. It is JSON; who
// changes the meaning of something raises UnderwayFormat.
type Underway struct {
	Report  Report             `json:"report"`
	Request Request            `json:"request"`
	Limits  Limits             `json:"limits"`
	Was     backend.AdminState `json:"was"`
	Until   time.Time          `json:"until"` // the end of the park time, or of the pause

	Tx      string         `json:"tx,omitempty"`
	Source  protocol.Hello `json:"source"` // of the process that the users came from, without its secrets
	Journal string         `json:"journal,omitempty"`
	Place   *Placing       `json:"place,omitempty"` // it was said, or is known, where the users go
	Refused map[string]int `json:"refused,omitempty"`

	Members []Member                 `json:"members"` // in the order in which they were frozen
	Dropped []string                 `json:"dropped,omitempty"`
	Behind  []string                 `json:"behind,omitempty"`
	Stays   map[string]backend.Cause `json:"stays,omitempty"`
	Owed    []transaction            `json:"owed,omitempty"`
	Links   []LinkRow                `json:"links,omitempty"` // that were left alone
}

// UnderwayFormat is the form of Underway that this program writes and reads.
const UnderwayFormat = 1

// Placing is where the users of a move go.
type Placing struct {
	To       string `json:"to"`
	NewEpoch bool   `json:"new_epoch,omitempty"`
	Released bool   `json:"released,omitempty"`
}

// Member is one session of a move, and what has become of it.
type Member struct {
	U          string        `json:"u"`
	Nick       string        `json:"nick,omitempty"`
	Registered bool          `json:"registered,omitempty"`
	Exported   bool          `json:"exported,omitempty"`
	Outcome    string        `json:"outcome,omitempty"` // failed or left, of one that was taken out
	Cause      backend.Cause `json:"cause,omitempty"`
	Text       string        `json:"text,omitempty"`
}

// underway is for a run that rests: its goroutine waits.
func (x *run) underway() Underway {
	u := Underway{Report: x.m.restReport(), Request: x.r, Limits: x.limits, Was: x.was, Until: x.until, Tx: x.tx, Source: x.source, Members: x.state.members(),
		Refused: maps.Clone(x.refusals), Behind: x.behind, Stays: x.stays, Owed: x.owed, Links: x.links.left}
	u.Source.SKey, u.Source.Pass = "", ""
	if x.journal != nil {
		u.Journal = filepath.Base(x.journal.Path())
	}
	if p := x.where; p != nil {
		u.Place = &Placing{To: p.to, NewEpoch: p.newEpoch, Released: p.released}
	}
	if x.snap != nil {
		for _, m := range u.Members {
			if m.Exported && x.snap.Users[m.U] == nil {
				u.Dropped = append(u.Dropped, m.U)
			}
		}
	}
	return u
}

// restReport is a report with the time of the present step up to now.
func (m *Move) restReport() Report {
	m.mu.Lock()
	m.tookLocked(m.report.Step)
	m.mu.Unlock()
	return m.Report()
}

// members are the sessions of a move that rests: nobody is live yet, or back.
func (s *machine) members() []Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Member, 0, len(s.order))
	for _, u := range s.order {
		m := s.users[u]
		all = append(all, Member{U: u, Nick: m.nick, Registered: m.registered, Exported: m.exported, Outcome: m.outcome, Cause: m.cause, Text: m.text})
	}
	return all
}

// resume is the machine of a move that rests with its users at o.
func (s *machine) resume(o owner, members []Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = o
	for _, one := range members {
		m := &member{nick: one.Nick, registered: one.Registered, exported: one.Exported, text: one.Text}
		if one.Outcome != "" {
			m.fate, m.outcome, m.cause = out, one.Outcome, one.Cause
		}
		s.users[one.U] = m
		s.order = append(s.order, one.U)
	}
}

// carryOn makes a move of one that another process had brought to rest; goOn lets it go on.
func (c *Coordinator) carryOn(u Underway) (m *Move, goOn func(), err error) {
	from, err := c.find(u.Request.Pool, u.Request.From)
	if err != nil {
		return nil, nil, err
	}
	var to *backend.Backend
	if u.Request.To != "" {
		if to, err = c.find(u.Request.Pool, u.Request.To); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background()) // of a pause only
	m = newMove(u.Report.ID, u.Request, cancel, c.opt.OnChange)
	m.report = u.Report
	x := c.newRun(m, from, to)
	x.takeOn(u)
	if err := x.reopenJournal(u); err != nil {
		return nil, nil, err
	}
	x.closeGate() // before anybody is served
	return m, func() { c.beside(func() { x.goOn(ctx) }) }, nil
}

// takeOn makes the run what it was.
func (x *run) takeOn(u Underway) {
	x.limits, x.was, x.until, x.tx, x.source, x.pulled = u.Limits, u.Was, u.Until, u.Tx, u.Source, true
	x.behind, x.owed, x.links.left = u.Behind, u.Owed, u.Links
	if u.Stays != nil {
		x.stays = u.Stays
	}
	if u.Refused != nil {
		x.refusals = u.Refused
	}
	if p := u.Place; p != nil {
		x.where = &placing{to: p.To, newEpoch: p.NewEpoch, released: p.Released}
	}
	for _, one := range u.Members {
		x.frozen = append(x.frozen, backend.Frozen{U: one.U, Registered: one.Registered})
	}
	has := ownerJournal
	if u.Request.Kind == KindPause {
		has = ownerSource
	}
	if u.Report.State == StateParked || x.r.Kind != KindDrain {
		close(x.m.parked)
	}
	x.state.resume(has, u.Members)
}

// goOn is a carried move, in its own goroutine. ctx is that of a pause.
func (x *run) goOn(ctx context.Context) {
	resumeChecks := x.pauseChecks()
	if x.r.Kind == KindPause {
		ctx, cancel := context.WithDeadline(ctx, x.until)
		defer cancel()
		x.endPause(x.waitOut(ctx), resumeChecks)
		return
	}
	if x.placeParked(); x.left {
		x.leave()
		return
	}
	x.wrapUp(resumeChecks)
}

// reopenJournal goes on with the journal of the process before, and takes the users from it.
func (x *run) reopenJournal(u Underway) error {
	if u.Journal == "" {
		return nil
	}
	path := filepath.Join(x.c.opt.Journals, filepath.Base(u.Journal))
	if u.Request.Kind != KindPause {
		told, err := readChronicle(path)
		if err != nil {
			return err
		}
		x.snap = told.snap
		for _, name := range u.Dropped {
			x.snap.drop(name)
		}
		for _, one := range u.Members {
			if one.Exported && one.Outcome == "" && x.snap.Users[one.U] == nil {
				return fmt.Errorf("journal %s has no user for session %s", path, one.U)
			}
		}
	}
	journal, err := openJournal(path, x.c.toDisk)
	x.journal = journal
	return err
}
