package main

import (
	"context"
	"slices"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/link"
)

// serverLinks shows the links to moves. Rooms below cmd do not know each other, so what link.Set answers is given the type that handoff asks for.
type serverLinks struct{ *link.Set }

// Hold implements handoff.Links.
func (s serverLinks) Hold(ctx context.Context, name string) (handoff.HeldLinks, error) {
	held, err := s.Set.Hold(ctx, name)
	if err != nil {
		return nil, err
	}
	return held, nil
}

var _ handoff.Links = serverLinks{}

func (d *daemon) linkOptions() link.Options {
	o := link.Options{Backends: d.backends, Log: d.log.With("component", "link"), Registerer: d.registry, Tell: d.linkNotice}
	if d.keeping.wanted() {
		o.Keeper = d.keeping
	}
	return o
}

// keepAll gives all connections to a keeper that has none.
func (d *daemon) keepAll(ctx context.Context) error {
	d.links.KeepAll(ctx)
	return d.proxy.KeepAll(ctx)
}

// recoverLinks goes on with the server links of a killed daemon, as far as that can be. Whatever becomes of them, the sessions go on.
func (d *daemon) recoverLinks(kept map[uint64]int, running config.Config) link.Recovered {
	r, err := d.links.Recover(kept, running.Pools)
	if err != nil {
		d.log.Error("the server links of the killed daemon are lost", "err", err)
	}
	return r
}

// linkPictures shows the links of a pool to the admin API.
func (d *daemon) linkPictures(pool string) (all []admin.Link) {
	for _, i := range d.links.Links() {
		if i.Pool != pool {
			continue
		}
		l := admin.Link{Name: i.Name, Listen: i.Listen, Dial: i.Dial, State: i.State.String(), From: i.From, Backend: i.Backend, Server: i.Server, SID: i.SID,
			Proto: i.Proto, KeptBytes: i.Kept, HoldBytes: i.Hold, GivenUp: i.GivenUp, Refused: i.Refused, Protected: i.Protected}
		if i.State != link.Down {
			l.Since = i.Since
		}
		if i.Removed {
			l.Listen = ""
		}
		if !i.Held.IsZero() {
			l.HeldSeconds = time.Since(i.Held).Round(time.Millisecond).Seconds()
		}
		all = append(all, l)
	}
	return all
}

// holdRefusal says why a hold of a backend would be refused; nil: it would not be, there is nobody to be held, or it is in a move.
func (d *daemon) holdRefusal(b *backend.Backend) *handoff.Refused {
	inMove := slices.ContainsFunc(d.moves.Moves(), func(r handoff.Report) bool {
		return !r.State.Ended() && r.Pool == b.Pool().Name() && (r.From == b.Name() || r.To == b.Name())
	})
	if !b.Native() || b.Sessions() == 0 || inMove {
		return nil
	}
	return d.moves.HoldRefusal(b)
}

// linkNotice tells those who follow the events what became of a link.
func (d *daemon) linkNotice(n link.Notice) {
	d.events.Publish(admin.Event{Time: time.Now(), Kind: admin.EventLink, Object: n.Link, Word: n.Word, Text: n.Text})
}
