// Command ircferry stands in front of IRC servers and holds the clients' connections.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// execute runs a command line and answers the exit code: 0 done, 1 error, 2 usage.
func execute(args []string) int {
	root := newRootCommand()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return 0
	}
	var coded exitError
	if errors.As(err, &coded) {
		if coded.err != nil {
			fmt.Fprintln(os.Stderr, "ircferry:", coded.err)
		}
		return coded.code
	}
	fmt.Fprintln(os.Stderr, "ircferry:", err)
	return 2
}

// exitError is an error with its exit code; a nil err says that all was said already.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// failed marks an error of the work, as against one of the command line.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return exitError{code: 1, err: err}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "ircferry",
		Short:         "hold IRC clients' connections while the ircds behind them are moved",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("a command is needed; ircferry --help lists them")
		},
	}
	root.AddCommand(newRunCommand(), newKeeperCommand(), newCheckCommand(), newVersionCommand(), newDemoIrcdCommand(), newDemoCommand())
	return root
}

const rootHelp = `ircferry stands in front of IRC servers and holds the clients' connections: users are moved between ircds, and ircds are restarted,
without a client being disconnected. The daemon is "ircferry run", under systemd ircferry.service; ferryctl asks and steers it.

FILES
  /etc/ircferry/ircferry.yaml  the configuration; every key stands in it, with its default
  /run/ircferry/admin.sock     the socket that ferryctl speaks to
  /run/ircferry-keeper         the keeper's socket, for the daemon alone
  /var/lib/ircferry            journals of moves, and what the operator wants of each backend`

// defaultConfig is where the systemd unit and the package put the file.
const defaultConfig = "/etc/ircferry/ircferry.yaml"
