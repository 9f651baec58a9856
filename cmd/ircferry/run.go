package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/config"
)

// stopTime bounds an orderly end: a move is reverted, every client gets its ERROR line. systemd's TimeoutStopSec is longer.
const stopTime = 15 * time.Second

func newRunCommand() *cobra.Command {
	path, socket, beside := defaultConfig, "", false
	cmd := &cobra.Command{
		Use:   "run",
		Short: "run the daemon",
		Long: "Run the daemon in the foreground until SIGTERM or SIGINT. SIGHUP reloads the configuration: the whole new file is taken, or\n" +
			"nothing is changed. SIGUSR2 is ferryctl upgrade: a new process takes over, with all connections. Logs go to standard error.\n\n" +
			"With a keeper (--keeper-socket, or --keeper where nobody restarts the daemon) a daemon that was killed, or ended by SIGUSR1, leaves its connections to the\n" +
			"next one, and no client notices. Without a keeper SIGUSR1 is SIGTERM.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if beside {
				return failed(runAttended(cmd.Context(), path))
			}
			return failed(runDaemon(cmd.Context(), path, socket))
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", path, "configuration file")
	cmd.Flags().StringVar(&socket, "keeper-socket", socket, "socket of the keeper that holds the connections: "+keeperSocket+" is that of ircferry-keeper.service")
	cmd.Flags().BoolVar(&beside, "keeper", beside, "start a keeper and the daemon, and either again when it ends: for containers")
	cmd.MarkFlagsMutuallyExclusive("keeper", "keeper-socket")
	return cmd
}

// runDaemon starts the daemon, serves signals, and ends it.
func runDaemon(ctx context.Context, path, socket string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	log, level := newLog(os.Stderr, config.Default().Log)
	d, err := startOrSucceed(ctx, daemonOptions{path: path, log: log, setLog: level, keeper: socket})
	if errors.Is(err, errRehearsed) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := endWithStandby(signals); err != nil {
		d.log.Warn("the daemon does not notice the end of whoever started it", "err", err)
	}
	n := newNotifier(d, d.log)
	d.named = n.named
	n.ready()
	stopWatching := sync.OnceFunc(n.watch())
	defer stopWatching()
	for {
		var s os.Signal
		select {
		case s = <-signals:
		case <-d.upgrades.gone:
			stopWatching()
			d.depart()
			return endOrStay(d.upgrades, signals)
		}
		switch s {
		case syscall.SIGUSR1:
			n.stopping()
			stopWatching()
			return endForRestart(ctx, d, signals)
		case syscall.SIGUSR2:
			go d.upgrades.Upgrade(ctx, admin.UpgradeRequest{}, "signal") //nolint:errcheck // the log has it
		case syscall.SIGHUP:
			n.reloading()
			if _, err := d.Reload(ctx); err != nil {
				d.log.Error("configuration not reloaded, the running one stays", "err", err)
			}
			n.ready()
		default:
			n.stopping()
			d.log.Info("stopping", "signal", s.String())
			return end(d, signals)
		}
	}
}

// end ends the daemon, or the one that has its place by now.
func end(d *daemon, signals chan os.Signal) error {
	err := endWithin(d, signals)
	if pid := d.upgrades.successor(); pid > 0 {
		return errors.Join(err, syscall.Kill(pid, syscall.SIGTERM), endOrStay(d.upgrades, signals))
	}
	return err
}

// endForRestart leaves all to the keeper, for the next process. Where there is none, it is a stop.
func endForRestart(ctx context.Context, d *daemon, signals chan os.Signal) error {
	d.log.Info("restarting", "signal", syscall.SIGUSR1.String())
	left, err := d.restart(ctx)
	switch {
	case !left:
		return end(d, signals)
	case errors.Is(err, errNotHandedOver):
		return nil // without a word: what is closed in order would be closed for the next process too
	}
	d.depart()
	if pid := d.upgrades.successor(); pid > 0 {
		return errors.Join(syscall.Kill(pid, syscall.SIGUSR1), endOrStay(d.upgrades, signals))
	}
	return nil
}

// startOrSucceed starts the daemon or, if another process of it has started this one for that, takes its place.
func startOrSucceed(ctx context.Context, opt daemonOptions) (*daemon, error) {
	before, err := predecessor()
	if err != nil {
		return nil, err
	}
	if before == nil {
		return startDaemon(opt)
	}
	return succeedDaemon(ctx, opt, before)
}

// sameSignal is how long a second signal is taken for the first: timeout(1) and a terminal's group send two at once.
const sameSignal = time.Second

// endWithin ends the daemon in order; a second signal ends it at once, unless it came with the first.
func endWithin(d *daemon, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	ended, began := make(chan error, 1), time.Now()
	go func() { ended <- d.Shutdown(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			if s != syscall.SIGHUP && time.Since(began) > sameSignal {
				d.keeping.clear()
				return fmt.Errorf("ended at once by a second signal (%s)", s)
			}
		}
	}
}

// newLog makes the daemon's log. The returned function changes level and format of all that was made from it.
func newLog(to *os.File, c config.Log) (*slog.Logger, func(config.Log) error) {
	h := &switchHandler{to: to}
	if err := h.set(c); err != nil {
		panic(err) // the defaults are valid
	}
	return slog.New(h), h.set
}

var errUnknownLog = errors.New("log: level is debug, info, warn or error; format is text or json")
