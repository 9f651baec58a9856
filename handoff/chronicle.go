package handoff

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// chronicle is what a journal says.
type chronicle struct {
	marks []protocol.Message // all but records
	snap  *Snapshot          // of the records; those of links left out whose lines it never had
}

// readChronicle reads a journal. A torn last line is what a crash leaves: it is passed over.
func readChronicle(path string) (*chronicle, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer file.Close()
	c := &chronicle{snap: newSnapshot()}
	var joiner protocol.Joiner
	take := func(rec protocol.Message, whole bool) error {
		if !whole {
			return nil
		}
		_, err := c.snap.add(rec)
		return err
	}
	add := func(line []byte) error {
		m, err := protocol.Parse(line[:len(line)-1])
		switch {
		case err != nil:
			return err
		case protocol.IsRecord(m.Verb):
			rec, whole, err := joiner.Add(m, len(line))
			if err != nil {
				return err
			}
			return take(rec, whole)
		}
		c.marks = append(c.marks, m)
		return take(joiner.Flush())
	}
	if err = eachLine(file, add); err == nil {
		err = take(joiner.Flush())
	}
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	return c, nil
}

// eachLine gives the whole lines of a file, with their end.
func eachLine(file *os.File, f func(line []byte) error) error {
	lines := bufio.NewReaderSize(file, protocol.MaxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(line); err != nil {
			return err
		}
	}
}

// said is the last mark of that verb; ok false: there is none.
func (c *chronicle) said(verb string) (m protocol.Message, ok bool) {
	for _, m := range slices.Backward(c.marks) {
		if m.Verb == verb {
			return m, true
		}
	}
	return protocol.Message{}, false
}

// tries are the imports that were begun and of which it is not said that they have failed, in order: the last one may be committed.
func (c *chronicle) tries() (open []try) {
	for _, m := range c.marks {
		switch m.Verb {
		case "MOVE":
			if to := m.Get("to"); to != "" {
				open = append(open, try{to: to, tx: m.Get("tx"), epoch: m.Get("dst")})
			}
		case "IMPORT":
			open = append(open, try{to: m.Get("to"), tx: m.Get("tx"), epoch: m.Get("epoch")})
		case "FAILED":
			open = slices.DeleteFunc(open, func(t try) bool { return t.tx == m.Get("tx") })
		}
	}
	return open
}

// try is one import.
type try struct{ to, tx, epoch string }
