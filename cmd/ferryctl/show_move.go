package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func (c *ctl) showMoveCmd() *cobra.Command {
	return &cobra.Command{
		Use:               "move MOVE",
		Short:             "One move: its counts, pauses, and who had trouble",
		Args:              one("move id"),
		ValidArgsFunction: c.moveIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				m, err := c.client.Move(ctx, args[0])
				if err != nil {
					return err
				}
				return c.print(m, func(w io.Writer) { c.writeResult(w, m); writeSteps(w, m.Took) })
			})
		},
	}
}
