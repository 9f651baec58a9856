package main

import "github.com/spf13/cobra"

func (c *ctl) completionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script of bash, zsh, fish or powershell",
		Long:  `completion prints a script that completes commands, flags, and the names of the running daemon's backends and moves.`,
		Example: `  ferryctl completion bash > /etc/bash_completion.d/ferryctl
  source <(ferryctl completion zsh)`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      one("shell"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(c.out, true)
			case "zsh":
				return root.GenZshCompletion(c.out)
			case "fish":
				return root.GenFishCompletion(c.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(c.out)
			}
			return usagef("completion for %q is not possible: bash, zsh, fish or powershell", args[0])
		},
	}
}
