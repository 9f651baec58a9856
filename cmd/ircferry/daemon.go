package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/certs"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy"
	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/link"
)

// daemonOptions say how a daemon is started: from a file, or from a value (the demo).
type daemonOptions struct {
	path   string         // configuration file; "": config
	config *config.Config // used if path is ""
	log    *slog.Logger
	setLog func(config.Log) error // called with each loaded configuration; may be nil
	keeper string                 // socket of the keeper; "": there is to be none
}

// daemon is all rooms wired together.
type daemon struct {
	opt      daemonOptions
	log      *slog.Logger
	instance string
	started  time.Time

	lock     *os.File
	certs    *certs.Store
	tickets  *handshake.Tickets
	registry *prometheus.Registry
	backends *backend.Set
	proxy    *proxy.Proxy
	links    *link.Set
	moves    *handoff.Coordinator
	events   *admin.Events
	metrics  *admin.Metrics
	closings *closings
	others   *others
	api      *admin.Server
	public   *http.Server
	serving  sync.WaitGroup // admin API and HTTP port

	upgrades *upgrades
	keeping  *keeping
	doors    doors
	counters counters // of the processes before this one

	named func(pid int) // tells the service manager another main process; nil: nobody wants to know

	recovered *admin.Recovery // what came along from a daemon that was killed or restarted; nil: there was none

	interrupted []handoff.Interrupted // moves of an earlier daemon that have no end

	stopCerts       func() // nil: they are not watched
	stopDescriptors func() // nil: nor these

	cfg      atomic.Pointer[loaded]
	stopping atomic.Bool
	reload   sync.Mutex // one at a time
}

// loaded is the running configuration and where it came from.
type loaded struct {
	config.Config
	text      []byte
	sha256    string
	at        time.Time
	lastError string   // of the last reload, if it changed nothing
	needs     []string // keys that the file has other values for, which only a restart takes
}

