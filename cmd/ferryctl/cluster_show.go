package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) clusterShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Who is there, as this proxy knows it",
		Long: `show lists the proxies of the cluster as this one knows them: alive; unheard (it answers, but the gossip does not reach it); lost; left (it has said that
it goes). POOLS, KEYS and TICKETS say whether it has the same as this one. Who should be there by join of the configuration and is not stands below. ferryctl
status --all asks each of them.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				k, err := c.client.Cluster(ctx)
				if err != nil {
					return err
				}
				return c.print(k, func(w io.Writer) { c.writeMembers(w, k) })
			})
		},
	}
}

func (c *ctl) writeMembers(w io.Writer, k admin.Cluster) {
	fmt.Fprintf(w, "cluster %s, %d proxies wanted\n", k.Label, k.Wanted)
	c.writeCluster(w, &k)
	if len(k.Missing) > 0 {
		fmt.Fprintln(w, c.color(bad, "missing: "+clean(strings.Join(k.Missing, ", "))))
	}
	for _, m := range k.Members {
		if m.Error != "" {
			fmt.Fprintln(w, c.color(bad, m.Name+": "+clean(m.Error)))
		}
	}
}
