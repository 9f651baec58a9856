package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// endless answers the question whose verb is verb with line, over and over, until nobody reads any more.
func (k *talk) endless(verb, line string) {
	for {
		got, err := k.r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(got, verb+" ") {
			break
		}
	}
	go io.Copy(io.Discard, k.r)
	for n := 0; ; n++ {
		if _, err := fmt.Fprintf(k.conn, strings.ReplaceAll(line, "#", "%[1]d")+"\n", n); err != nil {
			return
		}
	}
}

// Whatever an ircd repeats without an end is given up at its bound, which names what was too much, and the connection with it.
func TestEveryAnswerHasABound(t *testing.T) {
	const tx = "0123456789abcdef0123456789abcdef"
	given := 0
	export := func(ctx context.Context, c *Control, emit func(Message) error) error {
		_, err := c.Export(ctx, ExportRequest{Tx: tx, Peek: true}, emit)
		return err
	}
	take := func(Message) error { given++; return nil }
	for name, x := range map[string]struct {
		verb, line string
		ask        func(context.Context, *Control) error
		given      int // records of the bound
		says       string
	}{
		"records": {"EXPORT", "USER u=i.# nick=n#", func(ctx context.Context, c *Control) error { return export(ctx, c, take) }, 40, "the records are over"},
		"records that are refused": {"EXPORT", "USER u=i.# nick=n#", func(ctx context.Context, c *Control) error {
			return export(ctx, c, func(Message) error { given++; return errors.New("the disk is full") })
		}, 1, "the records are over"},
		"DATA": {"EXPORT", "DATA k=rq d=#", func(ctx context.Context, c *Control) error { return export(ctx, c, take) }, 0, "the records are over"},
		"WARN": {"PREPARE", "WARN code=changed u=i.#", func(ctx context.Context, c *Control) error { _, err := c.Prepare(ctx, tx); return err }, 0,
			"WARN and CONFLICT"},
		"CONFLICT": {"PREPARE", "CONFLICT code=nick-in-use u=i.#", func(ctx context.Context, c *Control) error { _, err := c.Prepare(ctx, tx); return err }, 0,
			"WARN and CONFLICT"},
		"MISSING": {"COMMIT", "MISSING u=i.#", func(ctx context.Context, c *Control) error { _, err := c.CommitQuiet(ctx, tx); return err }, 0, "MISSING"},
	} {
		t.Run(name, func(t *testing.T) {
			given = 0
			c, far := pipe(t)
			c.bounds = bounds{records: 1000, notes: 1000}
			go far.endless(x.verb, x.line)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := x.ask(ctx, c)
			if !errors.Is(err, ErrBroken) || !c.Broken() || !strings.Contains(err.Error(), x.says) {
				t.Fatalf("got %v", err)
			}
			if given > 1000/len("USER u=i.1 nick=n1\n") || given < x.given {
				t.Errorf("%d records were given to the caller, of 1,000 bytes", given)
			}
		})
	}
}

// The bounds are the standard's, and leave room for what is at the bound.
func TestBoundsOfTheStandard(t *testing.T) {
	c, far := pipe(t)
	if c.bounds != (bounds{records: 256 << 20, notes: 64 << 20}) || MaxRecord != 4<<20 {
		t.Errorf("bounds %+v, of one record %d; HANDOFF.md section 12 has others", c.bounds, MaxRecord)
	}
	const record = "USER u=i.1 nick=n1\n"
	c.bounds.records = len(record)
	go func() {
		far.r.ReadString('\n')
		fmt.Fprintf(far.conn, "%sEND tx=a channels=0 users=1 unmovable=0 records=1 sum=%s\n", record, FormatSum(sumOf(VerbUser, record)))
	}()
	if end, err := c.Export(t.Context(), ExportRequest{Tx: "a", Peek: true}, func(Message) error { return nil }); err != nil || end.Users != 1 {
		t.Errorf("an export that is as large as the bound: %+v, %v", end, err)
	}
}

func sumOf(verb, line string) uint32 {
	var t Tally
	t.Add(verb, []byte(line))
	return t.Sum
}
