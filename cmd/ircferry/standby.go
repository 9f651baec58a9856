package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// Where no service manager has asked to be told of another main process (NOTIFY_SOCKET), whoever started the daemon, a shell, a container's runtime,
// runit, knows one process, and takes its end for the daemon's. So that process stays: it becomes a small one of its own that passes signals on, waits
// for the daemons that come one behind the other, and ends as the last of them does.

// standbyEnv has the process id of the one that stays, for the daemons behind it.
const standbyEnv = "IRCFERRY_STANDBY"

// standbyPID is the process that stays, or will; 0: none, a service manager follows.
func standbyPID() int {
	if pid, err := strconv.Atoi(os.Getenv(standbyEnv)); err == nil && pid == os.Getppid() {
		return pid
	}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		return 0
	}
	return os.Getpid()
}

// endOrStay is the end of a daemon whose place another process has. It comes back with an error only.
func endOrStay() error {
	if standbyPID() != os.Getpid() {
		return nil
	}
	if err := unix.Exec("/proc/self/exe", []string{filepath.Base(os.Args[0]), standbyCommand}, os.Environ()); err != nil {
		return fmt.Errorf("stay for whoever started the daemon: %w", err)
	}
	return nil
}

const standbyCommand = "stand-by"

func newStandbyCommand() *cobra.Command {
	return &cobra.Command{
		Use:    standbyCommand,
		Short:  "wait for the daemon behind an upgrade, for whoever started the one before",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(*cobra.Command, []string) error { return standBy() },
	}
}

// standBy waits until there is no daemon any more.
func standBy() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	// A daemon whose parent, the daemon before it, ends becomes our child.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return failed(fmt.Errorf("stand by: %w", err))
	}
	go func() {
		for s := range signals {
			for _, pid := range children() {
				syscall.Kill(pid, s.(syscall.Signal)) //nolint:errcheck // it has ended
			}
		}
	}()
	code := 0
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // ECHILD: that was the last one
			if code != 0 {
				return exitError{code: code}
			}
			return nil
		case status.Signaled():
			code = 128 + int(status.Signal())
		default:
			code = status.ExitStatus()
		}
	}
}

// children are the processes that have this one as their parent.
func children() (pids []int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, behind, ok := strings.Cut(string(text), ") ")
		fields := strings.Fields(behind)
		if !ok || len(fields) < 2 || fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
