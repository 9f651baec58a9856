package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) readyCmd() *cobra.Command {
	return c.stateCmd(&cobra.Command{
		Use:   "ready POOL/BACKEND",
		Short: "Let a backend take clients, whatever it was before",
		Long:  `ready ends drain and maint: the backend is checked, and takes clients as soon as it is up.`,
	}, func(ctx context.Context, name string) (admin.Done, error) { return c.client.Ready(ctx, name) })
}
