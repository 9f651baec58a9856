package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/certs"
	"github.com/ircferry/ircferry/internal/cluster"
	"github.com/ircferry/ircferry/internal/config"
)

// reading is a configuration file that was read.
type reading struct {
	cfg      config.Config
	text     []byte
	sum      string           // of text
	warnings []config.Finding // what should not be and can be
}

// read loads and verifies the configuration, the same for a start, a reload and an upgrade, and changes nothing.
func (o daemonOptions) read() (r reading, err error) {
	if o.path == "" {
		return reading{cfg: *o.config}, nil
	}
	if r.text, err = os.ReadFile(o.path); err != nil {
		return r, fmt.Errorf("read configuration: %w", err)
	}
	if r.cfg, err = config.Parse(o.path, r.text); err != nil {
		return r, err
	}
	var wrong []error
	// What cannot be of the certificates is told by who loads them.
	notes := slices.DeleteFunc(certs.Check(r.cfg), func(f config.Finding) bool { return f.Severity == config.SeverityError })
	notes = append(notes, cluster.Check(r.cfg)...)
	for _, f := range append(config.Verify(r.cfg), notes...) {
		if f.Stops() {
			wrong = append(wrong, fmt.Errorf("%s: %s: %s", o.path, f.Key, f.Text))
		} else {
			r.warnings = append(r.warnings, f)
		}
	}
	r.sum = sumOf(r.text)
	return r, errors.Join(wrong...)
}

func sumOf(text []byte) string {
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:])
}

// setLogging makes the log what the configuration says, and then tells the warnings.
func (o daemonOptions) setLogging(cfg config.Config, warnings []config.Finding) error {
	if o.setLog != nil {
		if err := o.setLog(cfg.Log); err != nil {
			return err
		}
	}
	for _, f := range warnings {
		o.log.Warn("configuration", "key", f.Key, "warning", f.Text)
	}
	return nil
}

// Reload reads the file again and swaps the whole configuration in, or changes nothing and says why. Sessions survive it. What
// only a restart can change stays as it was and is named.
func (d *daemon) Reload(ctx context.Context) (admin.Reloaded, error) {
	d.reload.Lock()
	defer d.reload.Unlock()
	if d.upgrades.running() {
		return admin.Reloaded{}, errUpgrading
	}
	reloaded, err := d.reloadLocked()
	d.metrics.Loaded(err == nil, reloaded.SHA256)
	if err != nil {
		old := *d.cfg.Load()
		old.lastError = err.Error()
		d.cfg.Store(&old)
		d.publish("reload", "nothing changed: "+err.Error())
		return reloaded, err
	}
	if err := d.remember(); err != nil {
		d.log.Error("the keeper does not know of the new configuration", "err", err)
	}
	d.publish("reload", "done")
	d.log.Info("configuration reloaded", "changed", strings.Join(reloaded.Changed, " "), "needs_restart", strings.Join(reloaded.NeedsRestart, " "))
	return reloaded, nil
}

