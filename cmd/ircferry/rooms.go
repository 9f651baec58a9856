package main

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/handoff/native"
	"github.com/ircferry/ircferry/handoff/replay"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy"
	"github.com/ircferry/ircferry/proxy/link"
)

// How the daemon starts the rooms and ties them to each other.

func (d *daemon) startRooms(cfg config.Config) (err error) {
	loops := cfg.Loops
	if loops == 0 {
		loops = runtime.NumCPU()
	}
	tune(loops)
	if err := d.startBackends(cfg); err != nil {
		return err
	}
	d.backends.Subscribe(d.backendEvent)
	d.proxy, err = proxy.New(d.proxyOptions(loops))
	if err != nil {
		return err
	}
	if err := d.startMoves(cfg, nil, nil); err != nil {
		return err
	}
	d.lookBack()
	return nil
}

// lookBack sees to the moves of an earlier daemon that have no end.
func (d *daemon) lookBack() {
	for _, in := range d.interrupted {
		d.reopenTo(in)
		d.log.Error("a move of an earlier daemon has no end, and none of its sessions is held here; its journal is kept",
			"move", in.ID, "kind", string(in.Kind), "pool", in.Pool, "from", in.From, "to", in.To, "users", in.Users, "released", in.Released, "links", in.Links, "journal", in.Path)
	}
	d.moves.Forget(d.interrupted, forgetTime)
}

// tune sets the runtime up for so many event loops.
func tune(loops int) {
	// One thread more than loops: a loop in its wait must not make the scheduler hand its P around (each turn would pay for it).
	runtime.GOMAXPROCS(loops + 1)
	// The heap is small, because what a session needs lies in the arena, and most of what is on it is the garbage of handshakes. To collect at half
	// of the usual growth makes a handshake a twentieth dearer, and a thousand new clients leave a megabyte less.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// startBackends makes the backends and begins to check them.
func (d *daemon) startBackends(cfg config.Config) (err error) {
	d.backends, err = backend.NewSet(backend.Options{State: cfg.State, Log: d.log.With("component", "backend"), Instance: d.instance, Registerer: d.registry})
	if err != nil {
		return err
	}
	return d.backends.Apply(cfg.Pools)
}

func (d *daemon) proxyOptions(loops int) proxy.Options {
	o := proxy.Options{Instance: d.instance, Loops: loops, Backends: d.backends, Log: d.log.With("component", "proxy"), Registerer: d.registry}
	if d.keeping.wanted() {
		o.Keeper, o.Quarantine = d.keeping, filepath.Join(d.cfg.Load().State, "quarantine")
	}
	return o
}

// startMoves makes the coordinator and the server links, none yet. past is what the process before has left, nil if there is none; held are sessions of
// moves of one that was killed.
func (d *daemon) startMoves(cfg config.Config, past *handoff.Past, held []backend.Held) (err error) {
	d.links = link.NewSet(d.linkOptions())
	d.moves, d.interrupted, err = handoff.New(handoff.Options{Sessions: d.proxy, Links: serverLinks{d.links}, Backends: d.backends,
		Driver:   replay.New(native.Driver{Instance: d.instance}, d.proxy, d.log.With("component", "replay")),
		Journals: filepath.Join(cfg.State, "moves"), Limits: d.limits, Log: d.log.With("component", "handoff"),
		Paused: d.metrics.SessionPause, Hurry: new(collector).hurry, Past: past, Held: held})
	if err != nil {
		return err
	}
	d.proxy.SetMoving(d.moves.Moving)
	return nil
}

// forgetTime is how long a start waits at most for ircds to forget what an interrupted move had begun there, before it lets clients in.
const forgetTime = time.Second

// reopenTo undoes what an interrupted command had set. A drain had come too far for that once its users were to leave: their backend
// stays in drain, as was wanted of it.
func (d *daemon) reopenTo(in handoff.Interrupted) {
	b, ok := d.backends.Backend(in.Pool + "/" + in.From)
	if in.Released && in.Kind == handoff.KindDrain || in.Was == "" || !ok || b.Admin() == in.Was {
		return
	}
	if err := b.SetAdmin(in.Was); err != nil {
		d.log.Warn("admin state not set back", "backend", b.FullName(), "state", in.Was, "err", err)
	}
}

func (d *daemon) limits() handoff.Limits {
	m := d.cfg.Load().Moves
	return handoff.Limits{Deadline: m.Deadline.D(), MaxPause: m.MaxPause.D(), Park: m.Park.D(), Visible: m.Visible == config.VisibleAllow}
}

func (d *daemon) backendEvent(e backend.Event) {
	d.events.Publish(admin.Event{Time: e.Time, Kind: admin.EventBackend, Object: e.Backend, Word: e.Kind, Text: e.Text})
	if e.Kind == backend.EventAdmin || e.Kind == backend.EventServing {
		d.others.talkNow()
	}
}
