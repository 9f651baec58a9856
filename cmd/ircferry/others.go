package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/cluster"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/handshake"
)

// others is the daemon as a member of a cluster; without one it knows nobody and does nothing.
type others struct {
	d *daemon

	changing sync.Mutex // one change of keys at a time

	mu     sync.Mutex
	member *cluster.Cluster // nil: alone
	conf   *config.Cluster  // of member
	talks  sync.WaitGroup   // of member
	hush   context.CancelFunc
	heard  map[string]news // of each other member, what it said last
	agreed map[string]bool // with whom all states are settled since he came
	seals  []string        // ids of the secrets of TLS tickets
	now    chan struct{}   // capacity 1: talk to all at once
}

func newOthers(d *daemon) *others {
	o := &others{d: d, heard: map[string]news{}, agreed: map[string]bool{}, now: make(chan struct{}, 1)}
	o.measure(d.registry)
	return o
}

// start joins the cluster of a configuration, if it has one.
func (o *others) start(cfg config.Config) error {
	if cfg.Cluster == nil {
		return nil
	}
	secrets, err := ticketSecrets(cfg.Cluster)
	if err != nil {
		return err
	}
	log := o.d.log.With("component", "cluster")
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pathTalk, o.answerTalk)
	mux.HandleFunc("POST "+pathKeys, o.answerKeys)
	mux.Handle("/v1/", o.d.api.Reading())
	m, err := cluster.Start(cluster.Options{Config: *cfg.Cluster, Said: o.d.said(cfg), Log: log, Tell: o.memberNotice, Handler: mux})
	if err != nil {
		return err
	}
	o.shareTickets(cfg.Cluster, secrets)
	o.d.backends.As(m.Name())
	ctx, cancel := context.WithCancel(context.Background())
	o.mu.Lock()
	defer o.mu.Unlock()
	o.member, o.conf, o.hush = m, cfg.Cluster, cancel
	o.talks.Go(func() { o.talk(ctx, m) })
	return nil
}

// stop leaves the cluster, and tells the others until ctx is over.
func (o *others) stop(ctx context.Context) error {
	o.mu.Lock()
	m, hush := o.member, o.hush
	o.member, o.conf, o.heard, o.agreed = nil, nil, map[string]news{}, map[string]bool{}
	o.mu.Unlock()
	if m == nil {
		return nil
	}
	hush()
	err := m.Close(ctx)
	o.talks.Wait()
	o.countElsewhere()
	return err
}

// current is nil: alone.
func (o *others) current() *cluster.Cluster {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.member
}

// change is a cluster that a reload is about to take. One of do and undo is called.
type change struct{ do, undo func() }

// prepare makes ready what a reload will change. What says who and where this member is needs another one, which must begin before
// it is known whether the rest of the reload can be; if it cannot begin, the one before is put back.
func (o *others) prepare(next config.Config) (change, error) {
	o.mu.Lock()
	m, was := o.member, o.conf
	o.mu.Unlock()
	before := *o.d.cfg.Load()
	if m == nil && next.Cluster == nil {
		return change{func() {}, func() {}}, nil
	}
	if m != nil && next.Cluster != nil && m.Renewable(*next.Cluster) {
		secrets, err := ticketSecrets(next.Cluster)
		if err != nil {
			return change{}, err
		}
		renew, err := m.Prepare(*next.Cluster)
		if err != nil {
			return change{}, err
		}
		return change{func() {
			renew()
			o.shareTickets(next.Cluster, secrets)
			o.took(next)
			m.Say(o.d.said(next))
			o.talkNow()
		}, func() {}}, nil
	}
	back := func() {
		if was == nil {
			return
		}
		cfg := before.Config
		cfg.Cluster = was
		if err := o.start(cfg); err != nil {
			o.d.log.Error("this proxy is not in its cluster any more; ferryctl reload tries again", "err", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), changeTime)
	defer cancel()
	if err := o.stop(ctx); err != nil {
		o.d.log.Warn("cluster not left in order", "err", err)
	}
	if next.Cluster == nil {
		o.shareTickets(nil, nil)
	}
	if err := o.start(next); err != nil {
		back()
		return change{}, err
	}
	return change{func() {}, func() { o.stop(ctx); back() }}, nil //nolint:errcheck // see above
}

// ticketSecrets reads those of a configuration; none: each proxy has its own keys.
func ticketSecrets(k *config.Cluster) ([][]byte, error) {
	if k == nil || k.TicketsFile == "" {
		return nil, nil
	}
	return cluster.ReadTickets(k.TicketsFile)
}

// shareTickets makes the keys of TLS tickets those of secrets, or our own.
func (o *others) shareTickets(k *config.Cluster, secrets [][]byte) {
	label := ""
	if k != nil {
		label = k.Label
	}
	o.d.tickets.Share(handshake.Shared{Label: label, Secrets: secrets})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seals = cluster.TicketIDs(secrets)
}

// changeTime bounds how long a cluster that is left is told so.
const changeTime = 2 * time.Second

func (o *others) took(next config.Config) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conf = next.Cluster
}

// said is what this proxy tells of itself.
func (d *daemon) said(cfg config.Config) cluster.Said {
	return cluster.Said{Instance: d.instance, Version: admin.BuildVersion().Version, Pools: sumOfPools(cfg.Pools)}
}

// sumOfPools is a checksum of what all proxies must have alike: which pools and backends there are, what they are and how they are chosen. Where they are reached
// may differ from host to host, and so may the paths of files.
func sumOfPools(pools map[string]config.Pool) string {
	type backend struct {
		Name   string
		Native bool
		Weight int
		Backup bool
	}
	type pool struct {
		Name, Topology, Balance string
		Backends                []backend
		Links                   []string
	}
	var all []pool
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		p := pool{Name: name, Topology: string(pools[name].Topology), Balance: string(pools[name].Balance)}
		for _, b := range pools[name].Backends {
			p.Backends = append(p.Backends, backend{b.Name, b.Native(), b.Weight, b.Backup})
		}
		all = append(all, p)
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// memberNotice tells those who follow the events of a member, and talks to it if it has come.
func (o *others) memberNotice(n cluster.Notice) {
	o.d.events.Publish(admin.Event{Time: time.Now(), Kind: admin.EventMember, Object: n.Member, Word: n.Word, Text: n.Text})
	if n.Word != "changed" {
		o.mu.Lock()
		delete(o.agreed, n.Member) // it was away, or will have been
		o.mu.Unlock()
	}
	o.talkNow()
}
