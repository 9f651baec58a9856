package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (c *ctl) reloadCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon read its configuration again",
		Long: `reload builds the whole new configuration and swaps it in, or changes nothing and says why (1). Sessions survive it. Keys that
only a restart can change are named, and so are the warnings that ircferry check would give, and backends that are gone or lead elsewhere
while they have sessions.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				done, err := c.client.Reload(ctx)
				if err != nil {
					return err
				}
				r := done.Reload
				return c.print(r, func(w io.Writer) {
					fmt.Fprintf(w, "reloaded, configuration %.12s\n", r.SHA256)
					for _, change := range r.Changed {
						fmt.Fprintln(w, "changed: "+clean(change))
					}
					if len(r.Changed) == 0 {
						fmt.Fprintln(w, "changed: nothing")
					}
					for _, warning := range r.Warnings {
						fmt.Fprintln(w, c.color(bad, "warning: "+clean(warning)))
					}
					for _, key := range r.NeedsRestart {
						fmt.Fprintln(w, c.color(bad, "needs a restart: "+clean(key)))
					}
				})
			})
		},
	}
}
