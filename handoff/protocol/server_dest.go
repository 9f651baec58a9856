package protocol

import (
	"net"
	"strings"
	"sync"
	"time"
)

// dest is the one import that a Server may have open. Its states are DestState, in the table. mu is held over the calls of
// Destination, which may wait for a world that stands still; nothing that ends such a standstill takes it.
type dest struct {
	mu      sync.Mutex
	tx      string // "": no import
	tok     string
	owner   *controlConn // who may send records
	timer   *time.Timer  // lease
	streams map[string]net.Conn
	linked  bool            // links are replayed in it
	links   map[string]bool // of the records

	records   []Message
	users     map[string]struct{} // of the records
	channels  map[string]struct{}
	tally     Tally
	bytes     int
	joiner    Joiner
	fault     *Error // the first wrong record; PREPARE answers with it
	conflicts int    // of PREPARED
}

func (c *controlConn) importTx(m Message) error {
	tx, err := txOf(m)
	if err != nil {
		return err
	}
	lease, err := m.Uint("lease")
	if err != nil || lease == 0 || lease > uint64(MaxLease/time.Second) {
		return &Error{Code: CodeBadValue, Text: "IMPORT lease: not within 1 s and 1 h"}
	}
	tok := m.Get("tok")
	if !ValidTx(tok) {
		return &Error{Code: CodeBadValue, Text: "IMPORT tok: not 32 lower-case hex digits"}
	}
	kick := m.Get("kick")
	if strings.ContainsAny(kick, "\x00\r\n") {
		return &Error{Code: CodeBadValue, Text: "IMPORT kick: not one line"}
	}
	if err := c.s.dst.begin(c, tx, tok, time.Duration(lease)*time.Second, kick, m.Has("links")); err != nil {
		return err
	}
	return c.send(answer("IMPORTING", tx))
}

func (d *dest) begin(c *controlConn, tx, tok string, lease time.Duration, kick string, links bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state := c.s.table.get(tx).dest; state != DestUnknown && state != DestAborted {
		return &Error{Code: CodeState, Text: "the tx is " + state.String() + " here"}
	}
	if d.tx != "" {
		return &Error{Code: CodeBusy, Text: "another import is open"}
	}
	if links {
		if _, err := c.s.linker(); err != nil {
			return err
		}
	}
	if err := c.s.ircd.Begin(tx, kick); err != nil {
		return err
	}
	if links {
		if err := c.s.bar(tx); err != nil {
			c.s.ircd.Abort()
			return err
		}
	}
	d.linked, d.links = links, make(map[string]bool)
	d.tx, d.tok, d.owner = tx, tok, c
	d.streams = make(map[string]net.Conn)
	d.users, d.channels = make(map[string]struct{}), make(map[string]struct{})
	d.timer = time.AfterFunc(lease, func() { d.leaseOver(c.s, tok) })
	c.s.table.setDest(tx, DestStaging)
	return nil
}

// clearLocked forgets the transaction; its streams are somebody else's or closed.
func (d *dest) clearLocked() {
	d.timer.Stop()
	d.tx, d.tok, d.owner, d.timer, d.streams = "", "", nil, nil, nil
	d.records, d.users, d.channels, d.linked, d.links = nil, nil, nil, false, nil
	d.tally, d.bytes, d.joiner, d.fault, d.conflicts = Tally{}, 0, Joiner{}, nil, 0
}

func (d *dest) abortLocked(s *Server) {
	s.ircd.Abort()
	s.table.setDest(d.tx, DestAborted)
	for _, conn := range d.streams {
		s.untrack(conn)
		conn.Close()
	}
	d.clearLocked()
}

// leaseOver is the lease's timer. The tok, not the tx, says whether this import is still the one: a tx may be imported again.
func (d *dest) leaseOver(s *Server, tok string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tx != "" && d.tok == tok {
		d.abortLocked(s)
	}
}

func (d *dest) stop(s *Server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tx != "" {
		d.abortLocked(s)
	}
}

func (c *controlConn) prepare(m Message) error {
	tx, err := txOf(m)
	if err != nil {
		return err
	}
	d := &c.s.dst
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.openLocked(c.s, tx); err != nil {
		return err
	}
	if d.owner != c || c.s.table.get(tx).dest != DestStaging {
		return &Error{Code: CodeState, Text: "PREPARE once, on the connection of the IMPORT"}
	}
	p, err := d.prepareLocked(c.s, m)
	if err != nil {
		d.abortLocked(c.s)
		return err
	}
	c.s.table.setDest(tx, DestPrepared)
	d.conflicts = len(p.Conflicts)
	return c.sendPrepared(tx, p)
}

