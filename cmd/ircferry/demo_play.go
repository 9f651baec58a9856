package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
)

// play is the demo from the first client to the last count.
func (d *demo) play(ctx context.Context) (*demoResult, error) {
	d.view.start()
	defer d.view.stop()
	d.view.say("connecting %d clients", d.opt.clients)
	d.crowd = newCrowd(d.opt.clients, d.opt.channels)
	if err := d.crowd.connect(ctx, d.address(), d.secureAddress()); err != nil {
		return nil, err
	}
	d.crowd.talk(demoPace)
	r := &demoResult{Clients: d.opt.clients}
	for _, step := range []func(context.Context) (handoff.Report, error){d.drain("a", "b"), d.drain("b", "a"), d.restart("a")} {
		if err := d.talkOn(ctx); err != nil {
			return nil, err
		}
		report, err := step(ctx)
		if err != nil {
			return nil, err
		}
		r.addMove(report)
	}
	if err := d.talkOn(ctx); err != nil {
		return nil, err
	}
	d.view.say("counting")
	r.count(d.crowd.settle())
	return r, nil
}

// talkOn lets the crowd talk for a while between the moves.
func (d *demo) talkOn(ctx context.Context) error {
	d.view.say("talking")
	select {
	case <-ctx.Done():
		return errors.New("interrupted")
	case <-time.After(d.opt.talk):
		return nil
	}
}

// drain is `ferryctl drain main/from --to to`, and undrain of the empty backend afterwards.
func (d *demo) drain(from, to string) func(context.Context) (handoff.Report, error) {
	return func(ctx context.Context) (handoff.Report, error) {
		d.view.say("drain %s to %s", from, to)
		m, err := d.daemon.moves.Drain(handoff.Request{Kind: handoff.KindDrain, Pool: "main", From: from, To: to, Actor: "demo"})
		if err != nil {
			return handoff.Report{}, fmt.Errorf("drain %s to %s: %w", from, to, err)
		}
		report, err := d.ended(ctx, m)
		if err != nil {
			return report, err
		}
		return report, d.backend(from).SetAdmin(backend.Ready)
	}
}

// restart is `ferryctl restart main/name`: the ircd is another one afterwards, as if its process had been started anew.
func (d *demo) restart(name string) func(context.Context) (handoff.Report, error) {
	return func(ctx context.Context) (handoff.Report, error) {
		d.view.say("restart %s", name)
		m, err := d.daemon.moves.Hold(handoff.Request{Kind: handoff.KindRestart, Pool: "main", From: name, Actor: "demo"})
		if err != nil {
			return handoff.Report{}, fmt.Errorf("restart %s: %w", name, err)
		}
		select {
		case <-m.Parked():
		case <-m.Done():
			return d.ended(ctx, m)
		}
		if err := d.ircds[name].close(); err != nil {
			return handoff.Report{}, fmt.Errorf("stop %s: %w", name, err)
		}
		if d.ircds[name], err = startDemoServer(name, d.socket(name)); err != nil {
			return handoff.Report{}, fmt.Errorf("start %s: %w", name, err)
		}
		if _, err := d.daemon.moves.Release("main", name, "", "demo"); err != nil {
			return handoff.Report{}, fmt.Errorf("release %s: %w", name, err)
		}
		return d.ended(ctx, m)
	}
}

// ended waits for a move's end. A move that was not done is an error: the demo has nothing to show then.
func (d *demo) ended(ctx context.Context, m *handoff.Move) (handoff.Report, error) {
	select {
	case <-m.Done():
	case <-ctx.Done():
		return m.Report(), errors.New("interrupted")
	}
	r := m.Report()
	if r.State != handoff.StateDone {
		return r, fmt.Errorf("%s of %s: %s at %s: %s", r.Kind, r.From, r.State, r.Step, r.Error)
	}
	return r, nil
}
