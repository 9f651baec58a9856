package handoff

import (
	"context"
	"fmt"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// A guard refuses in advance what would lose users, be seen by them, or cannot fit. None of them changes anything.

// spareDescriptors is what must stay free beside a move's new streams: control connections, the journal, accepting.
const spareDescriptors = 64

// guardDrain refuses what needs more than a drain can do yet.
func guardDrain(from *backend.Backend) error {
	if from.Native() && from.Pool().Config().Topology == config.Linked {
		return &Refused{Reason: fmt.Sprintf("%s is one of linked servers: moving users inside a network is not built yet", from.FullName()),
			Hint: "ferryctl maint keeps new clients away and leaves its users; ferryctl restart restarts it in place"}
	}
	return nil
}

// destination is the backend that takes the users of a drain.
func (c *Coordinator) destination(r Request, from *backend.Backend) (*backend.Backend, error) {
	if r.To == "" {
		candidates := from.Pool().Candidates(from.Name())
		if len(candidates) == 0 {
			return nil, &Refused{Reason: fmt.Sprintf("%s is the last usable backend of its pool: its users have nowhere to go", from.FullName()),
				Hint: "make another one ready (ferryctl ready), or ferryctl restart it in place"}
		}
		return candidates[0], nil
	}
	to, err := c.find(r.Pool, r.To)
	if err != nil {
		return nil, err
	}
	refuse := func(why, hint string) (*backend.Backend, error) {
		return nil, &Refused{Reason: fmt.Sprintf("%s cannot take the users: it %s", to.FullName(), why), Hint: hint}
	}
	switch {
	case to.Name() == from.Name():
		return refuse("is the backend that is drained", "name another one, or ferryctl restart")
	case !to.Native():
		return refuse("has no driver", "configure handoff: for it")
	case to.Admin() != backend.Ready:
		return refuse("is in "+string(to.Admin()), "ferryctl ready "+to.FullName())
	case to.Oper() != backend.Up:
		return refuse("is down", "ferryctl show backends tells why")
	}
	return to, nil
}

// guardParties looks at what the two ircds say of themselves. dst is nil for a hold.
func guardParties(r Request, from *backend.Backend, sessions int, src protocol.Hello, dst *protocol.Hello) error {
	if err := guardUnmovable(r, from, src); err != nil {
		return err
	}
	if dst != nil && dst.MaxUsers > 0 && dst.Users+sessions > dst.MaxUsers {
		return &Refused{Reason: fmt.Sprintf("%s/%s takes %d users, has %d, and %d would come", r.Pool, r.To, dst.MaxUsers, dst.Users, sessions),
			Hint: "raise its limit or drain to another one"}
	}
	return nil
}

// guardUnmovable refuses what users would see who came in past us.
func guardUnmovable(r Request, from *backend.Backend, src protocol.Hello) *Refused {
	if r.AllowVisible || src.Unmovable == 0 {
		return nil
	}
	return &Refused{Reason: fmt.Sprintf("%s has %d users who did not come through here: they would see the others go", from.FullName(), src.Unmovable),
		Hint: "let all clients come through ircferry, or say --allow-visible", Strangers: src.Unmovable}
}

// guardNative refuses to hold the users of an ircd that cannot give them away.
func guardNative(b *backend.Backend) *Refused {
	if b.Movable() {
		return nil
	}
	return &Refused{Reason: fmt.Sprintf("%s has no driver: its users cannot be held", b.FullName()),
		Hint: "load a handoff module into that ircd and configure handoff: instead of address:, or configure driver: replay"}
}

// guardSame refuses two backends that are one ircd process.
func guardSame(from, to *backend.Backend, src, dst protocol.Hello) error {
	if src.Epoch != dst.Epoch {
		return nil
	}
	return &Refused{Reason: fmt.Sprintf("%s and %s are the same ircd process", from.FullName(), to.FullName()),
		Hint: "correct handoff: of one of them in the configuration"}
}

// underWay refuses a second move in a pool.
func underWay(m *Move) error {
	if m.Report().waits() {
		from := m.request.Pool + "/" + m.request.From
		return &Refused{Reason: fmt.Sprintf("the users of %s are held by move %s", from, m.ID()),
			Hint: fmt.Sprintf("ferryctl release %s, or ferryctl cancel %s, and then again", from, m.ID())}
	}
	if m.request.Kind == KindPause {
		from := m.request.Pool + "/" + m.request.From
		return &Refused{Reason: fmt.Sprintf("the clients of %s are paused by %s", from, m.ID()), Hint: "ferryctl resume " + from + ", and then again"}
	}
	return &Refused{Reason: fmt.Sprintf("move %s is under way in pool %s", m.ID(), m.request.Pool), Hint: "wait for its end or ferryctl cancel it"}
}

// guardDescriptors reckons the streams that are open beside the old ones. A hold closes the old ones first.
func guardDescriptors(s Sessions, r Request, sessions int) error {
	if r.Kind != KindDrain {
		return nil
	}
	used, limit := s.Descriptors()
	if need := used + sessions + spareDescriptors; need > limit {
		return &Refused{Reason: fmt.Sprintf("%d sessions need %d descriptors while they move, the process may have %d (%d in use)", sessions, need, limit, used),
			Hint: "raise LimitNOFILE, or ferryctl restart the backend in place, which needs none beside the old ones"}
	}
	return nil
}

// drainRelay drains a backend without a driver in HAProxy's sense.
func (c *Coordinator) drainRelay(r Request, from *backend.Backend) (*Move, error) {
	if from.Pool().Serving() == from.Name() || from.Pool().Config().Topology == config.Linked {
		if !usableBeside(from) {
			return nil, &Refused{Reason: fmt.Sprintf("%s is the last usable backend of its pool: new clients would have nowhere to go", from.FullName()),
				Hint: "make another one ready (ferryctl ready), or ferryctl maint it if that is meant"}
		}
	}
	m, _, err := c.claim(r)
	if err != nil {
		return nil, err
	}
	defer c.wg.Done()
	if err := from.SetAdmin(backend.Drain); err != nil {
		c.free(m)
		return nil, fmt.Errorf("drain %s: %w", from.FullName(), err)
	}
	c.keep(m)
	refs, _ := c.opt.Sessions.On(context.Background(), from.FullName())
	m.update(func(report *Report) {
		report.Attempted, report.Left = len(refs), len(refs)
		why := "has no driver"
		if from.Replays() {
			why = "can have its users made again on itself only (ferryctl restart)"
		}
		report.Note = fmt.Sprintf("%s %s: no new clients come to it, its %d sessions stay until they leave", from.FullName(), why, len(refs))
	})
	c.free(m)
	m.end(StateDone, nil)
	return m, nil
}

func usableBeside(from *backend.Backend) bool {
	for _, b := range from.Pool().Backends() {
		if b != from && b.Admin() == backend.Ready && b.Oper() == backend.Up {
			return true
		}
	}
	return false
}
