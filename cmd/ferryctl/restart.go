package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

func (c *ctl) restartCmd() *cobra.Command {
	var r admin.HoldRequest
	var command string
	var timeout time.Duration
	var closing closeFlags
	cmd := &cobra.Command{
		Use:   "restart POOL/BACKEND",
		Short: "Hold its users, let the ircd be restarted, push them back",
		Long: `restart holds the users of an ircd (see ferryctl hold), runs COMMAND with sh -c and the rights of whoever called ferryctl, and
pushes the users back as soon as the ircd answers as a new process, which its epoch tells. Clients notice a pause of the length of
the restart. COMMAND's own output is passed on.

If COMMAND fails, or on Ctrl-C or SIGTERM, or if somebody cancels the move, the users are pushed back into the old process if it
still runs, else into the one that is there as soon as it answers; the exit code is 1, or 130 after Ctrl-C.

Without --exec it says when the ircd may be restarted, and waits for it.

The users of an ircd without a driver cannot be held. With --close-after they are told --notice and closed, evenly spread over that time; new
clients of the pool wait; COMMAND is run when nobody is left; and when the ircd answers the clients who wait come in, --pace a second,
which the ircd and its services must stand. If ferryctl is killed meanwhile, new clients wait for moves.park at most.

The users stay parked if ferryctl itself is killed meanwhile: then use ferryctl release POOL/BACKEND, or ferryctl cancel MOVE, before
moves.park of the configuration is over.`,
		Example: `  ferryctl restart main/a --exec 'systemctl restart irc-a'
  ferryctl restart main/c --close-after 5m --notice 'Restart at 12:00 UTC, please reconnect' --exec 'systemctl restart irc-c'`,
		Args: one("POOL/BACKEND"), ValidArgsFunction: c.backendNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout < 0 {
				return usagef("--timeout %v is not possible", timeout)
			}
			if cmd.Flags().Changed("exec") && command == "" {
				return usagef("--exec needs a command; leave it out to restart the ircd yourself")
			}
			r.Backend, r.Timeout, r.Restart = args[0], admin.Duration(timeout), true
			wanted, err := closing.check(cmd)
			if err != nil {
				return err
			}
			if wanted {
				if command == "" {
					return usagef("--close-after needs --exec: the command that restarts the ircd")
				}
				r.Close, r.CloseAfter, r.Notice = true, admin.Duration(closing.after), closing.notice
				return c.restartClosing(cmd, r, command, closing.pace)
			}
			done, err := c.begin(cmd, func(ctx context.Context) (admin.Done, error) { return c.client.Hold(ctx, r) })
			if err != nil {
				return err
			}
			return (&restart{ctl: c, backend: args[0], move: done.Move.ID, command: command}).carryOut(cmd.Context())
		},
	}
	closing.add(cmd)
	cmd.Flags().IntVar(&closing.pace, "pace", 20, "with --close-after: clients a second that are let in when the ircd answers")
	cmd.Flags().StringVar(&command, "exec", "", "restarts the ircd; run with sh -c once its users are parked")
	cmd.Flags().BoolVar(&r.AllowVisible, "allow-visible", false, "move even if users who connected past ircferry, or linked servers, will see it")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "revert if the users are not parked by then, e.g. 60s (default: moves.deadline)")
	return cmd
}

// restart is one restart under way.
type restart struct {
	*ctl
	backend, move, command string
}

// carryOut goes from the begun hold to the result.
func (r *restart) carryOut(ctx context.Context) error {
	m, err := r.watch(ctx, r.move, endedOrParked)
	if errors.Is(err, errInterrupted) {
		return r.giveUp(ctx, "interrupted before the users were parked", exitInterrupted)
	}
	if err != nil {
		return err
	}
	if m.State != handoff.StateParked {
		return r.notParked(m)
	}
	if r.command == "" {
		fmt.Fprintf(r.err, "ferryctl: the users of %s are parked; restart its ircd now. Waiting for it to be back (Ctrl-C pushes them into what is there)\n", r.backend)
	} else if code, why := r.runCommand(ctx); why != "" {
		return r.giveUp(ctx, why, code)
	}
	return r.release(ctx)
}

// notParked is a hold that was reverted, or cancelled by somebody else, before COMMAND was run.
func (r *restart) notParked(m admin.Move) error {
	if r.command != "" {
		fmt.Fprintln(r.err, "ferryctl: the users could not be parked; the command was not run")
	}
	if err := r.result(m); err != nil {
		return err
	}
	return coded{exitError}
}

// release lets the move go on to whatever process answers with a new epoch, and waits for its end.
func (r *restart) release(ctx context.Context) error {
	_, err := r.patiently(ctx, func(ctx context.Context) (admin.Done, error) {
		return r.client.Release(ctx, admin.ReleaseRequest{Backend: r.backend})
	})
	asked, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var said *admin.Error
	if errors.As(err, &said) { // somebody else released or cancelled it meanwhile: what comes of it is what there is to tell
		if m, err := r.client.Move(asked, r.move); err != nil || !m.Released {
			fmt.Fprintf(r.err, "ferryctl: the users were not released: %s\n", said.Message)
		}
	} else if err != nil {
		return fmt.Errorf("release %s: %w", r.backend, err)
	}
	m, err := r.watch(ctx, r.move, func(m admin.Move) bool { return m.State.Ended() })
	if errors.Is(err, errInterrupted) {
		return r.giveUp(ctx, "interrupted", exitInterrupted)
	}
	if err != nil {
		return err
	}
	if err := r.result(m); err != nil || !m.Undone() {
		return err
	}
	return coded{exitError}
}

// giveUp pushes the users back into the ircd that is there and says so. code is what ferryctl exits with if that went well.
func (r *restart) giveUp(ctx context.Context, why string, code int) error {
	fmt.Fprintf(r.err, "ferryctl: %s; the users of %s go back into the ircd that answers there\n", why, r.backend)
	m, err := r.cancelAndWait(ctx, r.move)
	if err != nil {
		fmt.Fprintf(r.err, "ferryctl: the users may be parked still: ferryctl show move %s tells, ferryctl release %s pushes them\n", r.move, r.backend)
		return err
	}
	if err := r.result(m); err != nil && code != exitInterrupted {
		return err
	}
	return coded{code}
}