func (d *daemon) reloadLocked() (admin.Reloaded, error) {
	if d.opt.path == "" {
		return admin.Reloaded{}, errors.New("there is no configuration file to reload")
	}
	old := d.cfg.Load()
	read, err := d.opt.read()
	if err != nil {
		return admin.Reloaded{}, err
	}
	cfg := read.cfg
	set, err := d.certs.Load(cfg.Listeners)
	if err != nil {
		return admin.Reloaded{}, err
	}
	together, err := d.others.prepare(cfg)
	if err != nil {
		return admin.Reloaded{}, err
	}
	renewed := false
	if err := d.moves.Reconfigure(cfg.Pools, func() (err error) {
		renewed, err = d.swap(cfg, set)
		return err
	}); err != nil {
		together.undo()
		return admin.Reloaded{}, err
	}
	together.do()
	if err := d.opt.setLogging(cfg, read.warnings); err != nil { // the words were verified, so it cannot be
		d.log.Error("log stays as it was", "err", err)
	}
	r := admin.Reloaded{SHA256: read.sum, Changed: changed(old.Config, cfg), NeedsRestart: config.NeedsRestart(old.Config, cfg),
		Warnings: d.leftBehind(old.Pools, cfg.Pools)}
	for _, w := range r.Warnings {
		d.log.Warn("configuration reloaded", "warning", w)
	}
	for _, f := range read.warnings {
		r.Warnings = append(r.Warnings, f.Key+": "+f.Text)
	}
	if renewed {
		r.Changed = append(r.Changed, "certificates")
	}
	// What needs a restart goes on as it runs, so that the next reload names it again, or not if it was taken back.
	cfg.Loops, cfg.State, cfg.Admin, cfg.HTTP = old.Loops, old.State, old.Admin, old.HTTP
	d.cfg.Store(&loaded{Config: cfg, text: read.text, sha256: read.sum, at: time.Now(), needs: r.NeedsRestart})
	return r, nil
}

// swap puts the pools and listeners of next in the place of the old ones, or changes nothing. There is no way back that could fail: pools are
// only made ready before the listeners are set, which are set all or none. A client of a new listener may come a moment before its pool is
// there; it waits, as for a backend.
func (d *daemon) swap(next config.Config, set *certs.Set) (renewed bool, err error) {
	pools, err := d.backends.Prepare(next.Pools)
	if err != nil {
		return false, fmt.Errorf("reload pools: %w", err)
	}
	links, err := d.links.Prepare(next.Pools)
	if err != nil {
		return false, fmt.Errorf("reload links: %w", err)
	}
	if renewed, err = d.setListeners(next.Listeners, set); err != nil {
		links.Undo()
		return false, fmt.Errorf("reload listeners: %w", err)
	}
	links.Do()
	return renewed, pools()
}

// leftBehind is a sentence for each backend that a reload has cut off from its sessions: it is gone, or leads to another ircd.
func (d *daemon) leftBehind(old, now map[string]config.Pool) (warnings []string) {
	for pool, p := range now {
		for _, c := range p.Backends {
			i := slices.IndexFunc(old[pool].Backends, func(was config.Backend) bool { return was.Name == c.Name })
			if i < 0 {
				continue
			}
			was := old[pool].Backends[i]
			b, ok := d.backends.Backend(pool + "/" + c.Name)
			if ok && (was.Handoff != c.Handoff || was.Address != c.Address) && b.Sessions() > 0 {
				warnings = append(warnings, fmt.Sprintf("backend %s leads to %s now, and to %s before; its %d sessions stay at the ircd where they are, "+
					"and a move takes only those at the new address", b.FullName(), c.Handoff+c.Address, was.Handoff+was.Address, b.Sessions()))
			}
		}
	}
	slices.Sort(warnings)
	return append(warnings, d.removedBackends()...)
}

// removedBackends is a sentence for each backend that a reload took away and that has sessions still.
func (d *daemon) removedBackends() (warnings []string) {
	for _, b := range d.backends.Backends() {
		if s := b.Status(); s.Removed && s.Sessions > 0 {
			warnings = append(warnings, fmt.Sprintf("backend %s/%s is not in the configuration any more and has %d sessions: "+
				"they stay there until they leave; to move them, put it back, reload and drain it", s.Pool, s.Name, s.Sessions))
		}
	}
	return warnings
}

// changed names the keys that a reload changed.
func changed(old, now config.Config) []string {
	names := []string{}
	for _, k := range []struct {
		name     string
		old, now any
	}{
		{"listeners", old.Listeners, now.Listeners},
		{"pools", old.Pools, now.Pools},
		{"moves", old.Moves, now.Moves},
		{"log", old.Log, now.Log},
		{"cluster", old.Cluster, now.Cluster},
	} {
		if !reflect.DeepEqual(k.old, k.now) {
			names = append(names, k.name)
		}
	}
	return names
}
