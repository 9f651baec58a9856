package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/admit"
)

// What the new process of an upgrade finds out before it takes anything: see succeed.go.

// prepare does all that can be wrong and changes nothing of the old process.
func (x *succession) prepare(ctx context.Context) (err error) {
	if x.begin == nil {
		return errors.New("the process before this one says nothing of itself")
	}
	if x.present, err = x.opt.read(); err != nil {
		return err
	}
	if x.running, err = config.Parse("the running configuration", []byte(x.begin.Config)); err != nil {
		return fmt.Errorf("this version does not take the configuration that runs (reload one that both take, then upgrade): %w", err)
	}
	if err := x.opt.setLogging(x.running, nil); err != nil {
		return err
	}
	tune(x.begin.Loops)
	d := newDaemon(x.opt, x.begin.Instance, x.begin.Started)
	x.d = d
	d.cfg.Store(&loaded{Config: x.running, text: []byte(x.begin.Config), sha256: sumOf([]byte(x.begin.Config)), at: x.begin.Loaded})
	if x.set, err = d.certs.Load(x.running.Listeners); err != nil {
		return err
	}
	if _, err := d.certs.Load(x.present.cfg.Listeners); err != nil {
		return err
	}
	if err := x.probe(); err != nil {
		return err
	}
	if err := d.startBackends(x.running); err != nil {
		return err
	}
	d.backends.Adopt(x.begin.Backends)
	return x.awaitUp(ctx)
}

// probe finds out whether listeners can be bound that the configuration has now and the old process has not.
func (x *succession) probe() error {
	var bound []netip.AddrPort
	for _, text := range x.begin.Bound {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return fmt.Errorf("listener of the process before: %w", err)
		}
		bound = append(bound, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	return admit.Probe(x.present.cfg.Listeners, bound)
}

// awaitUp waits until the backends that are up for the old process are so for this one: if they are not, something is wrong with this one.
func (x *succession) awaitUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, firstChecks)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var missing []string
		for _, name := range x.begin.Up {
			b, ok := x.d.backends.Backend(name)
			switch {
			case !ok:
				return fmt.Errorf("backend %s is up and not in the running configuration", name)
			case b.Oper() != backend.Up && b.Admin() != backend.Maint:
				missing = append(missing, fmt.Sprintf("%s (%s)", name, b.Status().Cause))
				b.Recheck() // one check may have come at a busy moment
			}
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("backends that are up for the running process are not for this one: %s; see to them and upgrade again", strings.Join(missing, ", "))
		}
	}
}
