package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/admin"
)

// clusterMetrics shows the cluster as it is at the scrape; without one there is no series.
type clusterMetrics struct {
	o *others

	members, wanted, missing      *prometheus.Desc
	up, seen, differs, unanswered *prometheus.Desc
	sessions, refused             *prometheus.Desc
}

// measure registers what is known of the cluster.
func (o *others) measure(reg prometheus.Registerer) {
	member := []string{"member"}
	reg.MustRegister(clusterMetrics{o: o,
		members:    prometheus.NewDesc("ircferry_cluster_members", "Proxies of the cluster that are there, this one among them.", nil, nil),
		wanted:     prometheus.NewDesc("ircferry_cluster_wanted", "Proxies that should be there as far as join of the configuration leads to addresses, this one among them.", nil, nil),
		missing:    prometheus.NewDesc("ircferry_cluster_missing", "Peers of join at which nobody is, or that lead nowhere.", nil, nil),
		up:         prometheus.NewDesc("ircferry_cluster_member_up", "1 if another proxy is there, by gossip or because it answers; one that has said that it goes has no series.", member, nil),
		seen:       prometheus.NewDesc("ircferry_cluster_member_seen_seconds", "When the last sign of life of another proxy was seen, in seconds since 1970.", member, nil),
		differs:    prometheus.NewDesc("ircferry_cluster_differs", "1 if another proxy that is there has something otherwise than this one: pools, keys, tickets, version.", []string{"member", "what"}, nil),
		unanswered: prometheus.NewDesc("ircferry_cluster_member_silent", "1 if another proxy did not answer when it was asked last.", member, nil),
		sessions:   prometheus.NewDesc("ircferry_cluster_member_sessions", "Sessions of another proxy when it was asked last.", member, nil),
		refused:    prometheus.NewDesc("ircferry_cluster_refused_total", "Who was not let into the cluster: packets, connections and questions, by reason.", []string{"reason"}, nil),
	})
}

// Describe implements prometheus.Collector, as does Collect.
func (m clusterMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.members, m.wanted, m.missing, m.up, m.seen, m.differs, m.unanswered, m.sessions, m.refused} {
		ch <- d
	}
}

func (m clusterMetrics) Collect(ch chan<- prometheus.Metric) {
	c := m.o.Cluster()
	if c == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	there := 0
	for _, x := range c.Members {
		if x.There() {
			there++
		}
		if x.Self || x.State == "left" {
			continue
		}
		gauge(m.up, truth(x.There()), x.Name)
		gauge(m.seen, float64(x.Seen.Unix()), x.Name)
		gauge(m.unanswered, truth(x.Error != ""), x.Name)
		gauge(m.sessions, float64(x.Sessions), x.Name)
		m.differences(x, gauge)
	}
	gauge(m.members, float64(there))
	gauge(m.wanted, float64(c.Wanted))
	gauge(m.missing, float64(len(c.Missing)))
	for why, n := range c.Refused {
		ch <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(n), why)
	}
}

func (m clusterMetrics) differences(x admin.Member, gauge func(*prometheus.Desc, float64, ...string)) {
	if !x.There() {
		return
	}
	for _, what := range admin.Differences {
		differs := false
		for _, d := range x.Differs {
			differs = differs || d == what
		}
		gauge(m.differs, truth(differs), x.Name, what)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
