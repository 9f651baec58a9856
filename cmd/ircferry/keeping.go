package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ircferry/ircferry/internal/keeper"
	"github.com/ircferry/ircferry/proxy"
)

// keeping is the daemon's side of its keeper: it finds one, gives it what there is, notices when it is gone, and finds the next. Without a keeper the daemon
// serves all the same; what is not kept ends with it.
type keeping struct {
	socket  string // "": there is to be none
	log     *slog.Logger
	publish func(word, text string)

	client atomic.Pointer[keeper.Client] // nil: there is none now
	all    func(context.Context) error   // gives everything again; nil: nothing is there yet
	room   func() (used, limit int)      // descriptors of this process

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	busySince atomic.Int64 // since began, in ns; 0: it is not busy
	began     time.Time
	again     atomic.Bool // something is not kept that may be by now
	counts    keeperCounts

	mu     sync.Mutex
	info   keeper.Status // as last heard
	since  time.Time     // since when it is the keeper, or since when there is none
	why    string        // why there is none
	memory memories
}

// keeperCounts are for metrics.
type keeperCounts struct{ busy, lost, failed, gone atomic.Uint64 }

const (
	keeperLook   = 2 * time.Second        // between two questions how it is
	keeperAnswer = 5 * time.Second        // in which it answers; a keeper that hangs is none
	keeperBusy   = 2 * time.Second        // in which it takes something: clients wait for that
	keeperRetry  = 500 * time.Millisecond // between two tries to find one
	keeperFirst  = 2 * time.Second        // in which it is found at a start
)

func newKeeping(socket string, log *slog.Logger, publish func(word, text string)) *keeping {
	k := &keeping{socket: socket, log: log.With("component", "keeper"), publish: publish, began: time.Now(), since: time.Now(), memory: memories{}}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	if socket != "" {
		k.why = "not found yet"
	}
	return k
}

// wanted reports whether there is to be a keeper.
func (k *keeping) wanted() bool { return k.socket != "" }

// dial goes to the keeper, without the claim.
func (k *keeping) dial(ctx context.Context) (*keeper.Client, error) {
	return keeper.Dial(ctx, k.socket, keeper.Options{Lost: k.lost})
}

// use makes a client with the claim the keeper of now.
func (k *keeping) use(c *keeper.Client) {
	k.mu.Lock()
	k.info, k.since, k.why = c.Hello(), time.Now(), ""
	k.mu.Unlock()
	k.busySince.Store(0)
	k.client.Store(c)
}

// Keep implements proxy.Keeper. Without a keeper all goes on as if there were one: it gets everything when it is found.
func (k *keeping) Keep(tag uint64, fd int) error {
	c := k.client.Load()
	if c == nil {
		return nil
	}
	err := c.Keep(keeper.Tag(tag), fd)
	switch {
	case err == nil:
		k.busySince.Store(0)
		return nil
	case errors.Is(err, keeper.ErrBusy) && k.stillBusy():
		return proxy.ErrKeeperBusy
	}
	k.counts.failed.Add(1)
	k.again.Store(true)
	return err
}

// stillBusy notes that the keeper takes nothing. One that does not for too long is given up: new clients wait for it.
func (k *keeping) stillBusy() bool {
	k.counts.busy.Add(1)
	now := max(1, int64(time.Since(k.began)))
	if k.busySince.CompareAndSwap(0, now) || now-k.busySince.Load() < int64(keeperBusy) {
		return true
	}
	k.giveUp("it takes nothing")
	return false
}

// giveUp has no keeper be the keeper any more. The goroutine finds another one, or this one when it is well again.
func (k *keeping) giveUp(why string) {
	c := k.client.Swap(nil)
	if c == nil {
		return
	}
	k.counts.gone.Add(1)
	k.mu.Lock()
	k.why, k.since = why, time.Now()
	k.mu.Unlock()
	k.log.Error("the keeper is gone: connections end with this daemon until there is one", "why", why, "way_out", "systemctl status ircferry-keeper")
	k.publish("keeper", "gone: "+why)
	go c.Close()
}

// Drop implements proxy.Keeper.
func (k *keeping) Drop(tags ...uint64) error {
	c := k.client.Load()
	if c == nil {
		return nil
	}
	all := make([]keeper.Tag, len(tags))
	for i, t := range tags {
		all[i] = keeper.Tag(t)
	}
	return c.Drop(all...)
}

