package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/fdpass"
	"github.com/ircferry/ircferry/proxy/link"
)

// The old process's side of an upgrade: see handover.go.

const (
	helloTime   = 10 * time.Second // from its start until it says hello
	prepareTime = 30 * time.Second // configuration, certificates, first checks of the backends
	cutTime     = 3 * time.Second  // from the stop of the loops until the new process is ready: clients wait
	takeTime    = 3 * time.Second  // from go to taken
	enterTime   = 2 * time.Second  // for commands that are under way
)

// successorEnv has the descriptor of the socket pair, a comma and our process id, in the new process's environment: it need not be our child.
const successorEnv = "IRCFERRY_SUCCEEDS"

// successorFD is the first descriptor behind the standard ones (os/exec).
const successorFD = 3

var errUpgrading = &admin.Error{Code: admin.CodeRefused, Message: "an upgrade is under way", Hint: "wait for its end: ferryctl status", Retry: true}

// upgrade is one of them.
type upgrade struct {
	d      *daemon
	binary string
	dry    bool
	splits bool // server links may end
	ends   bool // they do: the new process cannot go on with them
	links  *link.Stopped
	kept   bool // no process is started: the keeper has it all for the next one (restart.go)
	result admin.Upgrade

	conn   *fdpass.Conn
	child  *exec.Cmd
	exited chan error  // has the child's end
	keep   func() bool // from here on the child is not killed when the daemon is to stop; false: it was
}

// carryOut does it, or undoes it.
func (x *upgrade) carryOut(ctx context.Context) (err error) {
	if err := x.look(ctx); err != nil {
		return err
	}
	if err := x.awaitMoves(ctx); err != nil {
		return err
	}
	if err := x.start(); err != nil {
		return err
	}
	x.keep = context.AfterFunc(ctx, func() { x.child.Process.Kill() }) //nolint:errcheck // it may have ended
	defer func() {
		if err != nil || x.dry {
			x.keep()
			x.kill()
		}
		x.conn.Close()
	}()
	if err := x.prepare(); err != nil || x.dry {
		return err
	}
	return x.handOver(ctx)
}

// look refuses what cannot be, and counts what would come along. A dry run is told the refusals and goes on.
func (x *upgrade) look(ctx context.Context) error {
	refusals := x.refusals()
	p, err := x.d.proxy.Passage(ctx, x.lookAtMoves()...)
	if err != nil {
		return fmt.Errorf("count sessions: %w", err)
	}
	p.Sessions += p.Moving // whose moves are waited for
	x.result.Sessions, x.result.States, x.result.Left, x.result.Taken = p.Sessions, p.States, p.Left, p.Passed
	links := x.d.links.Passage()
	x.result.Links = links.Links
	x.result.Taken += links.Passed
	for _, r := range refusals {
		if !x.dry {
			return r
		}
		x.result.Refusals = append(x.result.Refusals, r.Error())
	}
	return nil
}

// refusals are what stands in the way: work of this process that no other one could go on with.
func (x *upgrade) refusals() (all []*admin.Error) {
	no := func(hint, format string, args ...any) {
		all = append(all, &admin.Error{Code: admin.CodeRefused, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if x.d.opt.path == "" {
		no("run ircferry with a configuration file", "this daemon has no configuration file that another process could read")
	}
	for _, name := range x.d.closings.names() {
		no("wait for its end, or ferryctl ready "+name, "the sessions of %s are being closed", name)
	}
	return all
}

// start starts the new process.
func (x *upgrade) start() error {
	conn, theirs, err := fdpass.Pair()
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	defer theirs.Close()
	cmd := exec.Command(x.binary, os.Args[1:]...)
	cmd.Env = successorEnviron()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	beside(cmd)
	if err := cmd.Start(); err != nil {
		conn.Close()
		return fmt.Errorf("start %s: %w", x.binary, err)
	}
	conn.Expect(cmd.Process.Pid)
	x.conn, x.child, x.exited = conn, cmd, make(chan error, 1)
	go func() { x.exited <- endOf(cmd) }()
	return nil
}

// successorEnviron is our environment for the new process: what a service manager has said to this one alone is not in it.
func successorEnviron() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", successorEnv, standbyEnv}, name)
	})
	env = append(env, fmt.Sprintf("%s=%d,%d", successorEnv, successorFD, os.Getpid()))
	if stays := standbyPID(); stays > 0 {
		env = append(env, standbyEnv+"="+strconv.Itoa(stays))
	}
	return env
}

