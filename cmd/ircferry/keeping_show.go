package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/admin"
)

// picture is the keeper for a status; nil: there is to be none.
func (k *keeping) picture() *admin.Keeper {
	if !k.wanted() {
		return nil
	}
	up := k.client.Load() != nil
	k.mu.Lock()
	defer k.mu.Unlock()
	p := &admin.Keeper{Socket: k.socket, Up: up, Since: k.since}
	if !up {
		p.Cause = k.why
		return p
	}
	p.Version, p.PID, p.Started, p.Grace = k.info.Version, k.info.PID, k.info.Started, k.info.Grace
	p.Descriptors, p.Limit, p.Memory = k.info.Descriptors, k.info.Limit, k.info.Memory
	return p
}

// warnings are sentences for a person.
func (k *keeping) warnings() (all []string) {
	p := k.picture()
	switch {
	case p == nil:
		return nil
	case !p.Up:
		return []string{"there is no keeper (" + p.Cause + "): all connections end with this daemon; systemctl start ircferry-keeper"}
	}
	if few := k.few(); few != "" {
		all = append(all, few)
	}
	if k.again.Load() {
		all = append(all, "the keeper does not hold everything: some connections would end with this daemon; the log says why")
	}
	return all
}

// measure registers what is known of the keeper as metrics, where there is to be one.
func (k *keeping) measure(reg prometheus.Registerer) {
	if !k.wanted() {
		return
	}
	gauge := func(name, help string, f func(*admin.Keeper) float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return f(k.picture()) }))
	}
	gauge("ircferry_keeper_up", "1 if there is a keeper: this daemon may be killed or restarted, and no client notices.", func(p *admin.Keeper) float64 {
		if p.Up {
			return 1
		}
		return 0
	})
	gauge("ircferry_keeper_descriptors", "Descriptors that the keeper holds.", func(p *admin.Keeper) float64 { return float64(p.Descriptors) })
	gauge("ircferry_keeper_descriptor_limit", "Descriptors that the keeper may hold.", func(p *admin.Keeper) float64 { return float64(p.Limit) })
	const help = "Troubles with the keeper: it was gone, a descriptor could not be given to it (failed), one that was given is not held (lost), it took nothing for a moment and new clients waited (busy)."
	for kind, f := range map[string]func() uint64{"gone": k.counts.gone.Load, "failed": k.counts.failed.Load, "lost": k.counts.lost.Load, "busy": k.counts.busy.Load} {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "ircferry_keeper_troubles_total", Help: help, ConstLabels: prometheus.Labels{"kind": kind}},
			func() float64 { return float64(f()) }))
	}
}
