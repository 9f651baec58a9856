package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

// commandGrace is how long COMMAND may go on after it was told to end, before the users are pushed back without it.
const commandGrace = 5 * time.Second

// runCommand runs COMMAND with the caller's rights, environment, terminal and process group (Ctrl-C reaches it by itself). why
// is empty if it exited with 0; else it says what happened, and code is what ferryctl exits with.
//
// If somebody else cancels the move meanwhile, COMMAND is told to end: it would stop the ircd with the users in it. A release by
// somebody else is well: COMMAND's own start of the ircd does it where the ircd's unit has a `ferryctl release`.
func (r *restart) runCommand(ctx context.Context) (code int, why string) {
	cmd := exec.Command("sh", "-c", r.command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r.in, r.out, r.err
	cmd.WaitDelay = time.Second // a daemon that COMMAND leaves behind may hold its output open
	if r.output == "json" {
		cmd.Stdout = r.err // stdout is for the document alone
	}
	if err := cmd.Start(); err != nil {
		return exitError, fmt.Sprintf("the command could not be started: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	unparked := r.unparked(ctx)
	for {
		select {
		case err := <-ended:
			if err != nil && r.interruptFollows() {
				return exitInterrupted, "interrupted"
			}
			return exitError, failure(err)
		case s := <-r.interrupts:
			return exitInterrupted, "interrupted" + end(cmd.Process, s, ended)
		case m := <-unparked:
			if !m.Released {
				return exitError, fmt.Sprintf("somebody else ended the hold (%s) while the command ran", m.State) + end(cmd.Process, syscall.SIGTERM, ended)
			}
			unparked = nil
		}
	}
}

// interruptFollows: Ctrl-C reaches COMMAND and ferryctl at the same time, and COMMAND's death may be seen first.
func (r *restart) interruptFollows() bool {
	select {
	case <-r.interrupts:
		return true
	case <-time.After(300 * time.Millisecond):
		return false
	}
}

// unparked tells when the move is not parked any more. A daemon that cannot be asked tells nothing: the release will.
func (r *restart) unparked(ctx context.Context) <-chan admin.Move {
	told := make(chan admin.Move, 1)
	go func() {
		rev := ""
		for {
			m, err := r.client.AwaitMove(ctx, r.move, rev, 30*time.Second)
			if err != nil {
				return
			}
			if m.State != handoff.StateParked {
				told <- m
				return
			}
			rev = m.Rev
		}
	}()
	return told
}

func failure(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return ""
	case errors.As(err, &exit):
		return fmt.Sprintf("the command failed (%v)", exit)
	}
	return fmt.Sprintf("the command failed: %v", err)
}

// end passes a signal on to COMMAND and waits for its end, but not for ever. SIGTERM goes to what COMMAND has started as well, which would go on
// without it; SIGINT does not, because a terminal has sent it to all of them.
func end(p *os.Process, s os.Signal, ended <-chan error) string {
	var started []int
	if s == syscall.SIGTERM {
		started = descendants(p.Pid)
	}
	p.Signal(s) //nolint:errcheck // it may have ended
	for _, pid := range started {
		syscall.Kill(pid, syscall.SIGTERM) //nolint:errcheck // it may have ended
	}
	late := time.After(commandGrace)
	select {
	case <-ended:
	case <-late:
		return stillRuns
	}
	for ; slices.ContainsFunc(started, runs); time.Sleep(20 * time.Millisecond) {
		select {
		case <-late:
			return stillRuns
		default:
		}
	}
	return ""
}

var stillRuns = fmt.Sprintf("; the command has not ended after %v and still runs", commandGrace)

// descendants are the children of a process, and theirs. Where the kernel does not tell, there are none.
func descendants(pid int) (all []int) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return nil
	}
	for _, word := range strings.Fields(string(children)) {
		if child, err := strconv.Atoi(word); err == nil {
			all = append(append(all, child), descendants(child)...)
		}
	}
	return all
}

// runs reports whether a process is there and has not ended.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ") // behind the name, which may hold anything
	return !strings.HasPrefix(state, "Z")
}
