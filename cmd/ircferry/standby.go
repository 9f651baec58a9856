package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Where no service manager has asked to be told of another main process (NOTIFY_SOCKET), whoever started the daemon, a shell, a container's runtime,
// runit, knows one process, and takes its end for the daemon's. So that process stays, without descriptors and sessions: it passes signals on, waits for the
// daemons that come one behind the other, and ends as the last of them does.

// standbyEnv has the process id of the one that stays, for the daemons behind it.
const standbyEnv = "IRCFERRY_STANDBY"

// standbyPID is the process that stays, or will; 0: none, a service manager follows.
func standbyPID() int {
	if pid, err := strconv.Atoi(os.Getenv(standbyEnv)); err == nil && pid > 0 && syscall.Kill(pid, 0) == nil {
		return pid
	}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		return 0
	}
	return os.Getpid()
}

// endWithStandby ends a daemon in order, as SIGTERM does, when the process that stays for it has been killed: whoever did that wants an end.
func endWithStandby(signals chan<- os.Signal) error {
	pid := standbyPID()
	if pid == 0 || pid == os.Getpid() {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("follow process %d, which stays for this one: %w", pid, err)
	}
	go func() {
		awaitEnd(fd)
		signals <- syscall.SIGTERM
	}()
	return nil
}

// awaitEnd waits for the end of the process of a pidfd, which need not be our child, and closes that.
func awaitEnd(pidfd int) {
	defer unix.Close(pidfd)
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1); err != unix.EINTR {
			return
		}
	}
}

// beside makes a process that is to be the service's main one our parent's child and not ours, where a service manager is that parent: systemd
// does not wait for the end of a main process that is not its own child, and a stop would send it SIGKILL at once (service.c, main_pid_alien).
func beside(cmd *exec.Cmd) {
	if standbyPID() == 0 && os.Getpid() != 1 { // the first process of a PID namespace has no parent that could be one
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT}
	}
}

// errEnded is the end of a process whose status only its parent is told.
var errEnded = errors.New("its service manager knows how")

// endOf waits for the end of a process that was started, also of one beside us. An error says how it was; nil: with 0.
func endOf(cmd *exec.Cmd) error {
	err := cmd.Wait()
	if !errors.Is(err, syscall.ECHILD) {
		return err
	}
	if fd, err := unix.PidfdOpen(cmd.Process.Pid, 0); err == nil {
		awaitEnd(fd)
	}
	return errEnded
}

// endOrStay is the end of a daemon whose place another process has. Signals that came too late for this one go to that, unless there is one that passes
// them on to all.
func endOrStay(u *upgrades, signals chan os.Signal) error {
	switch standbyPID() {
	case 0:
	case os.Getpid():
		debug.FreeOSMemory()
		return standBy(signals, u.exited)
	default:
		return nil
	}
	for {
		select {
		case s := <-signals:
			syscall.Kill(u.successor(), s.(syscall.Signal)) //nolint:errcheck // it has ended
		default:
			return nil
		}
	}
}

// passedOn are the signals that reach the daemon by way of the process that stays.
var passedOn = []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}

// standBy waits until there is no daemon any more. first has the end of the one behind this one, if it is not seen here.
func standBy(signals chan os.Signal, first <-chan error) error {
	for _, s := range passedOn {
		signal.Notify(signals, s)
	}
	// A daemon whose parent, the daemon before it, ends becomes our child.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("stand by: %w", err)
	}
	go func() {
		for s := range signals {
			passOn(s.(syscall.Signal))
		}
	}()
	code := 0
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // ECHILD: that was the last one
			return asExit(code, first)
		default:
			code = exitCode(status)
		}
	}
}

// asExit is the end of this process for the end of the last daemon.
func asExit(code int, first <-chan error) error {
	var seen *exec.ExitError
	if errors.As(<-first, &seen) {
		if status, ok := seen.Sys().(syscall.WaitStatus); ok && code == 0 {
			code = exitCode(status)
		}
	}
	if code == 0 {
		return nil
	}
	return exitError{code: code, err: fmt.Errorf("the daemon behind an upgrade ended with %d", code)}
}

func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// passOn sends a signal to all daemons behind this process, once to each: which of them is the one is known only to themselves. It looks twice, since one that
// ends while it looks hides those behind it.
func passOn(s syscall.Signal) {
	told := map[int]bool{}
	for range 2 {
		for _, pid := range descendants() {
			if !told[pid] {
				told[pid] = true
				syscall.Kill(pid, s) //nolint:errcheck // it has ended
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// descendants are the processes that have this one as their parent, and theirs.
func descendants() (pids []int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	of := map[int][]int{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, behind, ok := strings.Cut(string(text), ") ")
		fields := strings.Fields(behind)
		if !ok || len(fields) < 2 {
			continue
		}
		pid, err1 := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent, err2 := strconv.Atoi(fields[1])
		if err1 == nil && err2 == nil {
			of[parent] = append(of[parent], pid)
		}
	}
	for next := of[os.Getpid()]; len(next) > 0; next = next[1:] {
		pids = append(pids, next[0])
		next = append(next, of[next[0]]...)
	}
	return pids
}
