package backend

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"net/netip"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// Choose picks the backend for a new client, or ErrNone. Event loops call it; it takes two short locks and never blocks.
func (p *Pool) Choose(client netip.Addr) (*Backend, error) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	var b *Backend
	if p.conf.Topology == config.Linked {
		b = p.balanceLocked(client, now)
	} else {
		b = p.servingLocked(now)
	}
	if b == nil {
		return nil, ErrNone
	}
	b.picked.Add(1)
	return b, nil
}

// servingLocked returns the one serving backend of a standalone pool, if it can take a client now. Another one takes its place only
// here, when a client asks, and only if the present one is not wanted or is down: so nothing changes while the clients of a pool wait
// for the end of a move, and nothing ever goes back by itself.
func (p *Pool) servingLocked(now time.Time) *Backend {
	if b := p.findLocked(p.serving); b != nil {
		switch b.fitness(now) {
		case fit:
			return b
		case waiting:
			return nil
		}
		if b.holds() {
			return nil
		}
	}
	b := p.electLocked(now)
	if b != nil {
		p.set.elected(p, b, p.serving)
		p.serving = b.name
	}
	return b
}

// electLocked finds who serves next: the first in configuration order that is not out of question, backups last. It answers nobody
// while a better one than those that are up may still turn out to be up.
func (p *Pool) electLocked(now time.Time) *Backend {
	for _, backup := range []bool{false, true} {
		for _, b := range p.backends {
			if b.Config().Backup != backup {
				continue
			}
			switch b.fitness(now) {
			case fit:
				return b
			case waiting:
				return nil
			}
		}
	}
	return nil
}

// balanceLocked spreads clients over the usable backends of a linked pool; backups count only if nobody else is usable.
func (p *Pool) balanceLocked(client netip.Addr, now time.Time) *Backend {
	var usable, backups []*Backend
	for _, b := range p.backends {
		if b.fitness(now) != fit {
			continue
		}
		if b.Config().Backup {
			backups = append(backups, b)
		} else {
			usable = append(usable, b)
		}
	}
	if len(usable) == 0 {
		usable = backups
	}
	switch p.conf.Balance {
	case config.RoundRobin:
		return p.nextTurnLocked(usable)
	case config.Source:
		return bySource(usable, client)
	}
	return leastLoaded(usable)
}

// leastLoaded takes the least sessions for its weight; among equals the first.
func leastLoaded(bs []*Backend) *Backend {
	var best *Backend
	var bestLoad, bestWeight int64
	for _, b := range bs {
		load, weight := b.load(), int64(b.Config().Weight)
		if best == nil || load*bestWeight < bestLoad*weight {
			best, bestLoad, bestWeight = b, load, weight
		}
	}
	return best
}

// nextTurnLocked is the smooth weighted round robin of nginx: each gains its weight, the richest is taken and pays the sum. So 5:1:1
// gives aabaaca and not aaaaabc.
func (p *Pool) nextTurnLocked(bs []*Backend) *Backend {
	var best *Backend
	sum := 0
	for _, b := range bs {
		weight := b.Config().Weight
		sum += weight
		p.turns[b] += weight
		if best == nil || p.turns[b] > p.turns[best] {
			best = b
		}
	}
	if best != nil {
		p.turns[best] -= sum
	}
	return best
}

// bySource is weighted rendezvous hashing of the client's address (IPv6: of its /64, as for limits): a client stays where it was as
// long as that backend is usable, whatever comes or goes beside it.
func bySource(bs []*Backend, client netip.Addr) *Backend {
	client = client.Unmap().WithZone("")
	if client.Is6() {
		prefix, _ := client.Prefix(64)
		client = prefix.Addr()
	}
	var best *Backend
	bestScore := math.Inf(-1)
	for _, b := range bs {
		h := fnv.New64a()
		h.Write([]byte(b.full))
		h.Write(client.AsSlice())
		score := float64(b.Config().Weight) / -math.Log(unit(h.Sum(nil)))
		if score > bestScore {
			best, bestScore = b, score
		}
	}
	return best
}

// unit makes a hash a number between 0 and 1, both excluded. FNV leaves the high bits of short inputs alike, so they are mixed first
// (the finalizer of MurmurHash3).
func unit(sum []byte) float64 {
	x := binary.BigEndian.Uint64(sum)
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return (float64(x>>11) + 0.5) / (1 << 53)
}