// startDaemon starts everything or nothing, and goes on with what a daemon before has left to the keeper, if there is something. That has its configuration, so
// a file that is wrong by now stands in nobody's way then. The order of a start: what can be wrong with the file, the lock, the backends and their checks, the
// loops, the admin socket, and the listeners last, so that no client comes before the rest stands.
func startDaemon(opt daemonOptions) (*daemon, error) {
	read, wrong := opt.read()
	if wrong != nil && opt.keeper == "" {
		return nil, wrong
	}
	d := newDaemon(opt, newInstance(), time.Now())
	l, err := d.find()
	switch {
	case err != nil:
	case l != nil:
		if err = d.goOnWith(l, read); !errors.Is(err, errNothingLeft) {
			return d, err
		}
		d.log.Error("what the daemon before has left cannot be gone on with: its connections are closed, this one starts anew", "err", err)
		l.close()
		d.keeping.clear()
		d.doors.close()
		d.release()
		return startDaemon(opt)
	case wrong != nil:
		err = wrong
	default:
		err = d.startAnew(read)
	}
	if err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

func (d *daemon) startAnew(read reading) error {
	if err := d.opt.setLogging(read.cfg, read.warnings); err != nil {
		return err
	}
	d.cfg.Store(&loaded{Config: read.cfg, text: read.text, sha256: read.sum, at: time.Now()})
	if err := d.start(read.cfg); err != nil {
		return err
	}
	if err := d.protect(); err != nil {
		return err
	}
	d.metrics.Loaded(true, read.sum)
	d.publish("start", "version "+admin.BuildVersion().Version)
	d.log.Info("ircferry runs", "version", admin.BuildVersion().Version, "instance", d.instance, "config", d.opt.path)
	return nil
}

// newDaemon makes what needs no configuration.
func newDaemon(opt daemonOptions, instance string, started time.Time) *daemon {
	d := &daemon{opt: opt, log: opt.log, instance: instance, started: started, registry: prometheus.NewRegistry(), events: admin.NewEvents(1024)}
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d.metrics = admin.NewMetrics(d.registry)
	d.closings = &closings{d: d, all: map[string]*closing{}}
	d.others = newOthers(d)
	d.certs, d.tickets = certs.NewStore(d.certNotice), handshake.NewTickets()
	d.keeping = newKeeping(opt.keeper, d.log, d.publish)
	d.keeping.room = proxy.Descriptors
	d.keeping.measure(d.registry)
	d.upgrades = newUpgrades(d)
	d.upgrades.measure(d.registry)
	admin.ShowCertificates(d.registry, pictures{d})
	return d
}

// publish tells those who follow the events something of the daemon itself.
func (d *daemon) publish(word, text string) {
	d.events.Publish(admin.Event{Time: time.Now(), Kind: admin.EventDaemon, Object: d.instance, Word: word, Text: text})
}

func (d *daemon) start(cfg config.Config) (err error) {
	set, err := d.certs.Load(cfg.Listeners)
	if err != nil {
		return err
	}
	if d.lock, err = lockState(cfg.State); err != nil {
		return err
	}
	if err := d.startRooms(cfg); err != nil {
		return err
	}
	if d.doors, err = openDoors(cfg); err != nil {
		return err
	}
	d.serve()
	d.watch()
	if err := d.others.start(cfg); err != nil {
		return err
	}
	if err := d.links.Apply(cfg.Pools); err != nil {
		return err
	}
	_, err = d.setListeners(cfg.Listeners, set)
	return err
}

// watch begins to look after what changes by itself.
func (d *daemon) watch() {
	d.stopCerts = d.watchCerts()
	d.stopDescriptors = d.watchDescriptors()
}

// newInstance names this start of the daemon; stream ids begin with it.
func newInstance() string {
	b := make([]byte, 5)
	rand.Read(b)
	return "f" + hex.EncodeToString(b)
}

// Shutdown ends the daemon in order:
//
//  0. an upgrade under way is undone; if another process has taken over by then, it has the clients;
//  1. readyz says no, so that load balancers look elsewhere;
//  2. a running move is reverted while its sessions still live, parked users stay in their journal;
//  3. every client gets an ERROR line, and its ircd the end of its stream;
//  4. server links end, when the network has heard of these users' end;
//  5. the other proxies of the cluster hear that this one goes;
//  6. the operator's doors close, since until here somebody may watch;
//  7. the keeper is cleared, so that nothing outlives this process; loops, checks and the lock end.
func (d *daemon) Shutdown(ctx context.Context) error {
	if d.upgrades.stop() {
		d.depart()
		return nil
	}
	d.keeping.ending()
	d.stopping.Store(true)
	d.publish("stop", "")
	d.closings.end()
	err := d.moves.Close(ctx)
	err = errors.Join(err, d.proxy.CloseAll(ctx, "the proxy is shutting down, please reconnect"))
	err = errors.Join(err, d.links.Close(ctx), d.others.stop(ctx))
	if d.public != nil {
		err = errors.Join(err, d.public.Shutdown(ctx))
	}
	err = errors.Join(err, d.api.Shutdown(ctx))
	d.serving.Wait()
	d.keeping.clear()
	d.release()
	return err
}

// release gives back what was started, also half of it.
func (d *daemon) release() {
	d.others.stop(expired()) //nolint:errcheck // nobody waits for the others
	if d.api != nil {
		d.api.Shutdown(expired())
	}
	if d.public != nil {
		d.public.Close()
	}
	d.serving.Wait()
	for _, stop := range []func(){d.stopCerts, d.stopDescriptors} {
		if stop != nil {
			stop()
		}
	}
	d.closings.end()
	if d.links != nil {
		d.links.Close(expired())
	}
	d.keeping.leave() // before the loops: what is closed behind it is not told to the keeper, which has been cleared or holds it for another
	if d.proxy != nil {
		d.proxy.Close()
	}
	if d.backends != nil {
		d.backends.Close()
	}
	if d.lock != nil {
		d.lock.Close()
	}
}

// expired is a context that waits for nobody.
func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// summary is the STATUS= line of systemd.
func (d *daemon) summary() string {
	if d.stopping.Load() {
		return "stopping"
	}
	text := fmt.Sprintf("%d sessions", d.proxy.Counts().Sessions)
	for _, r := range d.moves.Moves() {
		if !r.State.Ended() {
			text += fmt.Sprintf(", %s %s/%s: %s", r.Kind, r.Pool, r.From, r.Step)
		}
	}
	return text
}
