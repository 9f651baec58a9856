package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// Journal is what one move has written to disk, in this order: the parties, the records, the intent to release, released, and
// committed or aborted. It is a text file of HANDOFF/1 lines (mode 0600, in a directory of mode 0700, since queues are chat text):
//
//	MOVE id= kind= pool= from= to= tx= epoch= was= ...  was: the admin state of from before the command; what else openingMark says; synced,
//	                                        and the directory too
//	CHAN, LIST, USER, MEMB, DATA            as the source gave them; LINK, BURST, REMOTE too. The password of a link is in none of these
//	OUT u= outcome= cause=                  taken out of the move; at any time
//	BEHIND u=                               his output has a gap
//	DROP u=                                 no destination gets his records any more; at any time
//	RELEASE tx=                             synced before RELEASE is sent
//	RELEASED tx= uptime=                    when, in milliseconds since the machine has started
//	PLACE to= [newepoch] [released]         the operator has said where the users go
//	IMPORT tx= to= epoch=                   each try to place the users, before COMMIT can leave
//	FAILED tx=                              that they certainly are not committed there
//	COMMITTED tx= to= quiet= missing=       in which form, and who is missing; synced when all have been thawed
//
// The disk is written beside the move, in order. Only sync waits for it, and no longer than its context: from RELEASED on nobody waits for
// the disk, which can take seconds on a busy host, or for ever.
//
// One goroutine, the move's. It is removed when the users have an owner again, and kept when they have none.
type Journal struct {
	path string
	file *os.File
	disk disk
	buf  []byte // not given to the disk yet

	mu  sync.Mutex
	err error // the first failure of the disk; what comes behind it is of no use

	toDisk func(*os.File) error
}

// journalBuffer: records are about 100 bytes and come by the ten thousand; one write for some hundreds of them.
const journalBuffer = 64 << 10

// createJournal begins the journal of a move in dir (made if absent). It is an error if one of this name exists.
func createJournal(ctx context.Context, dir, id string, toDisk func(*os.File) error) (*Journal, error) {
	j := &Journal{path: filepath.Join(dir, id+".journal"), toDisk: toDisk}
	err := j.wait(ctx, func() error {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("journal directory: %w", err)
		}
		file, err := os.OpenFile(j.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("create journal: %w", err)
		}
		j.file = file
		return nil
	})
	if err != nil {
		j.disk.do(func() { j.discard() }) // also one that comes late
		return nil, err
	}
	return j, nil
}

// openJournal goes on with the journal of a process before.
func openJournal(path string, toDisk func(*os.File) error) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &Journal{path: path, file: file, toDisk: toDisk}, nil
}

// Path is where the journal lies.
func (j *Journal) Path() string { return j.path }

// begin writes the parties of the move, and lets the directory know the file: who loses power must find it.
func (j *Journal) begin(ctx context.Context, move protocol.Message) error {
	if err := j.sync(ctx, move); err != nil {
		return err
	}
	return j.wait(ctx, j.syncDirectory)
}

func (j *Journal) syncDirectory() error {
	dir, err := os.Open(filepath.Dir(j.path))
	if err == nil {
		err = errors.Join(j.toDisk(dir), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("sync journal directory: %w", err)
	}
	return nil
}

// record writes one record of the source; nothing is on disk before sync.
func (j *Journal) record(rec protocol.Message) error {
	return j.append(rec)
}

// mark writes a mark and all before it; they survive the daemon, and the host after the next sync. It does not wait, so an error may
// be one of before.
func (j *Journal) mark(mark protocol.Message) error {
	if err := j.append(mark); err != nil {
		return err
	}
	j.flush()
	return j.failed()
}

// sync writes a mark and returns when it and all before it are on disk, or ctx is over.
func (j *Journal) sync(ctx context.Context, mark protocol.Message) error {
	if err := j.append(mark); err != nil {
		return err
	}
	j.flush()
	return j.wait(ctx, func() error {
		if err := j.toDisk(j.file); err != nil {
			return fmt.Errorf("sync journal %s: %w", j.path, err)
		}
		return nil
	})
}

// hurry has the disk begin with what there is, so that the sync that is waited for has little left to do.
func (j *Journal) hurry() {
	j.flush()
	j.disk.do(func() {
		if j.failed() == nil {
			j.fail(j.toDisk(j.file))
		}
	})
}

// wait lets the disk do f behind all that it has to do, and waits for that.
func (j *Journal) wait(ctx context.Context, f func() error) error {
	answer := make(chan error, 1)
	j.disk.do(func() {
		err := j.failed()
		if err == nil {
			err = f()
			j.fail(err)
		}
		answer <- err
	})
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		err := fmt.Errorf("journal %s: the disk does not answer: %w", j.path, context.Cause(ctx))
		j.fail(err)
		return err
	}
}

func (j *Journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = errors.Join(j.err, err)
}

func (j *Journal) failed() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

func (j *Journal) append(m protocol.Message) error {
	buf, err := protocol.AppendRecord(j.buf, m, 0, nil)
	if err != nil {
		return fmt.Errorf("write journal %s: %w", j.path, err)
	}
	if j.buf = buf; len(buf) >= journalBuffer {
		j.flush()
	}
	return j.failed()
}

// flush gives what there is to the disk.
func (j *Journal) flush() {
	buf := j.buf
	j.buf = nil
	if len(buf) == 0 {
		return
	}
	j.disk.do(func() {
		if j.failed() != nil {
			return
		}
		if _, err := j.file.Write(buf); err != nil {
			j.fail(fmt.Errorf("write journal %s: %w", j.path, err))
		}
	})
}
