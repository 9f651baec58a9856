package protocol

import (
	"context"
	"sync"
	"time"
)

// source is the one export that a Server may have open. Its states are SourceState, in the table; here is who owns the stopped world.
// mu is held over Ircd.Resume and Ircd.Release, which do not block: so a RELEASE, the freeze's timer and the connection's end cannot
// both have the world.
type source struct {
	mu        sync.Mutex
	tx        string       // "": no export
	owner     *controlConn // whose end resumes
	exporting bool         // Freeze or Export runs, without mu
	frozen    bool
	until     time.Time // the end of the freeze
	timer     *time.Timer
}

func (c *controlConn) export(m Message) error {
	sel, fault := c.takeSelection()
	links := c.takeLinks()
	tx, err := txOf(m)
	if err != nil {
		return err
	}
	if fault != nil {
		return fault
	}
	if m.Has("peek") {
		return c.s.src.peek(c, tx, ExportScope{Coordinator: c.coordinator, Select: sel, Links: links, Peek: true})
	}
	ms, err := m.Uint("freeze")
	if err != nil || ms == 0 || ms > uint64(MaxFreeze/time.Millisecond) {
		return &Error{Code: CodeBadValue, Text: "EXPORT freeze: not within 1 ms and 60 s"}
	}
	return c.s.src.export(c, tx, ExportScope{Coordinator: c.coordinator, Select: sel, Links: links}, time.Duration(ms)*time.Millisecond)
}

// begin takes the one place for an export.
func (x *source) begin(c *controlConn, tx string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tx != "" {
		return &Error{Code: CodeBusy, Text: "another export is open"}
	}
	if c.s.table.get(tx).source != SourceUnknown {
		return &Error{Code: CodeState, Text: "the tx was exported before"}
	}
	x.tx, x.owner, x.exporting, x.frozen = tx, c, true, false
	return nil
}

// endLocked gives the place back.
func (x *source) endLocked() {
	if x.timer != nil {
		x.timer.Stop()
	}
	x.tx, x.owner, x.exporting, x.frozen, x.timer = "", nil, false, false, nil
}

// conn is the connection that an export runs on.
func (x *source) conn() *controlConn {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.exporting {
		return nil
	}
	return x.owner
}

// ownedBy reports whether a connection's export is open.
func (x *source) ownedBy(c *controlConn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.tx != "" && x.owner == c
}

func (x *source) peek(c *controlConn, tx string, scope ExportScope) error {
	if err := x.begin(c, tx); err != nil {
		return err
	}
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.endLocked()
	}()
	// All in memory first: the ircd holds its world while it emits, and must not wait for our reader.
	var lines []Message
	unmovable, err := c.s.ircd.Export(scope, func(m Message) error {
		lines = append(lines, m)
		return nil
	})
	if err != nil {
		return err
	}
	w := recordWriter{c: c}
	for _, m := range lines {
		c.conn.SetWriteDeadline(time.Now().Add(writeTime))
		if err := w.emit(m); err != nil {
			return errEnd
		}
	}
	return c.send(w.end(unmovable, c.s.unheld(scope.Links)).Message(tx))
}

// export runs a freeze up to END. If it fails, the world has resumed when it returns.
func (x *source) export(c *controlConn, tx string, scope ExportScope, freeze time.Duration) error {
	if err := x.begin(c, tx); err != nil {
		return err
	}
	over := time.Now().Add(freeze)
	ctx, cancel := context.WithDeadline(context.Background(), soonest(over, time.Now().Add(behindTime)))
	err := c.s.ircd.Freeze(ctx, scope.Select)
	cancel()
	if err == nil {
		err = c.markFrozen(tx, scope.Links, over)
	}
	if err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.endLocked()
		return err
	}
	c.s.table.setSource(tx, SourceFrozen)
	// A coordinator that does not read cannot hold the world longer than it said: writing ends with the freeze.
	c.conn.SetWriteDeadline(over)
	err = c.exportRecords(tx, scope)

	x.mu.Lock()
	defer x.mu.Unlock()
	x.exporting, x.frozen, x.until = false, true, over
	if err != nil {
		x.thawLocked(c.s)
		return err
	}
	x.timer = time.AfterFunc(time.Until(over), func() { x.over(c.s, tx) })
	return nil
}

