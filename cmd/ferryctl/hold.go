package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) holdCmd() *cobra.Command {
	var r admin.HoldRequest
	var timeout time.Duration
	var noWait bool
	cmd := &cobra.Command{
		Use:   "hold POOL/BACKEND",
		Short: "Pull the users of a backend and park them",
		Long: `hold takes the users out of an ircd into a journal and keeps their clients connected: PINGs are answered, lines wait. Once hold has
returned, the ircd may be stopped. ferryctl release pushes the users back, or to another backend; ferryctl cancel also pushes them
back, even into the same process.

The users stay parked, whether ferryctl runs or not, until they are released or moves.park of the configuration is over. Then they go
back into the old process if it still runs; if not, their sessions are closed with a message that asks to reconnect, and the journal is
kept.

Use hold as ExecStop= of an ircd's unit, with release as ExecStartPost=. ferryctl restart does both around a command.`,
		Example: `  ferryctl hold main/a && systemctl restart irc-a; ferryctl release main/a`,
		Args:    one("POOL/BACKEND"), ValidArgsFunction: c.backendNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Backend, r.Timeout = args[0], admin.Duration(timeout)
			if timeout < 0 {
				return usagef("--timeout %v is not possible", timeout)
			}
			done, err := c.begin(cmd, func(ctx context.Context) (admin.Done, error) { return c.client.Hold(ctx, r) })
			if err != nil {
				return err
			}
			if noWait {
				return c.began(*done.Move)
			}
			return c.waitFor(cmd.Context(), done)
		},
	}
	cmd.Flags().BoolVar(&r.AllowVisible, "allow-visible", false, "move even if users who connected past ircferry, or linked servers, will see it")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "revert if the users are not parked by then, e.g. 60s (default: moves.deadline)")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when the move has begun")
	return cmd
}
