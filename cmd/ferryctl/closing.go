package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

// closeFlags are how the sessions of a backend without a driver are closed.
type closeFlags struct {
	after  time.Duration
	notice string
	pace   int
}

func (f *closeFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.after, "close-after", 0, "without a driver: close the sessions, spread evenly over this time, e.g. 30m; 0s: at once")
	cmd.Flags().StringVar(&f.notice, "notice", "", "tell the users so beforehand, and when they are closed")
}

func (f *closeFlags) check(cmd *cobra.Command) (wanted bool, err error) {
	wanted = cmd.Flags().Changed("close-after")
	switch {
	case f.after < 0:
		return false, usagef("--close-after %v is not possible", f.after)
	case f.notice != "" && !wanted:
		return false, usagef("--notice needs --close-after: users who are moved notice nothing")
	case f.pace < 0:
		return false, usagef("--pace %d is not possible", f.pace)
	}
	return wanted, nil
}

// awaitClosed follows the closing of a backend until done says so, or there is none any more.
func (c *ctl) awaitClosed(ctx context.Context, full string, done func(admin.Backend) bool) (admin.Backend, error) {
	ctx, stop := c.interruptible(ctx)
	defer stop()
	phase := admin.ClosingPhase("")
	for {
		b, err := c.backendNamed(ctx, full)
		if err != nil && context.Cause(ctx) == errInterrupted {
			return b, errInterrupted
		}
		if err != nil {
			return b, err
		}
		if b.Closing != nil && b.Closing.Phase != phase {
			phase = b.Closing.Phase
			fmt.Fprintln(c.err, "ferryctl: "+told(b))
		}
		if b.Closing == nil || done(b) {
			return b, nil
		}
		select {
		case <-time.After(refresh):
		case <-ctx.Done():
			return b, errInterrupted
		}
	}
}

// told is where a closing is, for a person.
func told(b admin.Backend) string {
	switch b.Closing.Phase {
	case admin.Held:
		return fmt.Sprintf("nobody is left on %s, new clients wait; it may be stopped now", b.FullName())
	case admin.Admits:
		return fmt.Sprintf("the clients who wait for %s come in when it answers", b.FullName())
	}
	return fmt.Sprintf("%d sessions of %s are being closed until %s", b.Closing.Left, b.FullName(), b.Closing.Until.Local().Format(time.TimeOnly))
}

func (c *ctl) backendNamed(ctx context.Context, full string) (admin.Backend, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	all, err := c.client.Backends(ctx)
	if err != nil {
		return admin.Backend{}, err
	}
	for _, b := range all {
		if b.FullName() == full {
			return b, nil
		}
	}
	return admin.Backend{}, fmt.Errorf("backend %s is not in the configuration any more", full)
}

// drainClosing is drain --close-after.
func (c *ctl) drainClosing(cmd *cobra.Command, r admin.DrainRequest, noWait bool) error {
	if err := c.ask(cmd, func(ctx context.Context) error { _, err := c.client.Drain(ctx, r); return err }); err != nil {
		return err
	}
	if noWait {
		fmt.Fprintf(c.err, "ferryctl: the sessions of %s are being closed; ferryctl show backends tells how far it is, ferryctl ready %s ends it\n", r.Backend, r.Backend)
		return nil
	}
	b, err := c.awaitClosed(cmd.Context(), r.Backend, func(admin.Backend) bool { return false })
	switch {
	case errors.Is(err, errInterrupted):
		fmt.Fprintf(c.err, "ferryctl: not waiting any more, it goes on; ferryctl ready %s ends it\n", r.Backend)
		return coded{exitInterrupted}
	case err != nil:
		return err
	}
	if err := c.print(b, func(w io.Writer) {
		fmt.Fprintf(w, "%s is %s, %d sessions are left\n", b.FullName(), b.Admin, b.Sessions)
	}); err != nil {
		return err
	}
	if b.Sessions > 0 {
		return coded{exitPartly} // somebody has ended it
	}
	return nil
}

// restartClosing is restart --close-after: close, run the command, let in.
func (c *ctl) restartClosing(cmd *cobra.Command, r admin.HoldRequest, command string, pace int) error {
	if err := c.ask(cmd, func(ctx context.Context) error { _, err := c.client.Hold(ctx, r); return err }); err != nil {
		return err
	}
	b, err := c.awaitClosed(cmd.Context(), r.Backend, func(b admin.Backend) bool { return b.Closing.Phase == admin.Held })
	code := exitDone
	switch {
	case errors.Is(err, errInterrupted):
		fmt.Fprintf(c.err, "ferryctl: interrupted; %s is ready again, those who are left stay\n", r.Backend)
		_, err := c.client.Ready(context.WithoutCancel(cmd.Context()), r.Backend)
		return errors.Join(err, coded{exitInterrupted})
	case err != nil:
		return err
	case b.Closing == nil:
		return fmt.Errorf("somebody else has ended the restart of %s", r.Backend)
	}
	if why := c.run(cmd.Context(), command); why != "" {
		fmt.Fprintf(c.err, "ferryctl: %s; clients are let in as soon as %s answers\n", why, r.Backend)
		code = exitError
	}
	if err := c.ask(cmd, func(ctx context.Context) error {
		_, err := c.client.Release(ctx, admin.ReleaseRequest{Backend: r.Backend, Pace: pace})
		return err
	}); err != nil {
		return err
	}
	b, err = c.awaitClosed(cmd.Context(), r.Backend, func(admin.Backend) bool { return false })
	if err != nil {
		return err
	}
	if err := c.print(b, func(w io.Writer) {
		fmt.Fprintf(w, "%s is %s, %s, with %d sessions\n", b.FullName(), b.Admin, b.Oper, b.Sessions)
	}); err != nil {
		return err
	}
	if b.Oper != "up" {
		code = exitError
	}
	if code != exitDone {
		return coded{code}
	}
	return nil
}
