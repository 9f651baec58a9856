package protocol

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Note is a WARN or CONFLICT line: about one user, one channel, one link or none of them.
type Note struct {
	U    string
	C    string
	L    string // a link's name
	Code string // a fixed word; the table is in HANDOFF.md
	Key  string // of the record
	Text string // for people
}

// Prepared is what the destination says when everything is built.
type Prepared struct {
	Users     int
	Warns     []Note // cannot be kept exactly
	Conflicts []Note // with any of them COMMIT is refused
}

// Import opens a transaction at the destination; streams may attach with tok from its return on. lease is how long the ircd keeps
// what is not committed, at least a second. With kick, channels that were made anew after those of the records give way: who is on
// them is kicked with that reason, one line. With "" they are conflicts. An ircd that does not know kick ignores it.
func (c *Control) Import(ctx context.Context, tx, tok string, lease time.Duration, kick string) error {
	return c.askImport(ctx, importMessage(tx, tok, lease, kick), tx)
}

func importMessage(tx, tok string, lease time.Duration, kick string) Message {
	secs := int64((lease + time.Second - 1) / time.Second)
	m := NewMessage("IMPORT", "tx", tx, "tok", tok, "lease", strconv.FormatInt(secs, 10))
	if kick != "" {
		m.Set("kick", kick)
	}
	return m
}

func (c *Control) askImport(ctx context.Context, m Message, tx string) error {
	c.sent = Tally{}
	_, err := c.ask(ctx, m, "IMPORTING", tx)
	return err
}

// Record sends one record of the transaction that Import opened on this Control, buffered, its long values split. in, out, rq and sq
// are the caller's to take out (User.Strip). Nothing is answered; what is wrong with it, Prepare will tell.
func (c *Control) Record(ctx context.Context, m Message) error {
	var err error
	c.scratch, err = AppendRecord(c.scratch[:0], m, c.maxLine, &c.sent)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if len(c.scratch) <= c.out.Available() && !c.broken.Load() {
		_, err = c.out.Write(c.scratch)
		return err
	}
	return c.during(ctx, "record", func() error {
		_, err := c.out.Write(c.scratch)
		return err
	})
}

// Prepare ends the records and lets the destination build everything, unseen.
func (c *Control) Prepare(ctx context.Context, tx string) (Prepared, error) {
	var p Prepared
	m := NewMessage("PREPARE", "tx", tx, "records", strconv.Itoa(c.sent.Records), "sum", FormatSum(c.sent.Sum))
	err := c.during(ctx, "PREPARE", func() error {
		if err := c.send(m); err != nil {
			return err
		}
		if err := c.out.Flush(); err != nil {
			return err
		}
		var err error
		p, err = c.readPrepared(tx)
		return err
	})
	return p, err
}

// maxNotes bounds the WARN and CONFLICT lines of one PREPARE, and the MISSING lines of one COMMIT: all are kept in memory.
const maxNotes = 64 << 20

// bounds is how many bytes an ircd may send in one answer. A test has smaller ones.
type bounds struct {
	records int // of one EXPORT
	notes   int // of one PREPARE or COMMIT
}

func (c *Control) readPrepared(tx string) (Prepared, error) {
	var p Prepared
	for size := 0; ; {
		m, raw, err := c.in.next()
		if err != nil {
			return Prepared{}, c.readFailed(err)
		}
		if size += len(raw); size > c.bounds.notes {
			return Prepared{}, c.breakWith(&Error{Code: CodeLimit, Tx: tx, Text: "too many WARN and CONFLICT lines"})
		}
		switch m.Verb {
		case "WARN":
			p.Warns = append(p.Warns, noteOf(m))
			continue
		case "CONFLICT":
			p.Conflicts = append(p.Conflicts, noteOf(m))
			continue
		}
		if err := c.expect(m, "PREPARED", tx); err != nil {
			return Prepared{}, err
		}
		users, err := m.Uint("users")
		if err != nil || users != uint64(c.sent.Users) {
			return p, &Error{Code: CodeCount, Tx: tx, Text: fmt.Sprintf("PREPARED tells %s users, %d were sent", m.Get("users"), c.sent.Users)}
		}
		p.Users = int(users)
		warns, err1 := m.Uint("warns")
		conflicts, err2 := m.Uint("conflicts")
		if err1 != nil || err2 != nil || warns != uint64(len(p.Warns)) || conflicts != uint64(len(p.Conflicts)) {
			return p, &Error{Code: CodeCount, Tx: tx, Text: "PREPARED tells other numbers of warnings or conflicts than came"}
		}
		return p, nil
	}
}

