package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) drainCmd() *cobra.Command {
	var r admin.DrainRequest
	var timeout time.Duration
	var noWait bool
	var closing closeFlags
	cmd := &cobra.Command{
		Use:   "drain POOL/BACKEND",
		Short: "Send a backend no new clients, and move its users to another ircd",
		Long: `drain sends no new clients to the backend and moves all its users to another backend of the pool, with their nicks, channels, modes
and everything under way. Clients notice a pause, usually well under a second, and nothing else.

Until the point of no return any failure reverts the move: everybody goes on where they were, and the exit code says why (1, or
124 if the time was over). After it the users are in a journal until an ircd has them. Ctrl-C cancels the move; past the point of no
return it goes on by itself.

A guard refuses (5) what would lose or disturb users: the drain of the last usable backend; a destination that is down; users who
connected past ircferry, or linked servers, who would see the others quit (--allow-visible moves all the same); too few
descriptors for all sessions.

A backend without a driver is drained as in HAProxy: no new sessions, and the old ones stay until they leave (4, as long as there
are any). With --close-after they are told --notice, and closed evenly spread over that time, so that they come back to another backend
of the pool without a storm; ferryctl ready ends it.

--dry-run asks the two ircds what would move, what could not, and what not exactly, and changes nothing. It exits with 5 if the move
would be refused or would meet a conflict or, with --strict, a warning, and with 4 if the backend has no driver and sessions would stay.`,
		Example: `  ferryctl drain main/a --dry-run
  ferryctl drain main/a --to b --strict
  ferryctl drain main/a --no-wait -o json
  ferryctl drain main/c --close-after 30m --notice 'This server is restarted at 12:00 UTC, please reconnect'`,
		Args:              one("POOL/BACKEND"),
		ValidArgsFunction: c.backendNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Backend, r.Timeout = args[0], admin.Duration(timeout)
			if timeout < 0 {
				return usagef("--timeout %v is not possible", timeout)
			}
			wanted, err := closing.check(cmd)
			if err != nil {
				return err
			}
			r.Close, r.CloseAfter, r.Notice = wanted, admin.Duration(closing.after), closing.notice
			if wanted && !r.DryRun {
				return c.drainClosing(cmd, r, noWait)
			}
			done, err := c.begin(cmd, func(ctx context.Context) (admin.Done, error) { return c.client.Drain(ctx, r) })
			switch {
			case err != nil:
				return err
			case done.Plan != nil:
				return c.plan(done, r.Strict)
			case noWait:
				return c.began(*done.Move)
			}
			return c.waitFor(cmd.Context(), done)
		},
	}
	cmd.Flags().StringVar(&r.To, "to", "", "name of the backend that takes the users (default: the pool chooses)")
	c.completeFlag(cmd, "to", c.siblings)
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "only say what would happen")
	cmd.Flags().BoolVar(&r.Strict, "strict", false, "revert if the destination warns of anything that it cannot keep exactly")
	cmd.Flags().BoolVar(&r.AllowVisible, "allow-visible", false, "move even if users who connected past ircferry, or linked servers, will see it")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "revert if the point of no return is not reached by then, e.g. 60s (default: moves.deadline)")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the move has begun")
	closing.add(cmd)
	return cmd
}

// begin asks for a move; the daemon answers when it has begun or was refused. Ctrl-C waits for that answer: who has asked for a move
// must know which one to cancel.
func (c *ctl) begin(cmd *cobra.Command, ask func(context.Context) (admin.Done, error)) (admin.Done, error) {
	done, err := c.patiently(cmd.Context(), ask)
	if err == nil && done.Move == nil && done.Plan == nil {
		return done, fmt.Errorf("the daemon at %s answered without a move; is it another version? ferryctl version tells", c.socket)
	}
	return done, err
}

// askAgain is how often a daemon is asked again that is just being upgraded.
const askAgain = 200 * time.Millisecond

// patiently asks for a command, again as long as an upgrade of the daemon keeps it out: who has to say where parked users go must be heard.
func (c *ctl) patiently(ctx context.Context, ask func(context.Context) (admin.Done, error)) (admin.Done, error) {
	patience, stop := context.WithTimeout(ctx, upgradeTime)
	defer stop()
	for {
		asked, cancel := context.WithTimeout(ctx, askTime)
		done, err := ask(asked)
		cancel()
		var said *admin.Error
		if !errors.As(err, &said) || !said.Retry {
			return done, err
		}
		select {
		case <-time.After(askAgain):
		case <-patience.Done():
			return done, err
		}
	}
}

// stateCmd is undrain, maint and ready.
func (c *ctl) stateCmd(cmd *cobra.Command, set func(context.Context, string) (admin.Done, error)) *cobra.Command {
	cmd.Args = one("POOL/BACKEND")
	cmd.ValidArgsFunction = c.backendNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.ask(cmd, func(ctx context.Context) error {
			done, err := set(ctx, args[0])
			if err != nil {
				return err
			}
			err = c.print(done, func(w io.Writer) {
				fmt.Fprintf(w, "%s is %s, %s\n", done.Backend.FullName(), done.Backend.Admin, done.Backend.Oper)
				if done.Note != "" {
					fmt.Fprintln(w, "note: "+clean(done.Note))
				}
				if len(done.Untold) > 0 {
					fmt.Fprintf(w, "not told: %s; they hear of it when they are back\n", clean(strings.Join(done.Untold, ", ")))
				}
			})
			if err == nil && len(done.Untold) > 0 {
				return coded{exitPartly}
			}
			return err
		})
	}
	return cmd
}
