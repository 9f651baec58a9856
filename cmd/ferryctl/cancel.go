package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

func (c *ctl) cancelCmd() *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:   "cancel MOVE",
		Short: "Undo a move that is under way, or push parked users back",
		Long: `cancel reverts a move before its point of no return: everybody goes on where they were. The parked users of a hold or restart are pushed
back into their backend, even if it is still the same process. A move past the point of no return cannot be cancelled (5): it ends by
itself in a moment, and its users can be moved back afterwards.

It waits for the end of the move and exits with 0 if everybody is back.`,
		Args: one("move id"), ValidArgsFunction: c.moveIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := c.begin(cmd, func(ctx context.Context) (admin.Done, error) { return c.client.Cancel(ctx, args[0]) })
			if err != nil {
				return err
			}
			if noWait {
				return c.began(*done.Move)
			}
			m, err := c.watch(cmd.Context(), done.Move.ID, func(m admin.Move) bool { return m.State.Ended() })
			if err == errInterrupted {
				return c.leave(args[0])
			}
			if err != nil {
				return err
			}
			return c.cancelled(m)
		},
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return at once")
	return cmd
}

// cancelled prints the result of a cancel: a move that was reverted is what was asked for.
func (c *ctl) cancelled(m admin.Move) error {
	if err := c.print(m, func(w io.Writer) { c.writeResult(w, m) }); err != nil {
		return err
	}
	switch {
	case m.State == handoff.StateFailed:
		return coded{exitError}
	case m.Failed > 0 || m.Left > 0:
		return coded{exitPartly}
	}
	return nil
}

// leave says how to come back to a move that is not waited for any more.
func (c *ctl) leave(id string) error {
	fmt.Fprintf(c.err, "ferryctl: not waiting any more; move %s goes on, ferryctl show move %s tells how it ends\n", id, id)
	return coded{exitInterrupted}
}
