package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/keeper"
	"github.com/ircferry/ircferry/proxy"
	"github.com/ircferry/ircferry/proxy/link"
)

// errNothingLeft says that nothing of what a daemon has left can be used.
var errNothingLeft = errors.New("nothing can be gone on with")

// recover goes on behind a kill, by the configuration that ran; then that of now is taken, as by a reload.
func (d *daemon) recover(ctx context.Context, l *left, present reading) error {
	began := time.Now()
	hurry := new(collector).hurry()
	x := &succession{opt: d.opt, d: d, running: l.running, present: present,
		begin: &beginMessage{Instance: l.was.Instance, Started: l.was.Started, Loops: l.was.Loops, Config: l.was.Config, Loaded: l.was.Loaded}}
	if err := d.standWhere(l, x); err != nil {
		return err
	}
	secrets, err := ticketSecrets(x.running.Cluster)
	if err != nil {
		return err
	}
	d.others.shareTickets(x.running.Cluster, secrets)
	d.certs.Use(x.set)
	sessions, links := tagged(l.Descriptors)
	s, report, err := proxy.Recover(d.proxyOptions(x.begin.Loops), proxy.Kept{Arena: l.Memory[memoryArena], Descriptors: sessions},
		listenerTLS(x.running.Listeners, x.set, d.tickets))
	if err != nil {
		return fmt.Errorf("%w: %w", errNothingLeft, err)
	}
	d.proxy = s.Proxy()
	if err := d.startMoves(x.running, nil, s.Held()); err != nil {
		return err
	}
	linked := d.recoverLinks(links, x.running)
	atStep("recovered")
	s.Start()
	d.links.Start()
	d.moves.Start()
	hurry()
	d.tellRecovery(report, linked, time.Since(began))
	d.lookBack()
	if _, err := d.setListeners(x.running.Listeners, x.set); err != nil {
		d.log.Error("not all listeners are there behind the kill", "missing", report.Unbound, "err", err)
	}
	if err := d.protect(); err != nil {
		return err
	}
	x.serve(ctx)()
	return nil
}

// tellRecovery tells the log, the status and those who follow the events.
func (d *daemon) tellRecovery(r proxy.Report, links link.Recovered, took time.Duration) {
	d.recovered = &admin.Recovery{Time: time.Now(), Cause: admin.RecoveredFromKill, Sessions: r.Sessions, Ended: r.Ended, Links: links.Links, LostLinks: links.Lost, Corrected: r.Corrected, Pause: ms(took)}
	d.log.Warn("ircferry goes on behind a kill or a crash", "version", admin.BuildVersion().Version, "instance", d.instance, "sessions", r.Sessions, "ended", r.Ended, "links", links.Links, "lost_links", len(links.Lost),
		"corrected", r.Corrected, "strangers", r.Strangers, "within", took.Round(time.Millisecond))
	d.publish("recover", fmt.Sprintf("version %s, %d sessions go on behind a kill", admin.BuildVersion().Version, r.Sessions))
}

// tagged tells the descriptors of sessions and those of server links apart.
func tagged(kept map[keeper.Tag]int) (sessions, links map[uint64]int) {
	sessions, links = make(map[uint64]int, len(kept)), map[uint64]int{}
	for tag, fd := range kept {
		if link.Tagged(uint64(tag)) {
			links[uint64(tag)] = fd
		} else {
			sessions[uint64(tag)] = fd
		}
	}
	return sessions, links
}
