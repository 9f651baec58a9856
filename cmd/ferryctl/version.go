package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

// versions is the document of ferryctl version.
type versions struct {
	Client admin.Version  `json:"client"`
	Daemon *admin.Version `json:"daemon,omitempty"`
}

func (c *ctl) versionCmd() *cobra.Command {
	var only bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Versions of ferryctl and of the running daemon",
		Long:  `version prints its own version and the daemon's; without a daemon it exits with 3, unless --client asks for no more.`,
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Client: admin.BuildVersion()}
			var asked error
			if !only {
				asked = c.ask(cmd, func(ctx context.Context) error {
					daemon, err := c.client.Version(ctx)
					if err == nil {
						v.Daemon = &daemon
					}
					return err
				})
			}
			if err := c.print(v, func(w io.Writer) {
				fmt.Fprintln(w, "ferryctl "+describe(v.Client))
				if v.Daemon != nil {
					fmt.Fprintln(w, "ircferry "+describe(*v.Daemon))
				}
			}); err != nil {
				return err
			}
			return asked
		},
	}
	cmd.Flags().BoolVar(&only, "client", false, "only ferryctl's own")
	return cmd
}

func describe(v admin.Version) string {
	s := v.Version
	if v.Revision != "" {
		s += fmt.Sprintf(" (%.12s)", v.Revision)
	}
	return s + ", " + v.Go + ", API " + v.API
}
