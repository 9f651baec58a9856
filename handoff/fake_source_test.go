package handoff

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

func refusal(code protocol.Code, tx, u string) error {
	return &protocol.Error{Code: code, Tx: tx, U: u}
}

// Export gives what it tells when it has let go of the ircd's lock: who takes the records may wait for another ircd.
func (p *fakeParty) Export(ctx context.Context, r protocol.ExportRequest, emit func(protocol.Message) error) (end protocol.End, err error) {
	var told []protocol.Message
	end, err = p.export(ctx, r, func(rec protocol.Message) error { told = append(told, rec); return nil })
	for _, rec := range told {
		if failed := emit(rec); failed != nil {
			return end, cmp.Or(err, failed)
		}
	}
	return end, err
}

func (p *fakeParty) export(ctx context.Context, r protocol.ExportRequest, emit func(protocol.Message) error) (end protocol.End, err error) {
	err = p.do(ctx, "EXPORT", func() error {
		switch {
		case p.i.export != nil:
			return refusal(protocol.CodeBusy, r.Tx, "")
		case p.i.source[r.Tx] != "" && !r.Peek:
			return refusal(protocol.CodeState, r.Tx, "")
		}
		for _, l := range r.Links {
			if s := p.i.servers[l.Name]; s == nil || s.link != l || len(p.i.blocks) == 0 {
				return refusal(protocol.CodeNotLinked, r.Tx, "")
			}
		}
		if p.i.extra != "" {
			r.Select = append(r.Select, protocol.Selection{U: p.i.extra})
		}
		e := &fakeExport{tx: r.Tx, by: p, until: time.Now().Add(r.Freeze), links: r.Links}
		for _, s := range r.Select {
			e.sel = append(e.sel, s.U)
		}
		if !r.Peek {
			p.i.source[r.Tx], p.i.export = protocol.SourceFrozen, e
		}
		if err := p.i.exportLinksLocked(r, &end, emit); err != nil {
			return err
		}
		end.Unmovable = p.i.came
		if !r.Peek {
			end.Remain = p.i.remainLocked(e.sel)
		}
		return p.records(r, &end, emit)
	})
	return end, err
}

// remainLocked counts who stays in #sea when the selected go.
func (i *fakeIrcd) remainLocked(sel []string) (n int) {
	goes := false
	for _, u := range i.sea {
		goes = goes || i.live[u] && slices.Contains(sel, u)
		if i.live[u] && !slices.Contains(sel, u) {
			n++
		}
	}
	if !goes || i.older {
		return 0
	}
	return n
}

// records gives what an export tells.
func (p *fakeParty) records(r protocol.ExportRequest, end *protocol.End, emit func(protocol.Message) error) error {
	if len(p.i.sea) > 0 {
		if err := emit(protocol.NewChan("#sea", 1).Message); err != nil {
			return err
		}
	}
	for _, s := range r.Select {
		if !p.i.live[s.U] {
			continue
		}
		end.Users++
		rec := protocol.NewMessage("USER", "u", s.U, "id", "id-"+s.U, "nick", "nick-"+s.U)
		if !r.Peek {
			rec = protocol.NewMessage("USER", "u", s.U, "id", "id-"+s.U, "nick", "nick-"+s.U, "in", fmt.Sprint(s.In), "out", fmt.Sprint(p.i.out[s.U]), "rq", "PRIVMSG x :y\r\n", "sq", "sq")
		}
		if err := emit(rec); err != nil {
			return err
		}
	}
	for _, u := range p.i.sea {
		if !p.i.live[u] || !slices.ContainsFunc(r.Select, func(s protocol.Selection) bool { return s.U == u }) {
			continue
		}
		if err := emit(protocol.NewMemb(u, "#sea", "").Message); err != nil {
			return err
		}
	}
	return nil
}

func (p *fakeParty) Release(ctx context.Context, tx, quit string) error {
	return p.do(ctx, "RELEASE", func() error {
		switch p.i.source[tx] {
		case protocol.SourceFrozen:
			p.i.quit = quit
			p.i.source[tx] = protocol.SourceReleased
			for _, l := range p.i.export.links {
				p.i.sayLocked(l.Name, "ours") // QUITs, behind the marker
			}
			for _, u := range p.i.export.sel {
				delete(p.i.live, u)
				for s := range p.i.open_ {
					if s.u == u {
						s.theirs = false
						delete(p.i.open_, s)
					}
				}
			}
			p.i.export = nil
			return nil
		case protocol.SourceReleased:
			return nil
		case protocol.SourceResumed:
			return refusal(protocol.CodeResumed, tx, "")
		}
		return refusal(protocol.CodeUnknownTx, tx, "")
	})
}

func (p *fakeParty) Resume(ctx context.Context, tx string) error {
	return p.do(ctx, "RESUME", func() error {
		switch p.i.source[tx] {
		case protocol.SourceReleased:
			return refusal(protocol.CodeReleased, tx, "")
		case protocol.SourceFrozen:
			p.i.resumeLocked()
		default:
			p.i.source[tx] = protocol.SourceResumed
		}
		return nil
	})
}
