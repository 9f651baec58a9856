package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) maintCmd() *cobra.Command {
	return c.stateCmd(&cobra.Command{
		Use:   "maint POOL/BACKEND",
		Short: "Take a backend out of service",
		Long: `maint lets a backend take no clients and stops its checks. Sessions that are there stay; drain it first to move them.
The state is remembered over restarts of the daemon.`,
	}, func(ctx context.Context, name string) (admin.Done, error) { return c.client.Maint(ctx, name) })
}