// prepare waits until the new process stands ready to be handed all of it, while this one serves.
func (x *upgrade) prepare() error {
	hello, err := x.await(wordHello, helloTime)
	if err != nil {
		return err
	}
	if err := x.check(hello.Hello); err != nil {
		return err
	}
	x.result.To = hello.Hello.Version
	if err := x.checkLinks(hello.Hello); err != nil {
		return err
	}
	loaded := x.d.cfg.Load()
	begin := &beginMessage{DryRun: x.dry, Instance: x.d.instance, Started: x.d.started, Loops: x.d.proxy.Loops(), Config: string(loaded.text), Loaded: loaded.at,
		Backends: x.d.backends.Remembered()}
	for _, addrs := range x.d.proxy.Addrs() {
		for _, a := range addrs {
			begin.Bound = append(begin.Bound, a.String())
		}
	}
	for _, b := range x.d.backends.Backends() {
		if b.Oper() == backend.Up && b.Admin() != backend.Maint && !x.d.moves.Moving(b.FullName()) { // one whose users are held may be away
			begin.Up = append(begin.Up, b.FullName())
		}
	}
	if err := x.conn.Send(message{Word: wordBegin, Begin: begin}); err != nil {
		return x.failed(err)
	}
	_, err = x.await(wordPrepared, prepareTime)
	return err
}

// check looks whether the new process can read what this one has, and has room for it.
func (x *upgrade) check(h *helloMessage) error {
	mine := ourselves()
	switch {
	case h == nil || h.Protocol != mine.Protocol:
		return errors.New("the new process speaks another version of the hand-over: a restart brings it, which ends all connections")
	case h.Layout != mine.Layout:
		return fmt.Errorf("the new process (%s) cannot read the memory of this one: layout %#x, want %#x; a restart brings it, which ends all connections", h.Version, h.Layout, mine.Layout)
	case h.Carry != mine.Carry:
		return fmt.Errorf("the new process (%s) cannot read the sessions of this one: form %d, want %d; a restart brings it, which ends all connections", h.Version, h.Carry, mine.Carry)
	case len(x.result.Moves) > 0 && h.Moves != mine.Moves:
		return fmt.Errorf("the new process (%s) cannot go on with moves of this one: form %d, want %d; wait until there are none", h.Version, h.Moves, mine.Moves)
	case x.result.Taken+h.Used+spareDescriptors > h.Limit:
		return fmt.Errorf("the new process may have %d descriptors, and needs %d for what comes along: raise LimitNOFILE of the unit (ulimit -n), or wait until there are fewer sessions",
			h.Limit, x.result.Taken+h.Used+spareDescriptors)
	}
	return nil
}

// spareDescriptors are for what a new process opens by itself: checks, arena, doors, loops.
const spareDescriptors = 64

// await waits for a word of the new process.
func (x *upgrade) await(word string, within time.Duration) (message, error) {
	if err := x.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return message{}, err
	}
	var m message
	_, err := x.conn.Recv(&m)
	switch {
	case err != nil:
		return m, x.failed(fmt.Errorf("no %q within %v: %w", word, within.Round(time.Millisecond), err))
	case m.Word == wordFailed:
		return m, fmt.Errorf("the new process: %s", m.Error)
	case m.Word != word:
		return m, fmt.Errorf("the new process says %q, want %q", m.Word, word)
	}
	return m, nil
}

// failed says why nothing can be said to the new process, or heard from it.
func (x *upgrade) failed(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the new process hangs: %w", err)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("hand over: %w", err)
	}
	select {
	case end := <-x.exited:
		x.exited <- end
		if end == nil {
			return errors.New("the new process ended before it was ready; its log says why")
		}
		return fmt.Errorf("the new process ended before it was ready (%w); its log says why", end)
	case <-time.After(time.Second):
		return errors.New("the new process hung up before it was ready")
	}
}

// kill ends the new process and waits until it has.
func (x *upgrade) kill() {
	if x.kept {
		return
	}
	x.child.Process.Kill() //nolint:errcheck // it may have ended
	x.exited <- <-x.exited
}
