package main

import "github.com/spf13/cobra"

func (c *ctl) clusterCmd() *cobra.Command {
	cluster := &cobra.Command{
		Use:   "cluster",
		Short: "The proxies of the cluster",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("cluster %s is not possible: cluster show or cluster keys", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return needCommand(cmd) },
	}
	cluster.AddCommand(c.clusterShowCmd(), c.clusterKeysCmd())
	return cluster
}
