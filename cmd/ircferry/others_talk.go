package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/cluster"
)

// What proxies tell each other, each all of it: it is little, and who was away has it all at once.

// pathTalk is where it is told; the answer is the other's.
const pathTalk = "/cluster/v1/talk"

// talkEvery is how often, beside at once when something has changed.
const talkEvery = 5 * time.Second

// news is what one proxy tells another. Keys that are not known are for newer versions.
type news struct {
	Sessions int      `json:"sessions"`
	Keys     []string `json:"keys"`    // ids
	Tickets  []string `json:"tickets"` // ids

	Backends map[string]int `json:"backends"` // sessions at each, by "pool/name"

	Acts backend.Acts `json:"acts"` // of operators, upon backends

	Heavy map[string]map[netip.Addr]int `json:"heavy,omitempty"` // connections of addresses that have many, by listener

	heard time.Time // when it was
}

// news is what this proxy tells.
func (o *others) news(m *cluster.Cluster) news {
	o.mu.Lock()
	seals := o.seals
	o.mu.Unlock()
	at := map[string]int{}
	for _, b := range o.d.backends.Backends() {
		if n := b.Sessions(); n > 0 {
			at[b.FullName()] = n
		}
	}
	return news{Backends: at, Sessions: o.d.proxy.Counts().Sessions, Keys: m.KeyIDs(), Tickets: orNone(seals), Acts: o.d.backends.Acts(o.moving), Heavy: o.d.proxy.Heavy()}
}

// talk tells all others the news, now and then, until ctx is over.
func (o *others) talk(ctx context.Context, m *cluster.Cluster) {
	tick := time.NewTicker(talkEvery)
	defer tick.Stop()
	for {
		o.tellAll(ctx, m)
		o.countElsewhere()
		select {
		case <-tick.C:
		case <-o.now:
		case <-ctx.Done():
			return
		}
	}
}

// talkNow has the others told at once.
func (o *others) talkNow() {
	select {
	case o.now <- struct{}{}:
	default:
	}
}

// tellAll tells all others the news and takes theirs. It answers who was not told, with why.
func (o *others) tellAll(ctx context.Context, m *cluster.Cluster) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, cluster.AskTime)
	defer cancel()
	return m.Each(m.Others(), func(name string) error {
		var answer news
		err := m.Ask(ctx, name, pathTalk, o.news(m), &answer)
		if err == nil {
			o.hear(name, answer)
		}
		return err
	})
}

// answerTalk takes another's news and answers ours.
func (o *others) answerTalk(w http.ResponseWriter, r *http.Request) {
	m := o.current()
	if m == nil {
		http.Error(w, "this proxy leaves the cluster", http.StatusServiceUnavailable)
		return
	}
	var told news
	if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
		http.Error(w, "the news cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	o.hear(cluster.Asker(r.Context()), told)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(o.news(m)) //nolint:errcheck // the other one may be gone
}

// moving reports whether a move is under way in a pool, or clients wait there: what it does to its backends is told when it has ended, since others
// would send their clients elsewhere for good because of a state that lasts for a moment; and nobody else changes them meanwhile.
func (o *others) moving(pool string) bool {
	p, ok := o.d.backends.Pool(pool)
	return !ok || o.d.moving(p)
}

// heavyTime is how long what a member has said of addresses counts: one that is cut off is not asked for them for ever.
const heavyTime = 30 * time.Second

// countElsewhere has the listeners count what the others have of each address.
func (o *others) countElsewhere() {
	sum := map[string]map[netip.Addr]int{}
	o.mu.Lock()
	for _, told := range o.heard {
		if time.Since(told.heard) > heavyTime {
			continue
		}
		for listener, counts := range told.Heavy {
			if sum[listener] == nil {
				sum[listener] = map[netip.Addr]int{}
			}
			for addr, n := range counts {
				sum[listener][addr] += max(n, 0)
			}
		}
	}
	o.mu.Unlock()
	o.d.proxy.Elsewhere(sum)
}

// hear takes what a member has told. With one that was away it takes several talks until all is settled.
func (o *others) hear(name string, told news) {
	o.mu.Lock()
	agreed := o.agreed[name]
	told.heard = time.Now()
	o.heard[name] = told
	o.mu.Unlock()
	o.countElsewhere()
	if o.d.backends.Merge(name, told.Acts, !agreed, o.moving) && !agreed {
		o.mu.Lock()
		o.agreed[name] = true
		o.mu.Unlock()
	}
}

// Tell implements admin.Others: what an operator has set is told at once, so that his command can say who has not heard.
func (o *others) Tell(ctx context.Context) (untold []string) {
	m := o.current()
	if m == nil {
		return nil
	}
	for name := range o.tellAll(ctx, m) {
		untold = append(untold, name)
	}
	slices.Sort(untold)
	return untold
}