func (d *dest) prepareLocked(s *Server, m Message) (Prepared, error) {
	if rec, ok := d.joiner.Flush(); ok && d.fault == nil {
		d.fault = d.takeLocked(rec, s.cfg.MaxUsers)
	}
	records, err := m.Uint("records")
	sum, ok := parseSum(m.Get("sum"))
	switch {
	case d.fault != nil:
		return Prepared{}, d.fault
	case err != nil || !ok:
		return Prepared{}, &Error{Code: CodeBadValue, Text: "PREPARE: records or sum make no sense"}
	case records != uint64(d.tally.Records):
		return Prepared{}, &Error{Code: CodeCount, Text: "PREPARE tells " + m.Get("records") + " records, " + itoa(d.tally.Records) + " came"}
	case sum != d.tally.Sum:
		return Prepared{}, &Error{Code: CodeSum, Text: "PREPARE tells another sum than that of the records"}
	}
	p, err := s.ircd.Prepare(d.records)
	d.records = nil // built: the ircd has them
	p.Users = len(d.users)
	return p, err
}

func (c *controlConn) sendPrepared(tx string, p Prepared) error {
	for _, n := range p.Warns {
		if err := c.send(n.Message("WARN", tx)); err != nil {
			return err
		}
	}
	for _, n := range p.Conflicts {
		if err := c.send(n.Message("CONFLICT", tx)); err != nil {
			return err
		}
	}
	return c.send(answer("PREPARED", tx, "users", itoa(p.Users), "warns", itoa(len(p.Warns)), "conflicts", itoa(len(p.Conflicts))))
}

// openLocked is nil if tx is the open import, and else says why not.
func (d *dest) openLocked(s *Server, tx string) error {
	if d.tx == tx {
		return nil
	}
	switch s.table.get(tx).dest {
	case DestAborted:
		return &Error{Code: CodeAborted, Text: "aborted, or its lease is over"}
	case DestUnknown:
		return &Error{Code: CodeUnknownTx, Text: "never imported here"}
	}
	return &Error{Code: CodeState, Text: "the tx is at its end here"}
}

func (c *controlConn) commit(m Message) error {
	tx, err := txOf(m)
	if err != nil {
		return err
	}
	d := &c.s.dst
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case m.Has("missing") && m.Get("missing") != "quit":
		return &Error{Code: CodeBadValue, Text: "COMMIT missing: not quit"}
	case m.Has("quiet") && !m.Has("missing"):
		return &Error{Code: CodeBadValue, Text: "COMMIT quiet without missing=quit"}
	case c.s.table.get(tx).dest != DestCommitted:
		if err := d.openLocked(c.s, tx); err != nil {
			return err
		}
		if err := d.commitLocked(c.s, m.Has("missing"), m.Has("quiet")); err != nil {
			return err
		}
	}
	e := c.s.table.get(tx)
	for _, u := range e.who {
		if err := c.send(answer("MISSING", tx, "u", u)); err != nil {
			return err
		}
	}
	committed := answer("COMMITTED", tx, "users", itoa(e.users))
	if e.missing >= 0 {
		committed.SetInt("missing", int64(e.missing))
	}
	return c.send(committed)
}

func (d *dest) commitLocked(s *Server, quit, quiet bool) error {
	if s.table.get(d.tx).dest != DestPrepared {
		return &Error{Code: CodeState, Text: "COMMIT before PREPARE"}
	}
	if d.conflicts > 0 {
		return &Error{Code: CodeConflict, Text: "PREPARED told conflicts"}
	}
	streams := make(map[string]net.Conn, len(d.users))
	var who []string
	for u := range d.users {
		conn := d.streams[u]
		switch {
		case conn != nil && alive(conn):
			streams[u] = conn
		case !quit:
			return &Error{Code: CodeNotAttached, U: u, Text: "no stream, or one that ended or spoke before LIVE"}
		case quiet:
			who = append(who, u)
		}
	}
	if err := s.ircd.Commit(streams, quiet); err != nil {
		return err
	}
	missing := -1
	if quit {
		missing = len(d.users) - len(streams)
	}
	s.table.setCommitted(d.tx, len(streams), missing, who)
	for u, conn := range d.streams {
		s.untrack(conn)
		if streams[u] == nil {
			conn.Close() // attached, but in no record, or missing
		}
	}
	d.clearLocked()
	return nil
}

func (c *controlConn) abort(m Message) error {
	tx, err := txOf(m)
	if err != nil {
		return err
	}
	d := &c.s.dst
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tx == tx {
		d.abortLocked(c.s)
	} else if c.s.table.get(tx).dest == DestCommitted {
		return &Error{Code: CodeCommitted, Text: "the users are live here"}
	}
	return c.send(answer("ABORTED", tx))
}
