package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/keeper"
)

const (
	// keeperSocket is where ircferry-keeper.service listens.
	keeperSocket = "/run/ircferry-keeper/keeper.sock"
	// keeperGrace is shorter than the ping timeouts of ircds and clients, from 90 s on: who is held for longer is lost all the same, and does not see that
	// he should connect elsewhere.
	keeperGrace = time.Minute
)

func newKeeperCommand() *cobra.Command {
	o := keeper.ServerOptions{Socket: keeperSocket, Grace: keeperGrace}
	cmd := &cobra.Command{
		Use:   "keeper",
		Short: "hold the connections while the daemon is restarted, or was killed",
		Long: "Hold duplicates of the daemon's descriptors and of its memory, so that a daemon that is restarted or was killed goes on where it was, unseen. The keeper reads\n" +
			"nothing of what it holds, has no configuration and nearly never needs to be restarted; when it is, the daemon gives it everything again. Under systemd it is\n" +
			"ircferry-keeper.service. If no daemon serves for the grace time, everything is closed, so that clients connect elsewhere.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Grace <= 0 {
				return fmt.Errorf("--grace %v: it is more than nothing", o.Grace)
			}
			return failed(runKeeper(cmd.Context(), o))
		},
	}
	cmd.Flags().StringVar(&o.Socket, "socket", o.Socket, "socket, in a directory of its own that nobody else may enter")
	cmd.Flags().DurationVar(&o.Grace, "grace", o.Grace, "how long everything is held without a daemon that serves")
	cmd.Flags().BoolVar(&o.Ends, "with-daemon", o.Ends, "end when the daemon has ended and nothing is left to hold")
	return cmd
}

// runKeeper holds until SIGTERM or SIGINT. Signals that mean something to the daemon are for a whole group sometimes: here they mean nothing.
func runKeeper(ctx context.Context, o keeper.ServerOptions) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log, _ := newLog(os.Stderr, config.Default().Log)
	o.Log, o.Version = log.With("component", "keeper"), admin.BuildVersion().Version
	if err := keeper.Harden(); err != nil {
		return err
	}
	s, err := keeper.Listen(o)
	if err != nil {
		return err
	}
	o.Log.Info("the keeper holds", "version", o.Version, "socket", o.Socket, "descriptors", s.Room(), "grace", o.Grace)
	if _, err := systemd.SdNotify(true, systemd.SdNotifyReady); err != nil {
		o.Log.Warn("systemd not told", "err", err)
	}
	return s.Run(ctx)
}