// Ready implements proxy.Keeper.
func (k *keeping) Ready(f func()) {
	if c := k.client.Load(); c != nil {
		c.Ready(f)
		return
	}
	go f()
}

// lost is told what the keeper does not hold.
func (k *keeping) lost(tags []keeper.Tag, err error) {
	k.counts.lost.Add(uint64(max(1, len(tags))))
	if !k.again.Swap(true) {
		k.log.Error("the keeper does not hold everything: some connections would end with this daemon", "descriptors", len(tags), "err", err)
	}
}

// attend begins to look after the keeper, when all that it is to have is there.
func (k *keeping) attend(all func(context.Context) error) {
	if !k.wanted() {
		return
	}
	k.all = all
	k.running.Go(k.follow)
}

// follow is its goroutine.
func (k *keeping) follow() {
	if c := k.client.Load(); c != nil {
		k.give(c)
		if err := c.Serving(); err != nil {
			k.giveUp(err.Error())
		}
		k.warnRoom()
	}
	tick := time.NewTicker(keeperLook)
	defer tick.Stop()
	for k.ctx.Err() == nil {
		c := k.client.Load()
		if c == nil {
			k.find()
			continue
		}
		select {
		case <-k.ctx.Done():
			return
		case <-c.Done():
			k.giveUp("it has ended")
		case <-tick.C:
			k.look(c)
		}
	}
}

// look asks the keeper how it is, and gives it what it did not take.
func (k *keeping) look(c *keeper.Client) {
	ctx, cancel := context.WithTimeout(k.ctx, keeperAnswer)
	defer cancel()
	info, err := c.Ping(ctx)
	switch {
	case k.ctx.Err() != nil:
		return
	case err != nil:
		k.giveUp(err.Error())
		return
	}
	k.mu.Lock()
	k.info = info
	k.mu.Unlock()
	if c.Fenced() {
		k.giveUp("another daemon has the claim")
		return
	}
	if info.Descriptors < info.Limit && k.again.Swap(false) {
		k.give(c)
	}
}

// give gives everything.
func (k *keeping) give(c *keeper.Client) {
	if err := errors.Join(k.giveMemory(c), k.all(k.ctx)); err != nil && k.ctx.Err() == nil {
		k.again.Store(true)
		k.log.Warn("not everything was given to the keeper", "err", err)
	}
}

// find looks for a keeper and makes it ours. What it has by then is of no use any more: this daemon lives, and has what it has.
func (k *keeping) find() {
	ctx, cancel := context.WithTimeout(k.ctx, keeperAnswer)
	defer cancel()
	c, err := k.dial(ctx)
	if err == nil {
		if err = k.takeOver(ctx, c); err != nil {
			c.Close()
		}
	}
	if err == nil || k.ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	k.why = err.Error()
	k.mu.Unlock()
	rest(k.ctx, keeperRetry)
}

func (k *keeping) takeOver(ctx context.Context, c *keeper.Client) error {
	if err := c.Claim(ctx, nil); err != nil {
		return err
	}
	if err := c.Clear(ctx); err != nil {
		return err
	}
	k.use(c)
	k.give(c)
	if err := c.Serving(); err != nil {
		return err
	}
	k.log.Info("there is a keeper", "pid", c.Hello().PID, "version", c.Hello().Version)
	k.publish("keeper", fmt.Sprintf("found: process %d, version %s", c.Hello().PID, c.Hello().Version))
	k.warnRoom()
	return nil
}

// warnRoom says if the keeper may have fewer descriptors than this process.
func (k *keeping) warnRoom() {
	if few := k.few(); few != "" {
		k.log.Warn(few)
	}
}

// few is a sentence if the keeper may have fewer descriptors than this process; "": it may not.
func (k *keeping) few() string {
	if k.client.Load() == nil || k.room == nil {
		return ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, limit := k.room(); k.info.Limit < limit-keeperSpare {
		return fmt.Sprintf("the keeper may have %d descriptors and the daemon %d: a session needs two in either, and those above %d would end with the daemon; raise LimitNOFILE of ircferry-keeper.service (ulimit -n)",
			k.info.Limit, limit, k.info.Limit/2)
	}
	return ""
}

// keeperSpare is more than the keeper and the daemon have for themselves.
const keeperSpare = 256
