package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// writeCluster lists the proxies of a cluster, if there is one.
func (c *ctl) writeCluster(w io.Writer, k *admin.Cluster) {
	if k == nil {
		return
	}
	fmt.Fprintln(w)
	var g grid
	g.add("PROXY", "STATE", "SEEN", "VERSION", "SESSIONS", "POOLS", "KEYS", "TICKETS", "ADDRESS")
	for _, m := range k.Members {
		name, seen := m.Name, span(time.Since(m.Seen))+" ago"
		if m.Self {
			name, seen = name+" (this)", "-"
		}
		g.add(name, m.State, seen, dash(clean(m.Version)), strconv.Itoa(m.Sessions), likeOurs(m, "pools"), likeOurs(m, "keys"), likeOurs(m, "tickets"), m.Gossip)
	}
	g.write(w)
}

// likeOurs says whether a member has something as the proxy has that was asked.
func likeOurs(m admin.Member, what string) string {
	switch {
	case slices.Contains(m.Differs, what):
		return "differ"
	case what == "keys" && len(m.Keys) == 0, what == "tickets" && len(m.Tickets) == 0:
		return "-"
	}
	return "same"
}

// writeProxies shows what each proxy says: its warnings, and its backends side by side with those of the others.
func (c *ctl) writeProxies(w io.Writer, all admin.Proxies) {
	var g grid
	g.add("PROXY", "STATE", "VERSION", "UP", "SESSIONS", "MOVES", "SEEN")
	for _, p := range all.Proxies {
		name := dash(p.Name)
		if p.Status == nil {
			g.add(name, "unreachable", "-", "-", "-", "-", span(time.Since(p.Seen))+" ago")
			continue
		}
		st := p.Status
		g.add(name, st.State, st.Version.Version, span(time.Duration(st.UptimeSeconds*float64(time.Second))), strconv.Itoa(st.Sessions.Total), strconv.Itoa(underWay(st)), "-")
	}
	g.write(w)
	for _, p := range all.Proxies {
		if p.Error != "" {
			fmt.Fprintln(w, c.color(bad, fmt.Sprintf("%s: no answer: %s", p.Name, clean(p.Error))))
		} else if p.Status != nil {
			for _, text := range p.Status.Warnings {
				fmt.Fprintln(w, c.color(bad, strings.TrimPrefix(p.Name+": ", ": ")+"warning: "+clean(text)))
			}
		}
	}
	fmt.Fprintln(w)
	writeBackendsOfAll(w, all)
}

func underWay(st *admin.Status) (n int) {
	for _, m := range st.Moves {
		if !m.State.Ended() {
			n++
		}
	}
	return n
}

func writeBackendsOfAll(w io.Writer, all admin.Proxies) {
	var g grid
	g.add("POOL/BACKEND", "PROXY", "ADMIN", "OPER", "ROLE", "SESSIONS")
	var names []string
	for _, p := range all.Proxies {
		if p.Status == nil {
			continue
		}
		for _, pool := range p.Status.Pools {
			for _, b := range pool.Backends {
				if !slices.Contains(names, b.FullName()) {
					names = append(names, b.FullName())
				}
			}
		}
	}
	for _, name := range names {
		for _, p := range all.Proxies {
			if p.Status == nil {
				continue
			}
			for _, pool := range p.Status.Pools {
				for _, b := range pool.Backends {
					if b.FullName() == name {
						g.add(name, dash(p.Name), b.Admin, b.Oper, role(pool, b), strconv.Itoa(b.Sessions))
					}
				}
			}
		}
	}
	g.write(w)
}
