package ircd

import (
	"context"
	"slices"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// behindPoll is how often a stopped world looks for input that is still on its way.
const behindPoll = 200 * time.Microsecond

// Freeze stops the world by taking Server.mu, which Resume and Release give back.
func (e *handoffEnd) Freeze(ctx context.Context, sel []protocol.Selection) error {
	s := e.srv
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return &protocol.Error{Code: protocol.CodeRefused, Text: "shutting down"}
	}
	s.settle()
	e.selected = e.selected[:0]
	var behind []protocol.Selection
	for _, want := range sel {
		c := e.client(want.U)
		if c == nil {
			continue // never came, or left: not exported
		}
		e.selected = append(e.selected, c)
		behind = append(behind, want)
	}
	if err := e.readUp(ctx, behind); err != nil {
		e.Resume()
		return err
	}
	for _, c := range e.selected {
		c.conn.setBlocked(false)
		c.conn.flush()
	}
	return nil
}

// readUp reads the selected streams until each has come to its count, running nothing.
func (e *handoffEnd) readUp(ctx context.Context, behind []protocol.Selection) error {
	for {
		var err error
		behind = slices.DeleteFunc(behind, func(want protocol.Selection) bool {
			conn := e.client(want.U).conn
			if conn.in > want.In {
				err = &protocol.Error{Code: protocol.CodeCount, U: want.U, Text: "more came than was told"}
			}
			there, readErr := conn.fillTo(want.In)
			if readErr != nil && !there {
				err = &protocol.Error{Code: protocol.CodeBehind, U: want.U, Text: "the stream ended"}
			}
			return there
		})
		switch {
		case err != nil:
			return err
		case len(behind) == 0:
			return nil
		case ctx.Err() != nil:
			return &protocol.Error{Code: protocol.CodeBehind, U: behind[0].U, Text: "input is missing"}
		}
		time.Sleep(behindPoll)
	}
}

// Export emits what is known of the selected users who are registered.
func (e *handoffEnd) Export(x protocol.ExportScope, emit func(protocol.Message) error) (int, error) {
	users := e.selected
	if x.Peek {
		e.srv.mu.Lock()
		defer e.srv.mu.Unlock()
		users = nil
		for _, want := range x.Select {
			if c := e.client(want.U); c != nil {
				users = append(users, c)
			}
		}
	}
	users = slices.DeleteFunc(slices.Clone(users), func(c *Client) bool { return !c.registered })
	out := exporter{emit: func(m protocol.Message) error { return emit(e.faults.record(m)) }, peek: x.Peek, now: time.Now()}
	if err := out.export(users); err != nil {
		return 0, err
	}
	return e.unmovable(x.Coordinator), nil
}

// Remain counts who of the coordinator's users stays on a channel of those who go.
func (e *handoffEnd) Remain(coordinator string) (n int) {
	goes := make(map[*Client]bool, len(e.selected))
	left := make(map[*Channel]bool)
	for _, c := range e.selected {
		if goes[c] = true; !c.registered {
			continue
		}
		for _, m := range c.members {
			left[m.channel] = true
		}
	}
	for u, c := range e.streams {
		if c.registered && !goes[c] && protocol.Movable(u, coordinator) && slices.ContainsFunc(c.members, func(m *Member) bool { return left[m.channel] }) {
			n++
		}
	}
	return n
}

// Resume lets the world go on: first what was read and not run.
func (e *handoffEnd) Resume() {
	for _, c := range e.selected {
		if !c.gone && len(c.conn.recvq) > 0 {
			c.run()
		}
	}
	e.thaw()
}

// Release forgets the selected users, and the world goes on.
func (e *handoffEnd) Release(quit string) {
	s := e.srv
	var old []int
	for _, c := range e.selected {
		if c.conn.state == connOpen {
			old = append(old, c.conn.letGo()) // first, so that a QUIT of one is not written to another
		}
	}
	for _, c := range e.selected {
		if quit != "" {
			c.quit(quit)
		} else {
			s.removeClient(c)
		}
		delete(e.streams, c.u)
	}
	// Nobody has to wait for thousands of closes, nor for the events that they make at the other end: clients are standing still.
	s.running.Go(func() {
		time.Sleep(releasedRest)
		for _, fd := range old {
			closeFD(fd)
		}
	})
	e.thaw()
}

// releasedRest is how long the streams of released users stay before they are closed: a move is through by then, as a rule.
const releasedRest = 200 * time.Millisecond

func (e *handoffEnd) thaw() {
	clear(e.selected)
	e.selected = e.selected[:0]
	e.srv.settle()
	e.srv.mu.Unlock()
}

// letGo is closeNow, but that the descriptor is the caller's to close.
func (c *conn) letGo() int {
	c.state = connClosed
	c.owner = nil
	c.recvq = c.srv.putBuffer(c.recvq)
	c.sendq = c.srv.putBuffer(c.sendq)
	c.srv.poll.remove(c.fd, c.key)
	c.srv.conns--
	return c.fd
}

// shut ends a stream as if its peer had.
func (c *conn) shut() { syscall.Shutdown(c.fd, syscall.SHUT_RDWR) }
