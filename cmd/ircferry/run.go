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
	path := defaultConfig
	cmd := &cobra.Command{
		Use:   "run",
		Short: "run the daemon",
		Long: "Run the daemon in the foreground until SIGTERM or SIGINT. SIGHUP reloads the configuration: the whole new file is taken, or\n" +
			"nothing is changed. SIGUSR2 is ferryctl upgrade: a new process takes over, with all connections. Logs go to standard error.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return failed(runDaemon(cmd.Context(), path)) },
	}
	cmd.Flags().StringVarP(&path, "config", "c", path, "configuration file")
	return cmd
}

// runDaemon starts the daemon, serves signals, and ends it.
func runDaemon(ctx context.Context, path string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2)
	defer signal.Stop(signals)
	log, level := newLog(os.Stderr, config.Default().Log)
	d, err := startOrSucceed(ctx, daemonOptions{path: path, log: log, setLog: level})
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
			err := endWithin(d, signals)
			if pid := d.upgrades.successor(); pid > 0 {
				return errors.Join(err, syscall.Kill(pid, syscall.SIGTERM), endOrStay(d.upgrades, signals))
			}
			return err
		}
	}
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
