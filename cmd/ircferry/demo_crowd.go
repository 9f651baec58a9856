package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ircferry/ircferry/internal/ircclient"
)

// How long a client is silent between two messages, at most; half of it on average.
const (
	demoPace = 300 * time.Millisecond
	stayPace = 8 * time.Second
)

// sayings follow the numbers, for those who read along.
var sayings = []string{"", "ahoy", "who goes there?", "the sea is calm tonight", "all aboard, please mind the gap between ship and shore",
	"the ferry leaves, and nobody notices", "has anyone seen the captain?"}

// crowd is the clients of the demo: numbered messages go to the channel that each is in, and an oracle follows them.
type crowd struct {
	oracle   *ircclient.Oracle
	channels int
	people   []*person
	hush     func() // ends talk and waits for it
}

// person is one client.
type person struct {
	nick   string
	client *ircclient.Client
	flow   *ircclient.Flow
	ear    *ircclient.Receiver
	echo   bool
}

func newCrowd(clients, channels int) *crowd {
	c := &crowd{oracle: ircclient.NewOracle(), channels: channels, hush: func() {}}
	for i := range clients {
		nick := fmt.Sprintf("guest%d", i)
		c.people = append(c.people, &person{
			nick: nick, flow: c.oracle.Flow(nick, c.channel(i)), ear: c.oracle.Receiver(nick, nil), echo: i/channels%2 == 1})
	}
	return c
}

// channel is where client i is.
func (c *crowd) channel(i int) string { return fmt.Sprintf("#ferry%d", i%c.channels) }

// each runs f for everybody, 20 at a time, and answers the first error.
func (c *crowd) each(f func(i int, p *person) error) error {
	var wait sync.WaitGroup
	slots, errs := make(chan struct{}, 20), make(chan error, len(c.people))
	for i, p := range c.people {
		slots <- struct{}{}
		wait.Go(func() {
			if err := f(i, p); err != nil {
				errs <- fmt.Errorf("%s: %w", p.nick, err)
			}
			<-slots
		})
	}
	wait.Wait()
	close(errs)
	return <-errs
}

// connect registers everybody, half of them over TLS, and joins the channels; once all are in and have read it, the ears are open.
func (c *crowd) connect(ctx context.Context, plain, secure string) error {
	err := c.each(func(i int, p *person) (err error) {
		addr, o := plain, ircclient.Options{Closed: p.ear.Closed}
		if (i/c.channels/2+i%c.channels)%2 == 1 { // in each channel, with echo-message and without
			addr, o.TLS = secure, &tls.Config{InsecureSkipVerify: true} // the demo's own certificate, on loopback
			if i%3 == 0 {
				o.TLS.MaxVersion = tls.VersionTLS12
			}
		}
		if p.client, err = ircclient.Dial(ctx, addr, o); err != nil {
			return err
		}
		caps := []string{"server-time", "message-tags", "multi-prefix"}
		if p.echo {
			caps = append(caps, "echo-message")
		}
		if err := p.client.Register(p.nick, caps...); err != nil {
			return err
		}
		return p.client.Join(c.channel(i))
	})
	if err != nil {
		return err
	}
	return c.each(func(i int, p *person) error {
		for j := i % c.channels; j < len(c.people); j += c.channels {
			if j != i || p.echo {
				p.ear.Hears(c.people[j].flow)
			}
		}
		_, err := p.client.Fence()
		p.client.Handle(p.ear.Line)
		return err
	})
}

// talk makes everybody talk until hush.
func (c *crowd) talk(pace time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	var talking sync.WaitGroup
	for i, p := range c.people {
		talking.Go(func() { p.talk(ctx, rand.New(rand.NewPCG(uint64(i), 0)), pace) })
	}
	c.hush = func() {
		cancel()
		talking.Wait()
	}
}

func (p *person) talk(ctx context.Context, random *rand.Rand, pace time.Duration) {
	t := time.NewTimer(time.Duration(random.Int64N(int64(pace))))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if p.client.Send(p.flow.Line(sayings[random.IntN(len(sayings))])) != nil {
			return // the oracle has counted a disconnect
		}
		t.Reset(time.Duration(random.Int64N(int64(pace))))
	}
}

// settle ends the talk, waits for what is under way, and answers the counts. A fence behind it finds what came too much.
func (c *crowd) settle() ircclient.Counts {
	c.hush()
	c.oracle.Settle(3 * time.Second)
	c.each(func(_ int, p *person) error {
		_, err := p.client.Fence()
		return err
	})
	return c.oracle.Counts()
}

func (c *crowd) close() {
	c.hush()
	for _, p := range c.people {
		if p.client != nil {
			p.ear.Leave()
			p.client.Close()
		}
	}
}
