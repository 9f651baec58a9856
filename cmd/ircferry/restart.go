package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/keeper"
)

// A restart of the service (RestartKillSignal=SIGUSR1): an upgrade in which the keeper stands between the two processes, since the new one comes when this one
// has gone. It gets what the new process of an upgrade gets, in the same order: memory, and descriptors by number.

// heirTag is the tag of such a descriptor. No session's and no listener's is like it: their upper half is something, or they are small.
const heirTag keeper.Tag = 1 << 31

// errNotHandedOver is the end of a restart that could not be in order: this process ends as if it had been killed, and the next one goes on from what the
// keeper holds all the time.
var errNotHandedOver = errors.New("what is here could not be handed to the keeper in order; the next process goes on as behind a kill")

// restart gives all to the keeper for the next process. False: there is no keeper, so that a restart is a stop.
func (d *daemon) restart(ctx context.Context) (bool, error) {
	if !d.keeping.well(ctx) {
		d.log.Error("there is no keeper: this restart is a stop, and ends all connections")
		return false, nil
	}
	if d.upgrades.stop() {
		return true, nil // another process has taken over, and has heard the signal or will
	}
	err := d.upgrades.restart(ctx)
	if err != nil {
		d.log.Error("restart", "err", err)
		return true, errNotHandedOver
	}
	return true, nil
}

// restart is an upgrade to the keeper. None is under way, and none begins any more.
func (u *upgrades) restart(ctx context.Context) error {
	u.shutOut()
	x := &upgrade{d: u.d, kept: true, splits: true, result: admin.Upgrade{Time: time.Now(), From: admin.BuildVersion().Version, Actor: "signal", Left: map[string]int{}}}
	if err := x.handOver(ctx); err != nil {
		return err
	}
	u.d.log.Info("restarting: the keeper has the connections until the next process is there", "sessions", x.result.Sessions, "left", x.result.Left)
	close(u.gone)
	return nil
}

// shutOut keeps commands out from here on, and waits a moment for those that are under way.
func (u *upgrades) shutOut() {
	u.mu.Lock()
	quiet := u.shut()
	u.mu.Unlock()
	select {
	case <-quiet:
	case <-time.After(enterTime):
	}
}

// leaveWithKeeper gives it all to the keeper, and returns when it has it.
func (x *upgrade) leaveWithKeeper(text *os.File, fds []int) error {
	c := x.d.keeping.client.Load()
	if c == nil {
		return keeper.ErrGone
	}
	end := time.Now().Add(cutTime)
	for first := 0; first < len(fds); first += keeper.MaxBatch {
		some := fds[first:min(first+keeper.MaxBatch, len(fds))]
		tags := make([]keeper.Tag, len(some))
		for i := range tags {
			tags[i] = heirTag | keeper.Tag(first+i)
		}
		if err := whenReady(c, end, func() error { return c.KeepAll(tags, some) }); err != nil {
			return fmt.Errorf("give descriptors to the keeper: %w", err)
		}
	}
	copied, err := unix.FcntlInt(text.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("give memory to the keeper: %w", err)
	}
	defer unix.Close(copied)
	if err := whenReady(c, end, func() error { return c.KeepMemory(memoryLegacy, copied) }); err != nil {
		return fmt.Errorf("give memory to the keeper: %w", err)
	}
	lost := x.d.keeping.counts.lost.Load()
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	if _, err := c.Ping(ctx); err != nil { // behind all of it: what it does not hold was told by now
		return err
	}
	if x.d.keeping.counts.lost.Load() != lost {
		return errors.New("the keeper does not hold everything: raise LimitNOFILE of ircferry-keeper.service")
	}
	return nil
}

// whenReady does something as soon as the keeper takes it.
func whenReady(c *keeper.Client, end time.Time, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, keeper.ErrBusy) || time.Now().After(end) {
			return err
		}
		ready := make(chan struct{})
		c.Ready(func() { close(ready) })
		<-ready
	}
}
