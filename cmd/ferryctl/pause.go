package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) pauseCmd() *cobra.Command {
	var r admin.PauseRequest
	var long time.Duration
	var noWait bool
	cmd := &cobra.Command{
		Use:   "pause POOL/BACKEND",
		Short: "Hold the clients of a backend for a while, pulling nobody",
		Long: `pause stops reading the clients of an ircd, for a snapshot of its machine or work on its database. The ircd keeps its users; what clients
say waits, what the ircd says reaches them. New clients wait too; in a linked pool they go to other servers. When pause has returned, all are
held.

ferryctl resume ends it, and so does the time of --for, whether ferryctl runs or not: clients go on with the same ircd, and what they said in
the meantime arrives, in order. After ten seconds their PINGs are answered here, if the ircd has told its name (handoff:).

An ircd that goes on running while its clients are held asks them for a sign of life sooner or later: stay below its ping timeout. For a restart
use ferryctl restart, which takes the users out first.`,
		Example: `  ferryctl pause main/a --for 20s && virsh snapshot-create irc-a; ferryctl resume main/a`,
		Args:    one("POOL/BACKEND"), ValidArgsFunction: c.backendNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if long < 0 || long == 0 && cmd.Flags().Changed("for") {
				return usagef("--for %v is not possible", long)
			}
			r.Backend, r.For = args[0], admin.Duration(long)
			done, err := c.begin(cmd, func(ctx context.Context) (admin.Done, error) { return c.client.Pause(ctx, r) })
			if err != nil {
				return err
			}
			if noWait {
				return c.began(*done.Move)
			}
			return c.waitFor(cmd.Context(), done)
		},
	}
	cmd.Flags().DurationVar(&long, "for", 0, "resume by itself after that, at most moves.park (default: 30s)")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return before all clients are held")
	return cmd
}

func (c *ctl) resumeCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "resume POOL/BACKEND",
		Short:   "End the pause of a backend",
		Long:    `resume lets the clients that ferryctl pause holds go on. If the time of the pause is over, there is nothing to resume (5).`,
		Example: `  ferryctl resume main/a`,
		Args:    one("POOL/BACKEND"), ValidArgsFunction: c.backendNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := c.begin(cmd, func(ctx context.Context) (admin.Done, error) { return c.client.Resume(ctx, args[0]) })
			if err != nil {
				return err
			}
			return c.waitReleased(cmd.Context(), done.Move.ID)
		},
	}
}
