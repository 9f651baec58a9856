package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/cluster"
)

// Cluster implements admin.Others, as does Get.
func (o *others) Cluster() *admin.Cluster {
	m := o.current()
	if m == nil {
		return nil
	}
	wanted := m.Wanted()
	c := &admin.Cluster{Name: m.Name(), Label: m.Label(), Members: []admin.Member{}, Wanted: len(wanted.Addresses) + 1, Missing: wanted.Missing, Refused: map[string]uint64{}}
	if c.Missing == nil {
		c.Missing = []string{}
	}
	for why, n := range m.Refused() {
		c.Refused[string(why)] = n
	}
	own := o.news(m)
	version := admin.BuildVersion().Version
	pools := sumOfPools(o.d.cfg.Load().Pools)
	for _, x := range m.Members() {
		told, known := own, true
		if !x.Self {
			told, known = o.told(x.Name)
		}
		p := admin.Member{Name: x.Name, Self: x.Self, State: string(x.State), Since: x.Since, Seen: x.Seen, Gossip: x.Gossip.String(), RPC: x.RPC, Instance: x.Instance,
			Version: x.Version, Pools: x.Pools, Sessions: told.Sessions, Backends: told.Backends, Keys: orNone(told.Keys), Tickets: orNone(told.Tickets), Differs: []string{}, Twice: x.Twice, Error: x.Error}
		if !x.Self {
			p.Differs = differs(p, own, pools, version, known)
			p.Serves = servesElsewhere(told, own)
		}
		c.Members = append(c.Members, p)
	}
	return c
}

// told is what a member has said last.
func (o *others) told(name string) (told news, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	told, ok = o.heard[name]
	return told, ok
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// differs names what a member has otherwise than this one; heard: it has told its keys.
func differs(m admin.Member, own news, pools, version string, heard bool) []string {
	all := []string{}
	for _, x := range []struct {
		what string
		same bool
	}{
		{"pools", m.Pools == pools},
		{"keys", !heard || slices.Equal(m.Keys, orNone(own.Keys))},
		{"tickets", !heard || slices.Equal(m.Tickets, orNone(own.Tickets))},
		{"version", m.Version == version},
	} {
		if !x.same {
			all = append(all, x.what)
		}
	}
	return all
}

// servesElsewhere is a sentence for each standalone pool that a member serves from another backend than we do.
func servesElsewhere(told, own news) (all []string) {
	for _, pool := range slices.Sorted(maps.Keys(told.Acts.Now)) {
		if theirs, ours := told.Acts.Now[pool], own.Acts.Now[pool]; ours != "" && theirs != ours {
			all = append(all, fmt.Sprintf("pool %s from %s, this one from %s", pool, theirs, ours))
		}
	}
	return all
}

// Get asks a member for a document of the admin API.
func (o *others) Get(ctx context.Context, member, path string) (io.ReadCloser, error) {
	m := o.current()
	if m == nil {
		return nil, errors.New("this proxy is in no cluster")
	}
	body, err := m.Do(ctx, member, http.MethodGet, path, nil)
	var said *cluster.Answer
	if errors.As(err, &said) {
		var e admin.Error
		if json.Unmarshal(said.Document, &e) == nil && e.Message != "" {
			return nil, &e
		}
	}
	return body, err
}
