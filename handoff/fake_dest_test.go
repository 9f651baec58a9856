package handoff

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

func (p *fakeParty) Import(ctx context.Context, tx, tok string, lease time.Duration, kick string, links bool) error {
	return p.do(ctx, "IMPORT", func() error {
		p.i.kicks = append(p.i.kicks, kick)
		switch {
		case links && len(p.i.blocks) == 0:
			return refusal(protocol.CodeBadValue, tx, "")
		case lease > protocol.MaxLease || lease < time.Second:
			return refusal(protocol.CodeBadValue, tx, "")
		case p.i.imports != nil:
			return refusal(protocol.CodeBusy, tx, "")
		case p.i.dest[tx] != "" && p.i.dest[tx] != protocol.DestAborted:
			return refusal(protocol.CodeState, tx, "")
		}
		p.i.dest[tx] = protocol.DestStaging
		p.i.imports = &fakeImport{tx: tx, tok: tok, by: p, until: time.Now().Add(lease), links: links, streams: map[string]*fakeStream{}}
		return nil
	})
}

func (p *fakeParty) Record(ctx context.Context, rec protocol.Message) error {
	for _, secret := range []string{"rq", "sq", "in", "out"} {
		if rec.Has(secret) {
			return fmt.Errorf("record for a destination has %s", secret)
		}
	}
	return p.do(ctx, "RECORD", func() error {
		im := p.i.imports
		if im == nil || im.by != p {
			return nil // PREPARE tells
		}
		if p.i.recorded != nil {
			p.i.recorded(rec)
		}
		switch {
		case rec.Verb == protocol.VerbLink || rec.Verb == protocol.VerbBurst || rec.Verb == protocol.VerbRemote:
			return im.takeLink(rec)
		case rec.Verb == protocol.VerbUser && slices.Contains(im.users, rec.Get("u")):
			return fmt.Errorf("USER %s twice", rec.Get("u"))
		case rec.Verb == protocol.VerbMemb && !slices.Contains(im.users, rec.Get("u")):
			return fmt.Errorf("MEMB of %s before its USER", rec.Get("u"))
		case rec.Verb == protocol.VerbUser:
			im.users = append(im.users, rec.Get("u"))
			if rec.Get("u") == p.i.taken {
				im.clash = append(im.clash, protocol.Note{U: p.i.taken, Code: "nick-in-use", Text: "bob has the nick"})
			}
		case rec.Verb == protocol.VerbChan && rec.Get("n") == p.i.taken:
			im.clash = append(im.clash, protocol.Note{C: p.i.taken, Code: "channel-exists"})
		}
		return nil
	})
}

// openLocked is nil if tx is the open import.
func (p *fakeParty) openLocked(tx string) error {
	if im := p.i.imports; im != nil && im.tx == tx {
		return nil
	}
	switch p.i.dest[tx] {
	case "":
		return refusal(protocol.CodeUnknownTx, tx, "")
	case protocol.DestAborted:
		return refusal(protocol.CodeAborted, tx, "")
	}
	return refusal(protocol.CodeState, tx, "")
}

func (p *fakeParty) Prepare(ctx context.Context, tx string) (answer protocol.Prepared, err error) {
	err = p.do(ctx, "PREPARE", func() error {
		if err := p.openLocked(tx); err != nil {
			return err
		}
		im := p.i.imports
		if im.by != p || p.i.dest[tx] != protocol.DestStaging {
			return refusal(protocol.CodeState, tx, "")
		}
		im.checkLinksLocked(p.i)
		answer = p.i.notes
		answer.Conflicts = append(slices.Clone(answer.Conflicts), im.clash...)
		answer.Users += len(im.users)
		im.clash = answer.Conflicts
		for _, n := range im.clash {
			p.i.blames[n.U]++
		}
		p.i.dest[tx] = protocol.DestPrepared
		return nil
	})
	return answer, err
}

func (p *fakeParty) Commit(ctx context.Context, tx string, quit, quiet bool) (done protocol.Committed, err error) {
	if quiet && (!quit || p.i.older) {
		return done, refusal(protocol.CodeBadValue, tx, "")
	}
	err = p.do(ctx, "COMMIT", func() error {
		if p.i.dest[tx] == protocol.DestCommitted {
			done = p.i.done[tx]
			return nil
		}
		if err := p.openLocked(tx); err != nil {
			return err
		}
		im := p.i.imports
		switch {
		case p.i.dest[tx] != protocol.DestPrepared:
			return refusal(protocol.CodeState, tx, "")
		case len(im.clash) > 0:
			return refusal(protocol.CodeConflict, tx, "")
		}
		has := func(u string) bool { s := im.streams[u]; return s != nil && s.ours && s.theirs }
		for _, u := range im.users {
			if !has(u) && (!quit || p.i.older) {
				p.i.blames[u]++
				return refusal(protocol.CodeNotAttached, tx, u)
			}
		}
		p.i.dest[tx] = protocol.DestCommitted
		for _, u := range im.users {
			if !has(u) {
				done.Missing++
				done.Who = append(done.Who, u)
				p.i.missed = append(p.i.missed, u)
				continue
			}
			done.Users++
			p.i.live[u] = true
			p.i.open_[im.streams[u]] = true
			delete(im.streams, u)
		}
		for _, s := range im.streams {
			s.theirs = false
		}
		p.i.commitLinksLocked(tx)
		p.i.imports, p.i.done[tx] = nil, done
		return nil
	})
	return done, err
}

func (p *fakeParty) Abort(ctx context.Context, tx string) error {
	return p.do(ctx, "ABORT", func() error {
		p.i.aborted = append(p.i.aborted, tx)
		if im := p.i.imports; im != nil && im.tx == tx {
			p.i.abortLocked()
		} else if p.i.dest[tx] == protocol.DestCommitted {
			return refusal(protocol.CodeCommitted, tx, "")
		}
		return nil
	})
}

func (p *fakeParty) Status(ctx context.Context, tx string) (s protocol.Status, err error) {
	err = p.do(ctx, "STATUS", func() error {
		s = protocol.Status{Source: cmp.Or(p.i.source[tx], protocol.SourceUnknown), Dest: cmp.Or(p.i.dest[tx], protocol.DestUnknown)}
		return nil
	})
	return s, err
}
