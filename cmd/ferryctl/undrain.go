package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) undrainCmd() *cobra.Command {
	return c.stateCmd(&cobra.Command{
		Use:   "undrain POOL/BACKEND",
		Short: "Let a drained backend take clients again",
		Long: `undrain sets a drained backend to ready. Users who were moved away stay where they are. A drain that is still moving is
ended with ferryctl cancel instead, and a backend in maint is brought back with ferryctl ready.`,
	}, func(ctx context.Context, name string) (admin.Done, error) { return c.client.Undrain(ctx, name) })
}
