package main

import "github.com/spf13/cobra"

func (c *ctl) showCmd() *cobra.Command {
	show := &cobra.Command{
		Use:   "show",
		Short: "Show backends, certificates, sessions, moves, or one of them",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("show %s is not possible: show backends, certs, sessions, moves, session ID|NICK or move ID", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return needCommand(cmd) },
	}
	show.AddCommand(c.showBackendsCmd(), c.showCertsCmd(), c.showSessionsCmd(), c.showSessionCmd(), c.showMovesCmd(), c.showMoveCmd())
	return show
}
