package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/config"
)

// read loads and verifies the configuration: the same for a start, a reload and `ircferry check`.
func (o daemonOptions) read() (cfg config.Config, sum string, err error) {
	if o.path == "" {
		return *o.config, "", nil
	}
	data, err := os.ReadFile(o.path)
	if err != nil {
		return cfg, "", fmt.Errorf("read configuration: %w", err)
	}
	if cfg, err = config.Parse(o.path, data); err != nil {
		return cfg, "", err
	}
	var wrong []error
	for _, f := range config.Verify(cfg) {
		switch {
		case f.Severity == config.SeverityError:
			wrong = append(wrong, fmt.Errorf("%s: %s: %s", o.path, f.Key, f.Text))
		case o.log != nil:
			o.log.Warn("configuration", "key", f.Key, "warning", f.Text)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return cfg, "", err
	}
	if o.setLog != nil {
		if err := o.setLog(cfg.Log); err != nil {
			return cfg, "", err
		}
	}
	digest := sha256.Sum256(data)
	return cfg, hex.EncodeToString(digest[:]), nil
}

// Reload reads the file again and swaps the whole configuration in, or changes nothing and says why. Sessions survive it. What
// only a restart can change stays as it was and is named.
func (d *daemon) Reload(ctx context.Context) (admin.Reloaded, error) {
	d.reload.Lock()
	defer d.reload.Unlock()
	reloaded, err := d.reloadLocked()
	d.metrics.Loaded(err == nil, reloaded.SHA256)
	if err != nil {
		old := *d.cfg.Load()
		old.lastError = err.Error()
		d.cfg.Store(&old)
		d.publish("reload", "nothing changed: "+err.Error())
		return reloaded, err
	}
	d.publish("reload", "done")
	d.log.Info("configuration reloaded", "changed", reloaded.Changed, "needs_restart", reloaded.NeedsRestart)
	return reloaded, nil
}

func (d *daemon) reloadLocked() (admin.Reloaded, error) {
	if d.opt.path == "" {
		return admin.Reloaded{}, errors.New("there is no configuration file to reload")
	}
	old := d.cfg.Load()
	cfg, sum, err := d.opt.read()
	if err != nil {
		return admin.Reloaded{}, err
	}
	if err := d.backends.Apply(cfg.Pools); err != nil {
		return admin.Reloaded{}, fmt.Errorf("reload pools: %w", err)
	}
	if err := d.proxy.SetListeners(cfg.Listeners); err != nil {
		back := d.backends.Apply(old.Pools)
		return admin.Reloaded{}, errors.Join(fmt.Errorf("reload listeners: %w", err), back)
	}
	r := admin.Reloaded{SHA256: sum, Changed: []string{}}
	r.Changed, r.NeedsRestart = differences(old.Config, cfg)
	d.cfg.Store(&loaded{Config: cfg, sha256: sum, at: time.Now()})
	return r, nil
}

// differences names the keys that changed, apart by what they need.
func differences(old, now config.Config) (changed, restart []string) {
	changed = []string{}
	for _, k := range []struct {
		name     string
		old, now any
		restart  bool
	}{
		{"listeners", old.Listeners, now.Listeners, false},
		{"pools", old.Pools, now.Pools, false},
		{"moves", old.Moves, now.Moves, false},
		{"log", old.Log, now.Log, false},
		{"loops", old.Loops, now.Loops, true},
		{"state", old.State, now.State, true},
		{"admin", old.Admin, now.Admin, true},
		{"http", old.HTTP, now.HTTP, true},
	} {
		switch {
		case reflect.DeepEqual(k.old, k.now):
		case k.restart:
			restart = append(restart, k.name)
		default:
			changed = append(changed, k.name)
		}
	}
	return changed, restart
}
