package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/lines"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// Options of a Proxy.
type Options struct {
	Instance    string // our instance id, the first part of each stream id: at most 18 of A-Z a-z 0-9 - _
	Loops       int    // event loops, 0: one per core
	MaxSessions int    // room in the wire arena, 0: as many as descriptors allow. Costs address space only
	MaxBytes    int64  // bound of the wire arena's memory, 0: wire.DefaultMaxBytes
	Backends    *backend.Set
	Keeper      Keeper                // nil: nobody goes on with our sessions if we crash
	Quarantine  string                // directory for bytes that have ended a process twice; "": they are not kept
	Log         *slog.Logger          // nil: discard
	Registerer  prometheus.Registerer // nil: no metrics
}

// Proxy holds the clients. All exported methods may be called from any goroutine.
type Proxy struct {
	instance string
	backends *backend.Set
	keeper   Keeper
	redoing  sync.Mutex // see session.redo
	jail     string     // Options.Quarantine
	log      *slog.Logger
	arena    *wire.Arena
	workers  []*worker
	ends     *endLog
	relief   *relief
	metrics  *metrics
	slots    *handshake.Slots
	ceiling  int                                       // descriptors from this number on are not for clients
	top      int                                       // and from this one on not for their streams
	moving   atomic.Pointer[func(backend string) bool] // see SetMoving
	unowned  atomic.Uint64                             // sessions that were found frozen without a move
	running  sync.WaitGroup                            // loops, the log's writer, the books, relief
	standing atomic.Bool                               // no loop turns: before start, and at an upgrade
	stop     chan struct{}

	listeners *admit.Set
	names     names

	mu     sync.Mutex
	tally  map[string]*tally // by the listener's name
	closed bool
}

// New makes the arena and starts the loops; SetListeners lets clients in.
func New(o Options) (*Proxy, error) {
	if err := checkInstance(o.Instance); err != nil {
		return nil, err
	}
	if o.Loops == 0 {
		o.Loops = runtime.NumCPU()
	}
	if o.MaxSessions == 0 {
		_, limit := descriptors()
		o.MaxSessions = min(max(limit/2, 1024), 1<<20)
	}
	arena, err := wire.New(wire.Options{Slots: o.MaxSessions, Shards: o.Loops, MaxBytes: o.MaxBytes, MaxQueue: maxQueue})
	if err != nil {
		return nil, err
	}
	p, err := newProxy(o, arena)
	if err != nil {
		return nil, errors.Join(err, arena.Close())
	}
	if p.keeper != nil {
		p.protect()
	}
	p.start()
	return p, nil
}

// newProxy makes a Proxy with a loop for each shard of the arena, which is its own if there is no error. No loop runs yet.
func newProxy(o Options, arena *wire.Arena) (_ *Proxy, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	_, limit := descriptors()
	reserve := config.ReservedDescriptors(limit)
	p := &Proxy{ceiling: limit - reserve, top: limit - reserve/2, instance: o.Instance, backends: o.Backends, keeper: o.Keeper, jail: o.Quarantine, log: o.Log, arena: arena, tally: map[string]*tally{},
		slots: handshake.NewSlots(handshakesPerCore * runtime.NumCPU())}
	defer func() {
		if err != nil {
			p.giveUp()
		}
	}()
	for i := range arena.Shards() {
		w, err := newWorker(p, i)
		if err != nil {
			return nil, err
		}
		p.workers = append(p.workers, w)
	}
	p.ends, p.relief = newEndLog(o.Log), newRelief(p)
	p.listeners = admit.NewSet(p.sockets(), func(name string) any { return p.tallyOf(name) })
	p.stop = make(chan struct{})
	p.standing.Store(true)
	if p.metrics, err = newMetrics(p, o.Registerer); err != nil {
		return nil, err
	}
	return p, nil
}

// start lets the loops turn.
func (p *Proxy) start() {
	p.standing.Store(false)
	p.running.Go(p.ends.write)
	p.running.Go(func() { p.keepBooks(p.stop) })
	p.running.Go(func() { p.relief.run(p.stop) })
	for _, w := range p.workers {
		p.running.Go(w.run)
	}
}

