package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// How a journal ends. A disk that hangs does not keep the move from ending: what is asked for here is done when the disk comes to it.

// settle lets the disk do f behind all else, whatever has failed before, and waits until ctx is over.
func (j *Journal) settle(ctx context.Context, f func() error) error {
	answer := make(chan error, 1)
	j.disk.do(func() { answer <- f() })
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("journal %s: the disk does not answer: %w", j.path, context.Cause(ctx))
	}
}

// done is remove for a journal that says so: if the host ends now, the next start must not find a move without an end.
func (j *Journal) done(ctx context.Context) error {
	j.flush()
	return j.settle(ctx, func() error { return errors.Join(j.toDisk(j.file), j.discard()) })
}

// remove ends a journal whose users have an owner.
func (j *Journal) remove(ctx context.Context) error { return j.settle(ctx, j.discard) }

func (j *Journal) discard() error {
	if j.file == nil {
		return nil
	}
	return errors.Join(j.file.Close(), os.Remove(j.path))
}

// written returns when the file has all that was written so far, on a disk or not.
func (j *Journal) written(ctx context.Context) error {
	j.flush()
	return j.settle(ctx, j.failed)
}

// leave ends a journal with its daemon: the next one finds it.
func (j *Journal) leave(ctx context.Context) error {
	j.flush()
	return j.settle(ctx, func() error { return errors.Join(j.failed(), j.file.Close()) })
}

// keep ends a journal that is the only owner, under a name that the next start does not take for a move that was interrupted.
func (j *Journal) keep(ctx context.Context) error {
	err := j.leave(ctx)
	kept := j.path + ".failed"
	was := j.path
	moved := j.settle(ctx, func() error { return os.Rename(was, kept) })
	if moved != nil {
		return errors.Join(err, fmt.Errorf("put journal aside: %w", moved))
	}
	j.path = kept
	return errors.Join(err, j.settle(ctx, j.syncDirectory))
}
