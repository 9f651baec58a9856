package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/admin"
)

// upgrades carries them out, one at a time.
type upgrades struct {
	d      *daemon
	binary executable
	gone   chan struct{} // closed when another process has taken over

	ctx    context.Context // over when the daemon is to stop: an upgrade under way is undone
	cancel context.CancelFunc
	idle   sync.WaitGroup // of upgrades under way

	mu       sync.Mutex
	active   bool
	commands int           // under way
	quiet    chan struct{} // closed when there are none any more; nil: no upgrade waits for that
	history  admin.Upgrades
	pid      int          // of who has taken over
	exited   <-chan error // and its end
}

func newUpgrades(d *daemon) *upgrades {
	u := &upgrades{d: d, binary: thisProgram(), gone: make(chan struct{})}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	return u
}

// stop undoes an upgrade that is under way and lets none begin. It answers whether it was too late for that: another process has taken over.
func (u *upgrades) stop() (left bool) {
	u.cancel()
	u.idle.Wait()
	return u.left()
}

// successor is the process that has taken over; 0: none has.
func (u *upgrades) successor() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.pid
}

// left reports whether another process has taken over.
func (u *upgrades) left() bool {
	select {
	case <-u.gone:
		return true
	default:
		return false
	}
}

// running reports whether one is under way.
func (u *upgrades) running() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.active
}

// enter lets a command begin, unless an upgrade is under way, which in turn waits for its end.
func (u *upgrades) enter(verb string) (leave func(), err error) {
	if verb == "upgrade" {
		return func() {}, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.active {
		return nil, errUpgrading
	}
	u.commands++
	return u.leave, nil
}

func (u *upgrades) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.commands--; u.commands == 0 && u.quiet != nil {
		close(u.quiet)
		u.quiet = nil
	}
}

// known is the history for a status.
func (u *upgrades) known() admin.Upgrades {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.history
}

// Upgrade implements admin.Upgrader.
func (u *upgrades) Upgrade(ctx context.Context, r admin.UpgradeRequest, actor string) (admin.Upgrade, error) {
	if err := u.begin(); err != nil {
		return admin.Upgrade{}, err
	}
	defer u.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	up := &upgrade{d: u.d, binary: r.Binary, dry: r.DryRun, splits: r.AllowVisible || u.d.limits().Visible,
		result: admin.Upgrade{Time: time.Now(), From: admin.BuildVersion().Version, Actor: actor, Left: map[string]int{}}}
	if up.binary == "" {
		up.binary = u.binary.path
	}
	up.result.Binary = up.binary
	err := up.carryOut(ctx)
	if r.DryRun {
		return up.result, err
	}
	u.note(up, err)
	return up.result, err
}

// begin keeps commands and other upgrades out.
func (u *upgrades) begin() error {
	u.mu.Lock()
	if u.active {
		u.mu.Unlock()
		return errUpgrading
	}
	if u.ctx.Err() != nil {
		u.mu.Unlock()
		return refused("the daemon ends", "start the new one")
	}
	u.idle.Add(1)
	quiet := u.shut()
	u.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-time.After(enterTime):
	case <-u.ctx.Done():
	}
	u.mu.Lock()
	u.quiet = nil
	u.mu.Unlock()
	u.end()
	return refused("a command is under way", "wait for its end and upgrade again")
}

// shut keeps them out from here on; quiet is closed when those commands have ended that are under way. u.mu is held.
func (u *upgrades) shut() (quiet chan struct{}) {
	u.active = true
	quiet = make(chan struct{})
	if u.commands > 0 {
		u.quiet = quiet
	} else {
		close(quiet)
	}
	return quiet
}

// end lets them in again, unless this process is about to go.
func (u *upgrades) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.idle.Done()
	if !u.left() {
		u.active = false
	}
}

// note tells the log, those who follow the events and the status of an upgrade that was not dry.
func (u *upgrades) note(up *upgrade, err error) {
	r := up.result
	var no *admin.Error
	if errors.As(err, &no) && no.Code == admin.CodeRefused {
		return // nothing was begun
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		u.history.Failed++
		u.history.LastError, u.history.FailedAt = err.Error(), time.Now()
		u.d.log.Error("upgrade failed, this process goes on", "binary", r.Binary, "err", err)
		u.d.publish("upgrade", "failed: "+err.Error())
		return
	}
	u.d.log.Info("upgraded, another process goes on", "binary", r.Binary, "pid", r.PID, "from", r.From, "to", r.To, "sessions", r.Sessions, "left", r.Left,
		"pause", time.Duration(r.Pause*float64(time.Millisecond)))
	u.pid, u.exited = r.PID, up.exited
	close(u.gone)
}

func refused(reason, hint string) error {
	return &admin.Error{Code: admin.CodeRefused, Message: reason, Hint: hint}
}

// measure registers what is known of upgrades as metrics.
func (u *upgrades) measure(reg prometheus.Registerer) {
	last := func(f func(*admin.Upgrade) float64) func() float64 {
		return func() float64 {
			if up := u.known().Last; up != nil {
				return f(up)
			}
			return 0
		}
	}
	counter := func(name, help, result string, f func() float64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{"result": result}}, f))
	}
	gauge := func(name, help string, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	const help = "Upgrades of the daemon, by result. It counts over upgrades, as all counters do."
	counter("ircferry_upgrades_total", help, "done", func() float64 { return float64(u.known().Done) })
	counter("ircferry_upgrades_total", help, "failed", func() float64 { return float64(u.known().Failed) })
	gauge("ircferry_upgrade_last_timestamp_seconds", "When the last upgrade was done; 0: there was none.", last(func(up *admin.Upgrade) float64 { return float64(up.Time.Unix()) }))
	gauge("ircferry_upgrade_last_sessions", "Sessions that came along in the last upgrade.", last(func(up *admin.Upgrade) float64 { return float64(up.Sessions) }))
	gauge("ircferry_upgrade_last_links", "Server links that came along in the last upgrade.", last(func(up *admin.Upgrade) float64 { return float64(up.Links) }))
	gauge("ircferry_upgrade_last_pause_seconds", "How long nothing was relayed in the last upgrade.", last(func(up *admin.Upgrade) float64 { return up.Pause / 1000 }))
	gauge("ircferry_binary_timestamp_seconds", "When the file of the running program was last modified.", func() float64 { return float64(u.binary.modified.Unix()) })
	gauge("ircferry_binary_outdated", "1 if another file lies where the running program was started from.", func() float64 {
		if u.binary.other() {
			return 1
		}
		return 0
	})
}

// executable is the file of the running program.
type executable struct {
	path     string // where it was started from
	info     os.FileInfo
	modified time.Time
}

func thisProgram() (p executable) {
	var err error
	if p.path, err = os.Executable(); err != nil {
		return executable{}
	}
	if p.info, err = os.Stat("/proc/self/exe"); err == nil {
		p.modified = p.info.ModTime()
	}
	return p
}

// other reports whether another file lies at the path now.
func (p executable) other() bool {
	now, err := os.Stat(p.path)
	return err == nil && p.info != nil && (!os.SameFile(now, p.info) || !now.ModTime().Equal(p.modified))
}
