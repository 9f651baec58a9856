package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/keeper"
)

// Where nobody restarts the daemon, as in a container, "ircferry run --keeper" does: this process, which has no connection, starts a keeper and the daemon
// beside each other, and either again when it ends otherwise than it should. It passes signals on and ends as the daemon does, when that was stopped.

const (
	attendedStarts = 5                      // daemons that may be started within
	attendedWithin = 10 * time.Second       // this, as systemd's StartLimit has it: what ends again and again is not mended so
	attendedPause  = 100 * time.Millisecond // before the daemon is started again
	keeperComes    = 10 * time.Second       // in which a keeper that was started answers
)

// attendant is that process.
type attendant struct {
	path   string // of the configuration
	socket string

	keeper     atomic.Int64 // its process; 0: one that was there before
	starts     []time.Time
	stopping   atomic.Bool
	restarting atomic.Bool // by SIGUSR1
}

// runAttended runs a keeper and the daemon.
func runAttended(ctx context.Context, path string) error {
	if os.Getenv("NOTIFY_SOCKET") != "" {
		return errors.New("--keeper is for where no service manager restarts the daemon; under systemd the keeper is ircferry-keeper.service, and the daemon has --keeper-socket")
	}
	read, err := daemonOptions{path: path}.read()
	if err != nil {
		return err
	}
	a := &attendant{path: path, socket: filepath.Join(read.cfg.State, "keeper", "keeper.sock")}
	signals := make(chan os.Signal, 4)
	for _, s := range passedOn {
		signal.Notify(signals, s)
	}
	// A daemon whose parent, the daemon before it, ends becomes our child.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("attend daemon: %w", err)
	}
	if err := a.startKeeper(ctx); err != nil {
		return err
	}
	if err := a.startDaemon(); err != nil {
		return errors.Join(err, a.endKeeper())
	}
	go a.passOn(signals)
	return a.attend(ctx)
}

// startKeeper starts one, unless there is one that has outlived a process like this.
func (a *attendant) startKeeper(ctx context.Context) error {
	a.keeper.Store(0)
	if a.keeperAnswers(ctx) == nil {
		return nil
	}
	cmd := exec.Command(thisProgram().path, "keeper", "--socket", a.socket, "--with-daemon")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what a terminal sends to the group is not meant
	if err := start(cmd); err != nil {
		return err
	}
	a.keeper.Store(int64(cmd.Process.Pid))
	ctx, cancel := context.WithTimeout(ctx, keeperComes)
	defer cancel()
	for {
		err := a.keeperAnswers(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("keeper does not come: %w", err)
		}
		rest(ctx, 5*time.Millisecond)
	}
}

func (a *attendant) keeperAnswers(ctx context.Context) error {
	c, err := keeper.Dial(ctx, a.socket, keeper.Options{})
	if err == nil {
		c.Close()
	}
	return err
}

func (a *attendant) startDaemon() error {
	now := time.Now()
	a.starts = slices.DeleteFunc(a.starts, func(t time.Time) bool { return now.Sub(t) > attendedWithin })
	if len(a.starts) >= attendedStarts {
		return fmt.Errorf("the daemon has ended %d times within %v; its log says why", attendedStarts, attendedWithin)
	}
	a.starts = append(a.starts, now)
	return start(exec.Command(thisProgram().path, "run", "-c", a.path, "--keeper-socket", a.socket))
}

// start starts a process of ours, whose end attend sees.
func start(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, standbyEnv+"=") })
	cmd.Env = append(cmd.Env, standbyEnv+"="+strconv.Itoa(os.Getpid()))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Args[1], err)
	}
	return nil
}

// attend starts again what has ended, until the daemon was stopped or cannot be started.
func (a *attendant) attend(ctx context.Context) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return fmt.Errorf("attend daemon: %w", err)
		case int64(pid) == a.keeper.Load():
			if err := a.keeperEnded(ctx); err != nil {
				fmt.Fprintln(os.Stderr, "ircferry:", err) // the daemon serves without
			}
		case len(a.daemons()) > 0: // an upgrade: another one has its place
		case a.restarting.Swap(false) && !a.stopping.Load() && status.ExitStatus() == 0:
			a.starts = nil
			if err := a.startDaemon(); err != nil {
				return errors.Join(err, a.endKeeper())
			}
		case a.stopping.Load() || !status.Signaled() && status.ExitStatus() == 0:
			return errors.Join(asCode(exitCode(status)), a.endKeeper())
		default:
			if err := a.again(status); err != nil {
				return errors.Join(asCode(exitCode(status)), err, a.endKeeper())
			}
		}
	}
}

func asCode(code int) error {
	if code == 0 {
		return nil
	}
	return exitError{code: code, err: fmt.Errorf("the daemon ended with %d", code)}
}

// again starts the daemon behind its death. One that has never come up is not tried again: its configuration or its port is the cause.
func (a *attendant) again(status syscall.WaitStatus) error {
	if !status.Signaled() && status.ExitStatus() == 1 && len(a.starts) == 1 && time.Since(a.starts[0]) < attendedWithin {
		return errors.New("the daemon could not be started; its log says why")
	}
	fmt.Fprintf(os.Stderr, "ircferry: the daemon ended with %d: another one goes on\n", exitCode(status))
	time.Sleep(attendedPause)
	if a.stopping.Load() {
		return errors.New("stopped while the daemon was started again")
	}
	return a.startDaemon()
}

// keeperEnded has another keeper come, which the daemon finds by itself.
func (a *attendant) keeperEnded(ctx context.Context) error {
	if a.stopping.Load() {
		a.keeper.Store(0)
		return nil
	}
	fmt.Fprintln(os.Stderr, "ircferry: the keeper ended: another one is started")
	return a.startKeeper(ctx)
}

// endKeeper ends the keeper, and with it what it may hold still.
func (a *attendant) endKeeper() error {
	pid := int(a.keeper.Load())
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("end keeper: %w", err)
	}
	return nil
}

// daemons are the processes behind this one that are no keeper.
func (a *attendant) daemons() []int {
	return slices.DeleteFunc(descendants(), func(pid int) bool { return int64(pid) == a.keeper.Load() })
}

// passOn passes signals on to the daemon, until the process ends.
func (a *attendant) passOn(signals <-chan os.Signal) {
	for s := range signals {
		switch s {
		case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
			a.stopping.Store(true)
		case syscall.SIGUSR1:
			a.restarting.Store(true)
		}
		for _, pid := range a.daemons() {
			syscall.Kill(pid, s.(syscall.Signal)) //nolint:errcheck // it has ended
		}
	}
}
