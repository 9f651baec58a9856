package handoff

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Journal is what one move has written to disk, in this order: the parties, the records, the intent to release, released, and
// committed or aborted. It is a text file of HANDOFF/1 lines (mode 0600, in a directory of mode 0700, since queues are chat text):
//
//	MOVE id= kind= pool= from= to= tx= epoch= was=      was: the admin state of from before the command
//	CHAN, LIST, USER, MEMB, DATA            as the source gave them
//	RELEASE tx=                             synced before RELEASE is sent
//	RELEASED tx=
//	IMPORT tx= to=                          each try to place the users
//	COMMITTED tx= to= | ABORTED tx=         synced when all have been thawed
//
// From RELEASED on nobody waits for the disk, which can take seconds on a busy host: marks are written, so that they survive the daemon,
// and what the end of the whole host takes is a mark about clients whose connections it has ended too.
//
// One goroutine, the move's. It is removed when the users have an owner again, and kept when they have none.
type Journal struct {
	path string
	file *os.File
	w    *bufio.Writer
	line []byte // scratch

	toDisk func(*os.File) error
}

// journalBuffer: records are about 100 bytes and come by the ten thousand; one write for some hundreds of them.
const journalBuffer = 64 << 10

// createJournal begins the journal of a move in dir (made if absent). It is an error if one of this name exists.
func createJournal(dir, id string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal directory: %w", err)
	}
	path := filepath.Join(dir, id+".journal")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	return &Journal{path: path, file: file, w: bufio.NewWriterSize(file, journalBuffer), toDisk: (*os.File).Sync}, nil
}

// Path is where the journal lies.
func (j *Journal) Path() string { return j.path }

// begin writes the parties of the move.
func (j *Journal) begin(r Request, id, tx, epoch string, was backend.AdminState) error {
	return j.sync(protocol.NewMessage("MOVE", "id", id, "kind", string(r.Kind), "pool", r.Pool, "from", r.From, "to", r.To, "tx", tx, "epoch", epoch, "was", string(was)))
}

// record writes one record of the source; nothing is on disk before sync.
func (j *Journal) record(rec protocol.Message) error {
	return j.append(rec)
}

// mark writes a mark and all before it; they survive the daemon, and the host after the next sync.
func (j *Journal) mark(mark protocol.Message) error {
	if err := j.append(mark); err != nil {
		return err
	}
	if err := j.w.Flush(); err != nil {
		return fmt.Errorf("write journal %s: %w", j.path, err)
	}
	return nil
}

// sync writes a mark and returns when it and all before it are on disk.
func (j *Journal) sync(mark protocol.Message) error {
	if err := j.mark(mark); err != nil {
		return err
	}
	if err := j.toDisk(j.file); err != nil {
		return fmt.Errorf("sync journal %s: %w", j.path, err)
	}
	return nil
}

func (j *Journal) append(m protocol.Message) error {
	line, err := protocol.AppendRecord(j.line[:0], m, 0, nil)
	if err != nil {
		return fmt.Errorf("write journal %s: %w", j.path, err)
	}
	j.line = line
	if _, err := j.w.Write(line); err != nil {
		return fmt.Errorf("write journal %s: %w", j.path, err)
	}
	return nil
}

// done is remove for a journal that says so: if the host ends now, the next start must not find a move without an end.
func (j *Journal) done() error {
	return errors.Join(j.toDisk(j.file), j.remove())
}

// remove ends a journal whose users have an owner.
func (j *Journal) remove() error {
	return errors.Join(j.file.Close(), os.Remove(j.path))
}

// leave ends a journal with its daemon: the next one finds it.
func (j *Journal) leave() error {
	return errors.Join(j.w.Flush(), j.file.Close())
}

// keep ends a journal that is the only owner, under a name that the next start does not take for a move that was interrupted.
func (j *Journal) keep() error {
	err := j.leave()
	kept := j.path + ".failed"
	if e := os.Rename(j.path, kept); e != nil {
		return errors.Join(err, fmt.Errorf("put journal aside: %w", e))
	}
	j.path = kept
	return err
}

// Interrupted is a move of an earlier daemon that has no end in its journal.
type Interrupted struct {
	ID, Pool, From, To string
	Kind               Kind
	Tx                 string
	Was                backend.AdminState // of From before the command
	Users              int
	Released           bool          // the source had been told to forget the users
	Open               []transaction // imports that were begun, none of which was committed
	Path               string        // where the journal was put aside
}

// findInterrupted reads the journals that an earlier daemon left in dir and puts each aside as *.interrupted, so that the
// next start does not report it again. An unreadable journal is put aside too and reported by its path alone.
func findInterrupted(dir string) ([]Interrupted, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil {
		return nil, fmt.Errorf("look for journals in %s: %w", dir, err)
	}
	var found []Interrupted
	for _, path := range paths {
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
				in.Open = append(in.Open, transaction{in.To, in.Tx})
			}
			in.Kind, in.Was = Kind(m.Get("kind")), backend.AdminState(m.Get("was"))
		case "IMPORT":
			in.Open = append(in.Open, transaction{m.Get("to"), m.Get("tx")})
		case "USER":
			in.Users++
		case "RELEASE", "RELEASED":
			in.Released = true
		case "COMMITTED", "ABORTED":
			ended = true
		}
	}
	return in, ended, lines.Err()
}
