package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/handoff"
)

// The exit codes, as the root command's help lists them.
const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitPartly      = 4
	exitRefused     = 5
	exitTimeout     = 124 // as timeout(1)
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// usageError is a call that cannot mean anything.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// coded is an end that was already told, on stdout or stderr, and only needs its code.
type coded struct{ code int }

func (c coded) Error() string { return fmt.Sprintf("exit code %d", c.code) }

var errInterrupted = errors.New("interrupted")

// exit prints an error once and gives its code.
func (c *ctl) exit(err error) int {
	var done coded
	var usage usageError
	var said *admin.Error
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &done):
		return done.code
	case errors.As(err, &usage):
		fmt.Fprintf(c.err, "ferryctl: %v\nferryctl --help, or --help after a command, says what there is\n", err)
		return exitUsage
	case errors.Is(err, errInterrupted):
		fmt.Fprintln(c.err, "ferryctl: interrupted")
		return exitInterrupted
	case errors.As(err, &said):
		return c.refusedOrFailed(said)
	case errors.Is(err, admin.ErrUnreachable):
		fmt.Fprintf(c.err, "ferryctl: %v\n", err)
		return exitUnreachable
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Fprintf(c.err, "ferryctl: the daemon at %s gave no answer within %v\n", c.socket, askTime)
		return exitTimeout
	}
	fmt.Fprintf(c.err, "ferryctl: %v\n", err)
	return exitError
}

// refusedOrFailed prints what the daemon said, and what to do instead.
func (c *ctl) refusedOrFailed(e *admin.Error) int {
	word := ""
	if e.Code == admin.CodeRefused {
		word = "refused: "
	}
	fmt.Fprintf(c.err, "ferryctl: %s%s\n", word, e.Message)
	if e.Hint != "" {
		fmt.Fprintf(c.err, "  instead: %s\n", e.Hint)
	}
	switch e.Code {
	case admin.CodeRefused:
		return exitRefused
	case admin.CodeBadRequest:
		return exitUsage
	}
	return exitError
}

// moveCode is the exit code of a move that has ended, or of a hold that is parked.
func moveCode(r handoff.Report) int {
	switch {
	case r.State == handoff.StateReverted && r.TimedOut:
		return exitTimeout
	case r.State == handoff.StateReverted || r.State == handoff.StateFailed:
		return exitError
	case r.Failed > 0 || r.Left > 0 || r.State.Ended() && slices.ContainsFunc(r.Links, givenUp):
		return exitPartly
	}
	return exitDone
}

func givenUp(l handoff.LinkRow) bool { return l.State == handoff.LinkGivenUp }

// usageArgs makes an argument check's error one of usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%s: %v", cmd.CommandPath(), err)
		}
		return nil
	}
}

// one is the argument check of commands that take exactly one thing.
func one(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("%s takes one %s, got %d arguments", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}

// needCommand is what a command says that only groups others.
func needCommand(cmd *cobra.Command) error {
	names := ""
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			names += " " + sub.Name()
		}
	}
	return usagef("%s needs a command:%s", cmd.CommandPath(), names)
}

// unknownCommand is the argument check of ferryctl itself: what is left over is a command that it does not have.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	hint := ""
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		hint = "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return usagef("unknown command %q%s", args[0], hint)
}
