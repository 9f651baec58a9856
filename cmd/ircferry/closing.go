package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// closings are the backends without a driver whose sessions an operator closes. They end when nobody is left, when somebody makes the backend
// ready, or with the daemon.
//
//	closing -> over                        drain --close-after: nobody is left
//	closing -> held -> admitting -> over   restart: new clients of the pool wait until the ircd is back, and are let in at a pace
type closings struct {
	d       *daemon
	running sync.WaitGroup

	mu  sync.Mutex
	all map[string]*closing // by "pool/name"
}

// closing is one of them.
type closing struct {
	b      *backend.Backend
	r      admin.CloseRequest
	cancel context.CancelFunc
	admit  chan int // the pace; capacity 1

	mu   sync.Mutex
	info admin.Closing
}

// Close implements admin.Closings, as do the following.
func (c *closings) Close(pool, name string, r admin.CloseRequest) error {
	b, ok := c.d.backends.Backend(pool + "/" + name)
	if !ok {
		return fmt.Errorf("no backend %s/%s", pool, name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	x := &closing{b: b, r: r, cancel: cancel, admit: make(chan int, 1),
		info: admin.Closing{Phase: admin.Closes, Total: b.Sessions(), Started: time.Now(), Until: time.Now().Add(r.After), Held: r.Hold}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[b.FullName()] != nil {
		cancel()
		return fmt.Errorf("the sessions of %s are being closed already", b.FullName())
	}
	if err := b.SetAdmin(backend.Drain); err != nil {
		cancel()
		return err
	}
	if r.Hold && b.Pool().Config().Topology != config.Linked {
		c.d.proxy.Gate(pool)
	}
	c.all[b.FullName()] = x
	c.running.Go(func() { c.carryOut(ctx, x) })
	return nil
}

// Admit lets the clients in again that a restart holds.
func (c *closings) Admit(pool, name string, pace int) error {
	x := c.of(pool + "/" + name)
	if x == nil || !x.r.Hold {
		return fmt.Errorf("no clients are held for %s/%s", pool, name)
	}
	select {
	case x.admit <- pace:
	default:
	}
	return nil
}

// Cancel ends the closing of a backend, if there is one; who is held is let in.
func (c *closings) Cancel(pool, name string) {
	if x := c.of(pool + "/" + name); x != nil {
		x.cancel()
	}
}

// Closing tells how far it is; nil: nothing is closed there.
func (c *closings) Closing(pool, name string) *admin.Closing {
	x := c.of(pool + "/" + name)
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	info := x.info
	info.Left = x.b.Sessions()
	return &info
}

func (c *closings) of(full string) *closing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[full]
}

// names lists the backends ("pool/name") of which sessions are being closed.
func (c *closings) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.all))
}

// gates reports whether new clients of the pool wait for a restart.
func (c *closings) gates(pool string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.all {
		if x.r.Hold && x.b.Pool().Name() == pool {
			return true
		}
	}
	return false
}

// end stops all and waits.
func (c *closings) end() {
	c.mu.Lock()
	for _, x := range c.all {
		x.cancel()
	}
	c.mu.Unlock()
	c.running.Wait()
}

// carryOut is the goroutine of one closing.
func (c *closings) carryOut(ctx context.Context, x *closing) {
	defer x.cancel()
	full, pool := x.b.FullName(), x.b.Pool().Name()
	tell := func(word, text string) {
		c.d.events.Publish(admin.Event{Time: time.Now(), Kind: admin.EventBackend, Object: full, Word: word, Text: text})
		c.d.log.Info("backend "+word, "backend", full, "cause", text)
	}
	tell("closing", fmt.Sprintf("%d sessions within %s", x.info.Total, x.r.After))
	c.announce(ctx, x)
	c.spread(ctx, x)
	if ctx.Err() == nil {
		tell("closed", "nobody is left")
	}
	if x.r.Hold {
		c.hold(ctx, x)
		c.d.proxy.Ungate(pool)
		tell("admitted", "new clients come in as usual")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, full)
}

const (
	closeTick  = 200 * time.Millisecond
	noticeTime = 3 * time.Second // in which everybody was told who can be
	admitTick  = 100 * time.Millisecond
)

// announce tells the users what is to come.
func (c *closings) announce(ctx context.Context, x *closing) {
	if x.r.Notice == "" {
		return
	}
	told := map[string]bool{}
	for began := time.Now(); len(told) < x.b.Sessions() && time.Since(began) < noticeTime && ctx.Err() == nil; rest(ctx, closeTick) {
		for _, u := range c.d.proxy.Notice(ctx, x.b.FullName(), x.r.Notice, told) {
			told[u] = true
		}
	}
}

// spread closes the sessions evenly over the time, in no order that anybody could see.
func (c *closings) spread(ctx context.Context, x *closing) {
	text := x.r.Notice
	if text == "" {
		text = "this server is taken out of service, please reconnect"
	}
	began := x.info.Started
	for ctx.Err() == nil {
		refs, err := c.d.proxy.On(ctx, x.b.FullName())
		if err == nil && len(refs) == 0 {
			return
		}
		keep := 0
		if left := x.r.After - time.Since(began); left > 0 {
			keep = int(float64(x.info.Total) * float64(left) / float64(x.r.After))
		}
		if n := len(refs) - keep; n > 0 {
			rand.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
			us := make([]string, n)
			for i := range us {
				us[i] = refs[i].U
			}
			c.d.proxy.End(us, backend.CauseOperator, text)
		}
		rest(ctx, closeTick)
	}
}

// hold keeps the clients of the pool waiting until they may come and the ircd answers, for as long as users are parked at most, and lets them in
// at the pace.
func (c *closings) hold(ctx context.Context, x *closing) {
	ctx, cancel := context.WithTimeout(ctx, c.d.limits().Park)
	defer cancel()
	x.phase(admin.Held)
	pace := 0
	select {
	case pace = <-x.admit:
	case <-ctx.Done():
		if ctx.Err() == context.Canceled {
			return // whoever ended it says what the backend is
		}
	}
	if err := x.b.SetAdmin(backend.Ready); err != nil {
		c.d.log.Warn("admin state not set back", "backend", x.b.FullName(), "err", err)
	}
	if pace <= 0 {
		return
	}
	x.phase(admin.Admits)
	for since := time.Now(); ctx.Err() == nil; rest(ctx, admitTick) {
		if st := x.b.Status(); st.Oper == backend.Up && st.LastCheck.After(since) {
			break
		}
		x.b.Recheck()
	}
	for n := 0; ctx.Err() == nil; rest(ctx, admitTick) {
		n += pace
		waiting, err := c.d.proxy.Admit(ctx, x.b.Pool().Name(), n/ticks)
		n %= ticks
		if err != nil || waiting == 0 {
			return
		}
	}
}

// ticks of admitting in a second.
const ticks = int(time.Second / admitTick)

func (x *closing) phase(p admin.ClosingPhase) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.info.Phase = p
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

var _ admin.Closings = (*closings)(nil)