// giveUp gives back the loops of a Proxy that never ran.
func (p *Proxy) giveUp() {
	for _, w := range p.workers {
		w.loop.Close()
	}
}

func checkInstance(id string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if id == "" || len(id) > maxInstance || strings.Trim(id, letters) != "" {
		return fmt.Errorf("instance id %q: 1 to %d letters, digits, - and _", id, maxInstance)
	}
	return nil
}

func newWorker(p *Proxy, i int) (*worker, error) {
	w := &worker{p: p, index: i, shard: p.arena.Shard(i), peers: map[*backend.Backend]*peer{},
		gated: map[string]bool{}}
	l, err := loop.New(w)
	if err != nil {
		return nil, fmt.Errorf("event loop %d: %w", i, err)
	}
	w.loop, w.legs, w.framer = l, &leg.Loop{Loop: l, Shard: w.shard}, lines.NewFramer(w.shard)
	w.shard.OnFull(w.makeRoom)
	if p.keeper != nil {
		w.journal(p.keeper)
	}
	w.sockets = admit.NewSockets(l, portListener, w.arrived)
	w.sockets.Ceiling = p.ceiling
	return w, nil
}

func (w *worker) run() {
	w.shard.Bind()
	if w.shard.Journals() {
		w.shard.Stamp(w.loop.Now())
	}
	w.loop.Run()
}

// onAll runs f on every loop, in parallel, and waits for all or for ctx; the error is ctx's or ErrClosed.
func (p *Proxy) onAll(ctx context.Context, f func(*worker)) error {
	done := make(chan struct{}, len(p.workers))
	for _, w := range p.workers {
		if !w.loop.Post(func() {
			defer func() { done <- struct{}{} }()
			f(w)
		}) {
			return ErrClosed
		}
	}
	for range p.workers {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ErrClosed is the answer of a Proxy that was closed.
var ErrClosed = errors.New("proxy is closed")

// watchdogBound is how long a loop may take for a turn before it counts as stuck. A turn is some milliseconds at most.
const watchdogBound = 5 * time.Second

// Watchdog answers nil if every loop has done posted work within 5 s: the way that all else goes, too.
func (p *Proxy) Watchdog() error {
	ctx, cancel := context.WithTimeout(context.Background(), watchdogBound)
	defer cancel()
	if err := p.onAll(ctx, func(*worker) {}); err != nil {
		return fmt.Errorf("event loops: %w", err)
	}
	return nil
}

// CloseAll lets nobody in any more, for good, ends every session with an ERROR line that has text in it, and returns when all are gone or ctx
// is over. Then call Close.
func (p *Proxy) CloseAll(ctx context.Context, text string) error {
	p.listeners.Close()
	var gone []chan struct{}
	var mu sync.Mutex
	err := p.onAll(ctx, func(w *worker) {
		w.each(func(s *session) { s.end(ReasonShutdown, text) })
		c := make(chan struct{})
		if w.sessions == 0 {
			close(c)
		} else {
			w.empty = append(w.empty, c)
		}
		mu.Lock()
		gone = append(gone, c)
		mu.Unlock()
	})
	if err != nil {
		return fmt.Errorf("close sessions: %w", err)
	}
	for _, c := range gone {
		select {
		case <-c:
		case <-ctx.Done():
			return fmt.Errorf("close sessions: %w", ctx.Err())
		}
	}
	return nil
}

// Close ends what is left at once: listeners, sessions, loops, arena. The order: nobody comes in, sessions end on their loops, the
// loops end, then what they used.
func (p *Proxy) Close() error {
	p.listeners.Close()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	for _, w := range p.workers {
		w.loop.Post(func() {
			w.each(func(s *session) {
				s.noteEnd(ReasonShutdown)
				s.finish()
			})
			for len(w.old) > 0 {
				w.closeOld()
			}
		})
		w.loop.Stop()
	}
	for _, w := range p.workers {
		<-w.loop.Done()
	}
	close(p.stop)
	p.metrics.unregister()
	p.ends.stop()
	p.running.Wait()
	return p.arena.Close()
}
