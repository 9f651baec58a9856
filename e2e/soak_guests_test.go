//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ircferry/ircferry/internal/ircclient"
)

// guests are clients who come, say something or not, and leave in all the ways there are. A move may close those that are not registered,
// with a word; but nobody waits for ever.
type guests struct {
	s            *soak
	ctx          context.Context
	cancel       context.CancelFunc
	wg           sync.WaitGroup
	came, closed atomic.Int64
}

func startGuests(s *soak, seed uint64) *guests {
	g := &guests{s: s}
	g.ctx, g.cancel = context.WithCancel(s.t.Context())
	for n := range 6 {
		rnd := rand.New(rand.NewPCG(seed, 100+uint64(n)))
		g.wg.Go(func() {
			for g.ctx.Err() == nil {
				g.visit(rnd)
			}
		})
	}
	s.t.Cleanup(g.end)
	return g
}

func (g *guests) end() {
	g.cancel()
	g.wg.Wait()
}

func (g *guests) pause(d time.Duration) {
	select {
	case <-g.ctx.Done():
	case <-time.After(d):
	}
}

// visit is one client from its coming to its leaving.
func (g *guests) visit(rnd *rand.Rand) {
	defer g.pause(time.Duration(rnd.IntN(200)) * time.Millisecond)
	to, options := fmt.Sprintf("127.0.0.1:%d", g.s.f.port), ircclient.Options{}
	if rnd.IntN(2) == 0 {
		to, options.TLS = g.s.secure.addr(), g.s.secure.config()
	}
	c, err := ircclient.Dial(g.ctx, to, options)
	if err != nil {
		if g.ctx.Err() == nil {
			g.s.t.Errorf("a guest cannot come: %v", err)
		}
		return
	}
	nick := fmt.Sprintf("guest%d", g.came.Add(1))
	switch err := g.talk(c, nick, rnd); {
	case errors.Is(err, ircclient.ErrTimeout):
		g.s.t.Errorf("%s waits for ever: %v", nick, err)
	case err != nil:
		g.closed.Add(1)
	}
	switch rnd.IntN(7) {
	case 0:
		_ = c.Reset()
	case 2: // a line without an end
		_ = c.Write([]byte(strings.Repeat("x", 17<<10)))
		g.pause(time.Duration(rnd.IntN(200)) * time.Millisecond)
		_ = c.Close()
	case 3: // asks, and reads no answer
		c.Pause()
		_ = c.Write([]byte(strings.Repeat("PING x\r\n", 500)))
		g.pause(time.Duration(rnd.IntN(200)) * time.Millisecond)
		_ = c.Reset()
	case 4: // has said all, and reads on
		_ = c.CloseWrite()
		g.pause(time.Duration(rnd.IntN(500)) * time.Millisecond)
		_ = c.Close()
	case 1:
		_ = c.Send("QUIT :bye")
		_ = c.CloseWrite()
		g.pause(time.Duration(rnd.IntN(100)) * time.Millisecond)
		_ = c.Close()
	default:
		_ = c.Close()
	}
}

// talk is what a guest does while it is there. Some leave in the middle of their registration.
func (g *guests) talk(c *ircclient.Client, nick string, rnd *rand.Rand) error {
	switch rnd.IntN(6) {
	case 0:
		return nil
	case 1:
		err := c.Write([]byte("NICK " + nick + "\r\nUSER v 0 "))
		g.pause(time.Duration(rnd.IntN(1500)) * time.Millisecond)
		return err
	}
	if err := c.Register(nick); err != nil {
		return err
	}
	if err := c.Join("#guests"); err != nil {
		return err
	}
	for range rnd.IntN(10) {
		if err := c.Send("PRIVMSG #guests :hello from " + nick); err != nil {
			return err
		}
		if _, err := c.Fence(); err != nil {
			return err
		}
		g.pause(time.Duration(rnd.IntN(300)) * time.Millisecond)
	}
	return nil
}
