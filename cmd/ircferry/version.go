package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := admin.BuildVersion()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "ircferry %s %s\n", v.Version, v.Go)
			return failed(err)
		},
	}
}
