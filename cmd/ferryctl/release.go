package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) releaseCmd() *cobra.Command {
	var r admin.ReleaseRequest
	var noWait bool
	cmd := &cobra.Command{
		Use:   "release POOL/BACKEND",
		Short: "Push the parked users of a backend",
		Long: `release pushes the users that a hold has parked back into their backend as soon as it answers, or with --to into another one of
the pool. It waits for the result; Ctrl-C only ends the waiting, the users are pushed all the same.`,
		Example: `  ferryctl release main/a
  ferryctl release main/a --to b`,
		Args: one("POOL/BACKEND"), ValidArgsFunction: c.backendNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Backend = args[0]
			done, err := c.begin(cmd, func(ctx context.Context) (admin.Done, error) { return c.client.Release(ctx, r) })
			if err != nil {
				return err
			}
			c.note = done.Move.Note // of the park, which the hold has told
			if noWait {
				return c.began(*done.Move)
			}
			return c.waitReleased(cmd.Context(), done.Move.ID)
		},
	}
	cmd.Flags().StringVar(&r.To, "to", "", "name of the backend that takes the users (default: where they came from)")
	c.completeFlag(cmd, "to", c.siblings)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the push has begun")
	return cmd
}

// waitReleased waits for the end of a move whose users are on their way; to interrupt it would help nobody.
func (c *ctl) waitReleased(ctx context.Context, id string) error {
	m, err := c.watch(ctx, id, func(m admin.Move) bool { return m.State.Ended() })
	if err == errInterrupted {
		return c.leave(id)
	}
	if err != nil {
		return err
	}
	return c.result(m)
}
