package handoff

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// DryRun tells what a drain would do and could not do, and changes nothing: the guards, EXPORT peek at the source, then IMPORT,
// PREPARE and ABORT at the destination, and what the two ircds offer compared. Nobody is frozen.
func (c *Coordinator) DryRun(ctx context.Context, r Request) (Plan, error) {
	plan := Plan{Pool: r.Pool, From: r.From, To: r.To}
	from, err := c.find(r.Pool, r.From)
	if err != nil {
		return plan, err
	}
	if !from.Native() {
		plan.Refusals = append(plan.Refusals, from.FullName()+" has no driver: its sessions would stay until they leave")
		return plan, nil
	}
	if c.refuses(&plan, guardDrain(from)) {
		return plan, nil
	}
	done, err := c.claimRehearsal(r.Pool)
	if c.refuses(&plan, err) {
		return plan, nil
	}
	defer done()
	to, err := c.destination(r, from)
	if c.refuses(&plan, err) {
		return plan, nil
	}
	if err != nil {
		return plan, err
	}
	plan.To, r.To = to.Name(), to.Name()
	refs, err := c.opt.Sessions.On(ctx, from.FullName())
	if err != nil {
		return plan, &Error{StepCheck, from.FullName(), err}
	}
	c.refuses(&plan, guardDescriptors(c.opt.Sessions, Request{Kind: KindDrain}, len(refs)))
	return plan, c.rehearse(ctx, &plan, r, from, to, refs)
}

// claimRehearsal keeps moves and dry runs of a pool apart: an ircd has room for one export and one import at a time.
func (c *Coordinator) claimRehearsal(pool string) (done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if m := c.active[pool]; m != nil {
		return nil, underWay(m)
	}
	if c.rehearsing[pool] {
		return nil, errRehearsal(pool)
	}
	c.rehearsing[pool] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.rehearsing, pool)
	}, nil
}

func errRehearsal(pool string) error {
	return &Refused{Reason: fmt.Sprintf("a dry run is under way in pool %s", pool), Hint: "it takes a moment; try again"}
}

// refuses notes a guard's refusal.
func (c *Coordinator) refuses(plan *Plan, err error) bool {
	var refused *Refused
	if !errors.As(err, &refused) {
		return false
	}
	plan.Refusals = append(plan.Refusals, refused.Error())
	return true
}

// rehearse asks both ircds.
func (c *Coordinator) rehearse(ctx context.Context, plan *Plan, r Request, from, to *backend.Backend, refs []backend.SessionRef) error {
	src, err := c.opt.Driver.Connect(ctx, from)
	if err != nil {
		return &Error{StepCheck, from.FullName(), err}
	}
	defer src.Close()
	dst, err := c.opt.Driver.Connect(ctx, to)
	if err != nil {
		return &Error{StepCheck, to.FullName(), err}
	}
	defer dst.Close()
	source, target := src.Info(), dst.Info()
	if c.refuses(plan, guardSame(from, to, source, target)) {
		return nil
	}
	c.refuses(plan, guardParties(r, from, len(refs), source, &target))
	held, err := linksToHold(r, from, source, &target, c.linksOf(from))
	c.refuses(plan, err)
	plan.tellLinks(source, held)
	plan.Unmovable, plan.Links = source.Unmovable, source.Links
	plan.CapsLost, plan.ISupport = missing(source.Caps, target.Caps), differing(source.ISupport, target.ISupport)
	return c.rehearseRecords(ctx, plan, src, dst, to, refs, held)
}

// rehearseRecords lets the destination build what the source would give, and drop it.
func (c *Coordinator) rehearseRecords(ctx context.Context, plan *Plan, src, dst Party, to *backend.Backend, refs []backend.SessionRef, held []backend.Link) error {
	tx := token(16)
	const lease = 30 * time.Second // a rehearsal that is given up frees its nicks by then
	if err := dst.Import(ctx, tx, token(16), lease, "", len(held) > 0); err != nil {
		return &Error{StepPush, plan.To, err}
	}
	defer c.abandon(dst, to, tx)
	if err := c.rehearseLinks(ctx, plan, dst, to, tx, held); err != nil {
		return &Error{StepPush, plan.To, err}
	}
	ask := protocol.ExportRequest{Tx: tx, Peek: true}
	for _, ref := range refs {
		ask.Select = append(ask.Select, protocol.Selection{U: ref.U})
		if !ref.Registered {
			plan.Unregistered++
		}
	}
	snap := newSnapshot()
	_, err := src.Export(ctx, ask, func(rec protocol.Message) error {
		out, err := snap.add(rec)
		if err != nil {
			return err
		}
		return dst.Record(ctx, out)
	})
	if err != nil {
		return &Error{StepPull, plan.From, err}
	}
	plan.Users, plan.Channels = len(snap.Users), snap.Channels
	prepared, err := dst.Prepare(ctx, tx)
	if err != nil {
		return &Error{StepPush, plan.To, err}
	}
	plan.Warnings, plan.Conflicts = warnings(prepared.Warns), warnings(prepared.Conflicts)
	return nil
}

// rehearseLinks asks the destination how each peer would introduce itself: its configuration must know them all.
func (c *Coordinator) rehearseLinks(ctx context.Context, plan *Plan, dst Party, to *backend.Backend, tx string, held []backend.Link) error {
	for _, l := range held {
		_, err := dst.Greet(ctx, tx, selectionOf(l))
		if _, ok := said(err); !ok && err != nil {
			return err
		}
		if err != nil {
			c.refuses(plan, &Refused{Reason: fmt.Sprintf("%s does not take the server link of %s: %v", to.FullName(), l.Name, err),
				Hint: "give it the link blocks of " + plan.Pool + "/" + plan.From})
		}
	}
	return nil
}

// missing lists what is in have and not in other, by name: a changed value of a capability is a warning of the destination's.
func missing(have, other []string) []string {
	name := func(s string) string { before, _, _ := strings.Cut(s, "="); return before }
	var out []string
	for _, h := range have {
		if !slices.ContainsFunc(other, func(o string) bool { return name(o) == name(h) }) {
			out = append(out, h)
		}
	}
	return out
}

// differing lists ISUPPORT tokens whose values differ as "TOKEN=here|there".
func differing(here, there []string) []string {
	values := func(tokens []string) map[string]string {
		m := make(map[string]string, len(tokens))
		for _, t := range tokens {
			k, v, _ := strings.Cut(t, "=")
			m[k] = v
		}
		return m
	}
	a, b := values(here), values(there)
	var out []string
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			out = append(out, fmt.Sprintf("%s=%s|%s", k, v, w))
		}
	}
	for k, w := range b {
		if _, ok := a[k]; !ok {
			out = append(out, fmt.Sprintf("%s=|%s", k, w))
		}
	}
	slices.Sort(out)
	return out
}