// Message is the note as a WARN or CONFLICT line.
func (n Note) Message(verb, tx string) Message {
	m := NewMessage(verb, "tx", tx)
	for _, f := range [...]Field{{Key: "u", Value: n.U}, {Key: "c", Value: n.C}, {Key: "l", Value: n.L}, {Key: "code", Value: n.Code}, {Key: "k", Value: n.Key},
		{Key: "text", Value: n.Text}} {
		if f.Value != "" {
			m.Set(f.Key, f.Value)
		}
	}
	return m
}

func noteOf(m Message) Note {
	return Note{U: m.Get("u"), C: m.Get("c"), L: m.Get("l"), Code: m.Get("code"), Key: m.Get("k"), Text: m.Get("text")}
}

// Commit makes all users live in one turn and returns how many. Repeating it is answered alike. If a stream is missing it is an
// Error with CodeNotAttached and its U, and nothing has happened.
func (c *Control) Commit(ctx context.Context, tx string) (users int, err error) {
	done, err := c.commit(ctx, NewMessage("COMMIT", "tx", tx))
	return done.Users, err
}

// Committed is what a COMMIT has done.
type Committed struct {
	Users   int      // live on a stream
	Missing int      // quit for lack of one
	Who     []string // these, if it was quiet
}

// CommitMissing is Commit that lets the users without a stream quit, visibly and in the same turn. users are those who are live on a
// stream, missing those who have quit. For an ircd with FeatMissing.
func (c *Control) CommitMissing(ctx context.Context, tx string) (users, missing int, err error) {
	done, err := c.commit(ctx, NewMessage("COMMIT", "tx", tx, "missing", "quit"))
	return done.Users, done.Missing, err
}

// CommitQuiet is CommitMissing without LIVE lines: the answer is the LIVE of all but those whom it names. For an ircd with FeatQuiet.
func (c *Control) CommitQuiet(ctx context.Context, tx string) (Committed, error) {
	m := NewMessage("COMMIT", "tx", tx, "missing", "quit")
	m.SetBare("quiet")
	return c.commit(ctx, m)
}

func (c *Control) commit(ctx context.Context, m Message) (done Committed, err error) {
	tx := m.Get("tx")
	err = c.during(ctx, "COMMIT", func() error {
		if err := c.send(m); err != nil {
			return err
		}
		if err := c.out.Flush(); err != nil {
			return err
		}
		var err error
		done, err = c.readCommitted(tx)
		return err
	})
	return done, err
}

func (c *Control) readCommitted(tx string) (done Committed, err error) {
	for size := 0; ; {
		m, raw, err := c.in.next()
		if err != nil {
			return Committed{}, c.readFailed(err)
		}
		if size += len(raw); size > c.bounds.notes {
			return Committed{}, c.breakWith(errors.New("too many MISSING lines"))
		}
		if m.Verb == "MISSING" {
			done.Who = append(done.Who, m.Get("u"))
			continue
		}
		if err := c.expect(m, "COMMITTED", tx); err != nil {
			return Committed{}, err
		}
		for key, to := range map[string]*int{"users": &done.Users, "missing": &done.Missing} {
			n, err := m.Uint(key)
			if err != nil || n > 1<<31-1 {
				return Committed{}, c.breakWith(m.badValue(key)) // it has committed: STATUS may be asked, no ERROR was said
			}
			*to = int(n)
		}
		if len(done.Who) > 0 && len(done.Who) != done.Missing {
			return Committed{}, c.breakWith(errors.New("COMMITTED tells another number of missing users than were named"))
		}
		return done, nil
	}
}

// Abort drops a transaction that is not committed: its streams are closed, its nicks free. It may be repeated, also for a tx that is
// not known; after Commit it is an Error with CodeCommitted.
func (c *Control) Abort(ctx context.Context, tx string) error {
	_, err := c.ask(ctx, NewMessage("ABORT", "tx", tx), "ABORTED", tx)
	return err
}
