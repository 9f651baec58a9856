package handoff

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// What a run writes into its journal beside the records, so that a process that comes after a crash can go on with the move. What is not there by
// then is found out anew: a mark that was lost costs a question.

// mark writes one. Nobody waits for the disk: behind the point of no return the move goes on from memory.
func (x *run) mark(verb string, pairs ...string) {
	if x.journal == nil {
		return
	}
	if err := x.journal.mark(protocol.NewMessage(verb, pairs...)); err != nil {
		x.log.Warn("journal not written; the move goes on from memory", "mark", verb, "err", err)
	}
}

// writeTime is what a mark may take to get out of this process. It is a write into the kernel's memory, and no disk is waited for; one that hangs
// all the same holds nobody for longer.
const writeTime = 200 * time.Millisecond

// markNow is mark for what must not be lost if this process is killed in the next moment.
func (x *run) markNow(verb string, pairs ...string) {
	x.mark(verb, pairs...)
	if x.journal == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	x.journal.written(ctx) //nolint:errcheck // mark has said it, or the next one does
}

// drop takes a user out of what a destination gets.
func (x *run) drop(u string) {
	x.snap.drop(u)
	x.mark("DROP", "u", u)
}

// openingMark says whose move it is, what was asked, and of the source what there is to know when it has gone.
func (x *run) openingMark() protocol.Message {
	m := protocol.NewMessage("MOVE", "id", x.m.ID(), "kind", string(x.r.Kind), "pool", x.r.Pool, "from", x.r.From, "to", x.r.To, "tx", x.tx,
		"epoch", x.source.Epoch, "was", string(x.was), "actor", x.r.Actor, "strict", yes(x.r.Strict), "visible", yes(x.r.AllowVisible),
		"timeout", millisOf(x.r.Timeout), "started", millis(x.m.Report().Started), "park", millisOf(x.limits.Park), "pause", millisOf(x.limits.MaxPause),
		"name", x.source.Name, "sid", x.source.SID, "linkcaps", x.source.LinkCaps, "feat", strings.Join(x.source.Feat, " "))
	m.SetInt("unmovable", int64(x.source.Unmovable))
	m.SetInt("links", int64(x.source.Links))
	if x.dst != nil {
		m.Set("dst", x.dst.Info().Epoch)
	}
	return m
}

// readOpening is what openingMark has written.
func readOpening(m protocol.Message) (r Request, l Limits, source protocol.Hello, was backend.AdminState, started time.Time) {
	r = Request{Kind: Kind(m.Get("kind")), Pool: m.Get("pool"), From: m.Get("from"), To: m.Get("to"), Actor: m.Get("actor"), Strict: m.Get("strict") == "1",
		AllowVisible: m.Get("visible") == "1", Timeout: durationOf(m, "timeout")}
	l = Limits{Deadline: r.Timeout, MaxPause: durationOf(m, "pause"), Park: durationOf(m, "park")}
	source = protocol.Hello{Name: m.Get("name"), Epoch: m.Get("epoch"), SID: m.Get("sid"), LinkCaps: m.Get("linkcaps"), Feat: m.List("feat")}
	unmovable, _ := m.Int("unmovable")
	links, _ := m.Int("links")
	source.Unmovable, source.Links = int(unmovable), int(links)
	return r, l, source, backend.AdminState(m.Get("was")), timeOf(m, "started")
}

func yes(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func millis(t time.Time) string       { return strconv.FormatInt(t.UnixMilli(), 10) }
func millisOf(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
func timeOf(m protocol.Message, key string) time.Time {
	n, _ := m.Int(key)
	return time.UnixMilli(n)
}
func durationOf(m protocol.Message, key string) time.Duration {
	n, _ := m.Int(key)
	return time.Duration(n) * time.Millisecond
}
