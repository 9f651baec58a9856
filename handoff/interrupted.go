package handoff

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Interrupted is a move of an earlier daemon that has no end in its journal.
type Interrupted struct {
	ID, Pool, From, To string
	Kind               Kind
	Tx                 string
	Was                backend.AdminState // of From before the command
	Users              int
	Links              []string      // server links that it held: they have ended with that daemon
	Released           bool          // the source had been told to forget the users
	Open               []transaction // imports that were begun, none of which was committed, and the export if it was released
	Path               string        // where the journal was put aside
}

// findInterrupted reads the journals that an earlier daemon left in dir and puts each aside as *.interrupted, so that the
// next start does not report it again, but those of moves that go on (claimed). An unreadable journal is put aside too and reported by its path alone.
func findInterrupted(dir string, claimed map[string]bool) ([]Interrupted, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		return nil, fmt.Errorf("look for journals in %s: %w", dir, err)
	}
	var found []Interrupted
	for _, path := range paths {
		if claimed[path] {
			continue
		}
		in, ended, err := readJournal(path)
		if err == nil && ended {
			if err := os.Remove(path); err != nil {
				return found, fmt.Errorf("remove journal of an ended move: %w", err)
			}
			continue
		}
		in.ID = strings.TrimSuffix(filepath.Base(path), ".journal")
		in.Path = path + ".interrupted"
		if err := os.Rename(path, in.Path); err != nil {
			return found, fmt.Errorf("put journal aside: %w", err)
		}
		found = append(found, in)
	}
	return found, nil
}

// readJournal tells what a journal says of its move, and whether the move had an end. A torn last line is what a crash leaves.
func readJournal(path string) (in Interrupted, ended bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return in, false, fmt.Errorf("open journal: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, protocol.MaxLine+1)
	for lines.Scan() {
		m, err := protocol.Parse(lines.Bytes())
		if err != nil {
			return in, false, fmt.Errorf("read journal %s: %w", path, err)
		}
		switch m.Verb {
		case "MOVE":
			in.Pool, in.From, in.To, in.Tx = m.Get("pool"), m.Get("from"), m.Get("to"), m.Get("tx")
			if in.To != "" {
				in.Open = append(in.Open, transaction{To: in.To, Tx: in.Tx})
			}
			in.Kind, in.Was = Kind(m.Get("kind")), backend.AdminState(m.Get("was"))
		case "IMPORT":
			in.Open = append(in.Open, transaction{To: m.Get("to"), Tx: m.Get("tx")})
		case protocol.VerbUser:
			in.Users++
		case protocol.VerbLink:
			in.Links = append(in.Links, m.Get("n"))
		case "RELEASE", "RELEASED":
			if !in.Released {
				in.Open = append(in.Open, transaction{To: in.From, Tx: in.Tx})
			}
			in.Released = true
		case "COMMITTED", "ABORTED":
			ended = true
		}
	}
	return in, ended, lines.Err()
}