// markFrozen writes the first markers in the world that Freeze has stopped; on error it goes on.
func (c *controlConn) markFrozen(tx string, links []LinkSelection, over time.Time) error {
	ctx, cancel := context.WithDeadline(context.Background(), soonest(over, time.Now().Add(behindTime)))
	defer cancel()
	err := c.s.mark(ctx, tx, links)
	if err != nil {
		c.s.ircd.Resume()
	}
	return err
}

func (c *controlConn) exportRecords(tx string, scope ExportScope) error {
	w := recordWriter{c: c}
	unmovable, err := c.s.ircd.Export(scope, w.emit)
	if w.failed {
		return errEnd
	}
	if err != nil {
		return err
	}
	end := w.end(unmovable, c.s.unheld(scope.Links))
	if ircd, tells := c.s.ircd.(Remainer); tells {
		end.Remain = ircd.Remain(c.coordinator)
	}
	if err := c.send(end.Message(tx)); err != nil {
		return err
	}
	if c.out.Flush() != nil {
		return errEnd
	}
	return nil
}

func soonest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// thawLocked is every way back but RELEASE.
func (x *source) thawLocked(s *Server) {
	s.table.setSource(x.tx, SourceResumed)
	s.ircd.Resume()
	x.endLocked()
}

// over is the freeze's timer.
func (x *source) over(s *Server, tx string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tx == tx && x.frozen {
		x.thawLocked(s)
	}
}

// leave is the end of a control connection.
func (x *source) leave(s *Server, c *controlConn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.owner == c && x.frozen {
		x.thawLocked(s)
	}
}

// stop is the end of the Server: no connection is left that could own the world.
func (x *source) stop(s *Server) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.frozen {
		x.thawLocked(s)
	}
}

func (c *controlConn) release(m Message) error {
	tx, err := txOf(m)
	if err != nil {
		return err
	}
	x := &c.s.src
	x.mu.Lock()
	defer x.mu.Unlock()
	// A process that was stopped may come to a RELEASE before it comes to its timer, long after whoever has sent it went on without it.
	if x.tx == tx && x.frozen && !time.Now().Before(x.until) {
		x.thawLocked(c.s)
	}
	switch {
	case x.tx == tx && x.frozen:
		c.s.table.setSource(tx, SourceReleased)
		err := c.sendReleased(tx)
		c.s.ircd.Release(m.Get("quit"))
		x.endLocked()
		return err
	case x.tx == tx:
		return &Error{Code: CodeBusy, Text: "the export is not at its end"}
	default:
		switch c.s.table.get(tx).source {
		case SourceReleased:
		case SourceResumed:
			return &Error{Code: CodeResumed, Text: "the world went on"}
		default:
			return &Error{Code: CodeUnknownTx, Text: "never exported here"}
		}
	}
	return c.send(answer("RELEASED", tx))
}

// releasedTime bounds the write of RELEASED, which the world waits for.
const releasedTime = 100 * time.Millisecond

// sendReleased answers before the users are taken apart: everybody waits for the answer, and nobody for that. If it cannot be written,
// STATUS tells.
func (c *controlConn) sendReleased(tx string) error {
	if err := c.send(answer("RELEASED", tx)); err != nil {
		return err
	}
	c.conn.SetWriteDeadline(time.Now().Add(releasedTime))
	if c.out.Flush() != nil {
		return errEnd
	}
	return nil
}

func (c *controlConn) resume(m Message) error {
	tx, err := txOf(m)
	if err != nil {
		return err
	}
	x := &c.s.src
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.tx == tx && x.frozen:
		x.thawLocked(c.s)
	case x.tx == tx:
		return &Error{Code: CodeBusy, Text: "the export is not at its end"}
	case c.s.table.get(tx).source == SourceReleased:
		return &Error{Code: CodeReleased, Text: "the users are forgotten"}
	case c.s.table.get(tx).source == SourceUnknown:
		c.s.table.setSource(tx, SourceResumed) // a fence: an EXPORT of it that comes late is refused
	}
	return c.send(answer("RESUMED", tx))
}
