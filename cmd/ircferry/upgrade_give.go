package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/proxy"
)

// The part of an upgrade in which clients wait: all is given to the new process.

// handOver stops this process's loops and gives all to the new one; an error: they turn again.
func (x *upgrade) handOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	if x.kept {
		if err := x.awaitMoves(ctx); err != nil {
			return err
		}
	}
	rest, stop := context.WithTimeout(ctx, restTime)
	defer stop()
	still, err := x.standStill(rest)
	if err != nil {
		return err
	}
	if err := x.handOverAll(ctx, still); err != nil {
		still.GoOn()
		return err
	}
	return nil
}

// handOverAll is for moves that stand still.
func (x *upgrade) handOverAll(ctx context.Context, still *handoff.Standstill) error {
	if err := x.quiesce(ctx); err != nil {
		x.goOn(nil)
		return err
	}
	defer new(collector).hurry()()
	if err := x.stopLinks(ctx); err != nil {
		x.goOn(nil)
		return err
	}
	began := time.Now()
	cut, err := x.d.proxy.Cut(ctx, still.Backends()...)
	if err != nil {
		x.goOn(nil)
		return fmt.Errorf("upgrade: %w", err)
	}
	err = x.give(cut, still, began)
	if err == nil && !x.kept {
		err = x.letGo()
	}
	if err != nil {
		x.kill() // before anything goes on here
		x.d.keeping.reclaim()
		x.goOn(cut)
		return err
	}
	x.result.Pause = float64(time.Since(began).Microseconds()) / 1000
	if !x.kept {
		x.result.PID = x.child.Process.Pid
	}
	x.d.leave(cut, x)
	still.Leave()
	return nil
}

// give sends it all, and waits until the new process is ready.
func (x *upgrade) give(cut *proxy.Cut, still *handoff.Standstill, began time.Time) error {
	if !x.kept {
		if err := x.conn.SetDeadline(began.Add(cutTime)); err != nil {
			return err
		}
	}
	l, fds, err := x.legacy(cut, still)
	if err != nil {
		return err
	}
	l.Cut = began
	text, err := l.write()
	if l.Links != nil {
		l.Links.Wipe()
	}
	if err != nil {
		return err
	}
	defer text.Close()
	if x.kept {
		return x.leaveWithKeeper(text, fds)
	}
	doors, err := x.d.doors.descriptors()
	if err != nil {
		return err
	}
	lock, err := descriptor(x.d.lock)
	if err != nil {
		return err
	}
	memory, err := descriptor(text)
	if err != nil {
		return err
	}
	m := message{Word: wordLegacy, Legacy: &legacyCounts{Doors: len(doors), Descriptors: len(fds)}}
	if err := x.conn.Send(m, append([]int{cut.Arena(), memory, lock}, doors...)...); err != nil {
		return x.failed(err)
	}
	if err := x.conn.SendAll(fds); err != nil {
		return x.failed(err)
	}
	_, err = x.await(wordReady, time.Until(began.Add(cutTime)))
	return err
}

// legacy is what the new process must know, and the descriptors that it gets.
func (x *upgrade) legacy(cut *proxy.Cut, still *handoff.Standstill) (*legacy, []int, error) {
	carried, fds, left, err := cut.State()
	if err != nil {
		return nil, nil, err
	}
	x.result.Left = map[string]int{}
	x.lookAtMoves()
	if left > 0 {
		x.result.Left[proxy.LeftInHandshake] = left
	}
	links, linkFDs, err := x.linkLegacy()
	if err != nil {
		return nil, nil, err
	}
	fds = append(fds, linkFDs...)
	x.result.Sessions, x.result.Taken = cut.Sessions(), len(fds)
	d := x.d
	l := &legacy{Proxy: carried, Links: links, Past: still.Past(d.interrupted), Backends: d.backends.Remembered(),
		Events: d.events.Keep(), Tickets: d.tickets.Export(), Upgrades: d.upgrades.known()}
	last := x.result
	if !x.kept {
		l.Upgrades.Done++
		l.Upgrades.Last, l.Upgrades.LastError, l.Upgrades.FailedAt = &last, "", time.Time{}
	}
	if l.Counters, err = count(d.gatherer()); err != nil {
		return nil, nil, err
	}
	return l, fds, nil
}

// letGo says go, and waits until the new process has taken over, or is known not to have.
func (x *upgrade) letGo() error {
	if !x.keep() {
		return errors.New("the daemon is to stop")
	}
	if err := x.conn.Send(message{Word: wordGo, Keeper: x.d.keeping.pass(context.Background())}); err != nil {
		return x.failed(err)
	}
	_, err := x.await(wordTaken, takeTime)
	if err == nil {
		return nil
	}
	// It has not said so: whoever is dead and has not said so has not begun.
	x.kill()
	if _, late := x.await(wordTaken, time.Second); late == nil {
		x.d.log.Error("the new process took over and hung; its sessions are lost", "pid", x.child.Process.Pid)
		os.Exit(1)
	}
	return err
}

// descriptor is that of a file, which keeps it, without making it block (os.File.Fd does).
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = raw.Control(func(n uintptr) { fd = int(n) })
	return fd, err
}
