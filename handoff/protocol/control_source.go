package protocol

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Selection is one user to be exported: its stream id, and how many bytes were written to the stream since the LF of its OPEN or
// LIVE line.
type Selection struct {
	U  string
	In uint64
}

// ExportRequest is one EXPORT with its SELECT lines.
type ExportRequest struct {
	Tx     string
	Freeze time.Duration // how long the ircd may stand still at most; not for Peek
	Peek   bool          // records only: nothing stops, no stream is read, no queues
	Select []Selection
	Links  []LinkSelection // held links, of an ircd with FeatLinks
}

// End is the END line.
type End struct {
	Channels  int
	Users     int
	Unmovable int // registered users who did not come by this coordinator's streams
	Remain    int // who came by them, are not exported, and share a channel with one who is; told by ircds with FeatRemain, not at Peek
	Links     int
	Unheld    []string // servers that are linked and were not selected
	Records   int
	Sum       uint32
}

// Export stops the source's world (but for Peek) and gives each record to emit, long values joined. The count and the sum are
// checked against END; one that does not fit is an Error with CodeCount or CodeSum. If emit returns an error, the rest is read
// without calling it again, and that error is returned. After an error other than the ircd's own ERROR the world may still stand: call
// Resume, or Close.
func (c *Control) Export(ctx context.Context, req ExportRequest, emit func(Message) error) (End, error) {
	var end End
	var failed error
	err := c.during(ctx, "EXPORT", func() error {
		if err := c.sendExport(req); err != nil {
			return err
		}
		var err error
		end, failed, err = c.readExport(req.Tx, emit)
		return err
	})
	if err == nil {
		err = failed
	}
	return end, err
}

func (c *Control) sendExport(req ExportRequest) error {
	line := Message{Verb: "SELECT", Fields: []Field{{Key: "u"}, {Key: "in"}}}
	for _, s := range req.Select {
		line.Fields[0].Value = s.U
		line.Fields[1].Value = strconv.FormatUint(s.In, 10)
		if err := c.send(line); err != nil {
			return err
		}
	}
	for _, l := range req.Links {
		if err := c.send(l.message("SELECT")); err != nil {
			return err
		}
	}
	m := NewMessage("EXPORT", "tx", req.Tx)
	if req.Peek {
		m.SetBare("peek")
	} else {
		m.SetInt("freeze", req.Freeze.Milliseconds())
	}
	if err := c.send(m); err != nil {
		return err
	}
	return c.out.Flush()
}

// readExport reads up to END. failed is an error of emit or of what the records say, after which the connection is as good as before.
func (c *Control) readExport(tx string, emit func(Message) error) (end End, failed, err error) {
	var (
		tally  Tally
		joiner Joiner
		order  linkOrder
		size   int
	)
	give := func(rec Message, done bool) {
		if !done || failed != nil {
			return
		}
		if failed = order.check(rec); failed == nil {
			failed = emit(rec)
		}
	}
	for {
		m, raw, err := c.in.next()
		if err != nil {
			return End{}, nil, c.readFailed(err)
		}
		if IsRecord(m.Verb) {
			if size += len(raw); size > c.bounds.records {
				return End{}, nil, c.breakWith(&Error{Code: CodeLimit, Tx: tx, Text: "the records are over 256 MiB"})
			}
			tally.Add(m.Verb, raw)
			if m.Verb != VerbData {
				m.line = strings.TrimRight(string(raw), "\r\n")
			}
			rec, done, err := joiner.Add(m, len(raw))
			if failed == nil && err != nil {
				failed = err
			}
			give(rec, done)
			continue
		}
		if err := c.expect(m, "END", tx); err != nil {
			return End{}, nil, err
		}
		give(joiner.Flush())
		if failed != nil {
			return End{}, failed, nil
		}
		end, err := endOf(m)
		if err == nil {
			err = end.check(tally)
		}
		return end, err, nil
	}
}

// Message is the END line.
func (e End) Message(tx string) Message {
	m := NewMessage("END", "tx", tx, "channels", strconv.Itoa(e.Channels), "users", strconv.Itoa(e.Users),
		"unmovable", strconv.Itoa(e.Unmovable), "records", strconv.Itoa(e.Records), "sum", FormatSum(e.Sum))
	if e.Remain > 0 {
		m.SetInt("remain", int64(e.Remain))
	}
	if e.Links > 0 {
		m.SetInt("links", int64(e.Links))
	}
	m.SetList("unheld", e.Unheld)
	return m
}

func endOf(m Message) (End, error) {
	var e End
	for key, to := range map[string]*int{"channels": &e.Channels, "users": &e.Users, "unmovable": &e.Unmovable, "remain": &e.Remain, "links": &e.Links,
		"records": &e.Records} {
		n, err := m.Uint(key)
		if err != nil || n > 1<<31-1 {
			return End{}, m.badValue(key)
		}
		*to = int(n)
	}
	sum, ok := parseSum(m.Get("sum"))
	if !ok {
		return End{}, m.badValue("sum")
	}
	e.Sum, e.Unheld = sum, m.List("unheld")
	return e, nil
}

func (e End) check(t Tally) error {
	switch {
	case e.Records != t.Records || e.Users != t.Users || e.Channels != t.Channels || e.Links != t.Links:
		return &Error{Code: CodeCount, Text: fmt.Sprintf("END tells %d records, %d users, %d channels, %d links; %d, %d, %d, %d came",
			e.Records, e.Users, e.Channels, e.Links, t.Records, t.Users, t.Channels, t.Links)}
	case e.Sum != t.Sum:
		return &Error{Code: CodeSum, Text: "END tells another sum than that of the records"}
	}
	return nil
}

// Release makes the source forget the exported users: the point of no return. With a quit reason the others see ordinary quits,
// with "" nothing. Repeating it is answered alike. After a Resume, or the end of the freeze, it is an Error with CodeResumed.
func (c *Control) Release(ctx context.Context, tx, quit string) error {
	m := NewMessage("RELEASE", "tx", tx)
	if quit != "" {
		m.Set("quit", quit)
	}
	_, err := c.ask(ctx, m, "RELEASED", tx)
	return err
}

// Resume lets the source go on as if nothing had been. It may be repeated, also for a tx that never froze; after Release it is an
// Error with CodeReleased.
func (c *Control) Resume(ctx context.Context, tx string) error {
	_, err := c.ask(ctx, NewMessage("RESUME", "tx", tx), "RESUMED", tx)
	return err
}
