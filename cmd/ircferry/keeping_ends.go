package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/keeper"
)

// What the keeper has beside descriptors, and how a daemon ends with it.

// memories are descriptors of memory by the names that the keeper has for them.
type memories map[string]*os.File

// Names of memory.
const (
	memoryArena  = "arena"  // of the proxy
	memoryDaemon = "daemon" // see daemonMemory
	memoryLegacy = "legacy" // of a daemon that was restarted
)

// daemonMemory is what a daemon behind a crash must know beside the arena.
type daemonMemory struct {
	Format   int       `json:"format"`
	Instance string    `json:"instance"`
	Started  time.Time `json:"started"`
	Loops    int       `json:"loops"`
	Config   string    `json:"config"` // text of the one that ran
	Loaded   time.Time `json:"loaded"`
}

const daemonMemoryFormat = 1

// setMemory has the keeper hold text by a name, now and whenever there is a new one.
func (k *keeping) setMemory(name string, document any) error {
	if !k.wanted() {
		return nil
	}
	text, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("memory %s: %w", name, err)
	}
	fd, err := unix.MemfdCreate("ircferry-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memory %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(text); err != nil {
		f.Close()
		return fmt.Errorf("memory %s: %w", name, err)
	}
	return k.setMemoryFile(name, f)
}

// setMemoryFile has the keeper hold a file, which is the keeping's from here on.
func (k *keeping) setMemoryFile(name string, f *os.File) error {
	k.mu.Lock()
	before := k.memory[name]
	k.memory[name] = f
	k.mu.Unlock()
	if before != nil {
		before.Close()
	}
	if c := k.client.Load(); c != nil {
		return k.giveMemory(c)
	}
	return nil
}

// giveMemory gives all of it. It waits until the keeper takes it.
func (k *keeping) giveMemory(c *keeper.Client) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, f := range k.memory {
		fd, err := descriptor(f)
		if err != nil {
			return err
		}
		if err := keepMemory(c, name, fd); err != nil {
			return fmt.Errorf("give memory %s to the keeper: %w", name, err)
		}
	}
	return nil
}

func keepMemory(c *keeper.Client, name string, fd int) error {
	return whenReady(c, time.Now().Add(keeperBusy), func() error { return c.KeepMemory(name, fd) })
}

// forgetLegacy has the keeper hold a legacy no more: whoever comes behind a crash of this process finds the sessions in the arena.
func (k *keeping) forgetLegacy(descriptors int) error {
	c := k.client.Load()
	if c == nil {
		return keeper.ErrGone
	}
	tags := make([]keeper.Tag, descriptors)
	for i := range tags {
		tags[i] = heirTag | keeper.Tag(i)
	}
	if err := errors.Join(keepMemory(c, memoryLegacy, -1), c.Drop(tags...)); err != nil {
		return fmt.Errorf("have the keeper forget what is inherited: %w", err)
	}
	return nil
}

// well reports whether there is a keeper that answers.
func (k *keeping) well(ctx context.Context) bool {
	c := k.client.Load()
	if c == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, wellTime)
	defer cancel()
	_, err := c.Ping(ctx)
	return err == nil
}

// wellTime is what a keeper has to answer at a restart.
const wellTime = 2 * time.Second

// inherit claims the keeper with the ticket of the process before. Without one, or if that fails, it is found when that process has gone.
func (k *keeping) inherit(t keeper.Ticket) {
	if !k.wanted() || len(t) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), passTime)
	defer cancel()
	c, err := k.dial(ctx)
	if err == nil {
		if err = c.Claim(ctx, t); err == nil {
			k.use(c)
			return
		}
		c.Close()
	}
	k.missing(err)
}

// missing says why there is no keeper at a start.
func (k *keeping) missing(err error) {
	k.mu.Lock()
	k.why = err.Error()
	k.mu.Unlock()
	k.log.Error("there is no keeper: connections end with this daemon until there is one", "err", err, "way_out", "systemctl start ircferry-keeper")
}

// pass answers a ticket for a successor; nil: there is no keeper.
func (k *keeping) pass(ctx context.Context) keeper.Ticket {
	c := k.client.Load()
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, passTime)
	defer cancel()
	t, err := c.Pass(ctx)
	if err != nil {
		k.log.Warn("the keeper is not passed on: the new process finds it by itself", "err", err)
	}
	return t
}

// passTime bounds what the keeper has for a hand-over, in which clients wait.
const passTime = 500 * time.Millisecond

// reclaim has the claim again behind a successor that has failed.
func (k *keeping) reclaim() {
	c := k.client.Load()
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(k.ctx, passTime)
	defer cancel()
	if err := errors.Join(c.Claim(ctx, nil), c.Serving()); err != nil {
		k.giveUp(err.Error())
	}
}

// ending says that this daemon is to stop: nothing of it is to be held, however it ends.
func (k *keeping) ending() {
	if c := k.client.Load(); c != nil {
		c.Ending() //nolint:errcheck // a keeper that is gone holds nothing
	}
}

// clear has the keeper close everything: the last act of a daemon that was stopped.
func (k *keeping) clear() {
	c := k.client.Load()
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), clearTime)
	defer cancel()
	if err := c.Clear(ctx); err != nil && !errors.Is(err, keeper.ErrGone) && !errors.Is(err, keeper.ErrFenced) {
		k.log.Warn("the keeper may hold something still", "err", err)
	}
}

// clearTime bounds how long it takes to close some ten thousand sockets.
const clearTime = 3 * time.Second

// leave ends it. What the keeper holds it holds on.
func (k *keeping) leave() {
	k.cancel()
	k.running.Wait()
	if c := k.client.Swap(nil); c != nil {
		c.Close()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, f := range k.memory {
		f.Close()
		delete(k.memory, name)
	}
}

// protect gives all that there is to the keeper, and from now on whatever comes.
func (d *daemon) protect() error {
	if !d.keeping.wanted() {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(d.proxy.ArenaFD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("keep arena: %w", err)
	}
	if err := errors.Join(d.keeping.setMemoryFile(memoryArena, os.NewFile(uintptr(fd), memoryArena)), d.remember()); err != nil {
		return err
	}
	d.keeping.attend(d.keepAll)
	return nil
}

// remember has the keeper hold what a daemon behind a crash must know of this one.
func (d *daemon) remember() error {
	cfg := d.cfg.Load()
	return d.keeping.setMemory(memoryDaemon, daemonMemory{Format: daemonMemoryFormat, Instance: d.instance, Started: d.started, Loops: d.proxy.Loops(),
		Config: string(cfg.text), Loaded: cfg.at})
}
