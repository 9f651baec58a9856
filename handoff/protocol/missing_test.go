package protocol

import (
	"slices"
	"testing"
	"time"
)

// staged is an import of the two users of twoUsers, of whom those named have a stream.
func (r *rig) staged(attached ...string) (tx string) {
	r.t.Helper()
	tx, tok := NewSecret(), NewSecret()
	noError(r.t, r.c.Import(r.t.Context(), tx, tok, time.Minute, ""))
	for _, rec := range twoUsers() {
		if rec.Verb == VerbUser {
			rec = User{rec}.Strip().Message
		}
		noError(r.t, r.c.Record(r.t.Context(), rec))
	}
	_, err := r.c.Prepare(r.t.Context(), tx)
	noError(r.t, err)
	for _, u := range attached {
		r.attach(tx, u, tok)
	}
	return tx
}

func TestCommitMissingQuit(t *testing.T) {
	r := newRig(t, Config{})
	tx := r.staged("i.2")
	_, err := r.c.Commit(t.Context(), tx)
	wantCode(t, err, CodeNotAttached)
	for range 2 { // repeated alike
		users, missing, err := r.c.CommitMissing(t.Context(), tx)
		noError(t, err)
		if users != 1 || missing != 1 {
			t.Fatalf("%d live, %d missing", users, missing)
		}
	}
	if users, err := r.c.Commit(t.Context(), tx); err != nil || users != 1 {
		t.Errorf("repeated without missing: %d, %v", users, err)
	}
	if n := r.ircd.count("commit"); n != 1 {
		t.Errorf("the ircd was told to commit %d times", n)
	}
}

func TestCommitMissingValue(t *testing.T) {
	r := newRig(t, Config{})
	tx := r.staged("i.1", "i.2")
	_, err := r.c.ask(t.Context(), NewMessage("COMMIT", "tx", tx, "missing", "keep"), "COMMITTED", tx)
	wantCode(t, err, CodeBadValue)
	users, missing, err := r.c.CommitMissing(t.Context(), tx)
	if noError(t, err); users != 2 || missing != 0 {
		t.Errorf("%d live, %d missing", users, missing)
	}
}

// An EXPORT that comes after its move was given up must not stop the world.
func TestResumeFencesAnUnknownTx(t *testing.T) {
	r := newRig(t, Config{})
	tx := NewSecret()
	noError(t, r.another().Resume(t.Context(), tx))
	wantStatus(t, r.c, tx, SourceResumed, DestUnknown)
	_, err := r.c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Second}, nil)
	wantCode(t, err, CodeState)
	wantCode(t, r.c.Release(t.Context(), tx, ""), CodeResumed)
	if r.ircd.count("freeze") != 0 {
		t.Error("the world was stopped")
	}
}

// Everybody waits for RELEASED, nobody for what the ircd does with those who are released.
func TestReleasedIsToldFirst(t *testing.T) {
	r := newRig(t, Config{})
	tx := NewSecret()
	r.export(tx, time.Minute)
	wait := make(chan struct{})
	r.ircd.releasing = func() { <-wait }
	noError(t, r.c.Release(t.Context(), tx, ""))
	close(wait)
	noError(t, r.c.Ping(t.Context()))
	if !slices.Contains(r.ircd.calls, "release ") {
		t.Errorf("told %v", r.ircd.calls)
	}
}

// A quiet COMMIT names who is missing, writes no LIVE, and can be asked for again.
func TestCommitQuiet(t *testing.T) {
	r := newRig(t, Config{})
	tx := r.staged("i.2")
	m := NewMessage("COMMIT", "tx", tx)
	m.SetBare("quiet")
	_, err := r.c.commit(t.Context(), m)
	wantCode(t, err, CodeBadValue)
	for range 2 {
		done, err := r.c.CommitQuiet(t.Context(), tx)
		if noError(t, err); done.Users != 1 || done.Missing != 1 || !slices.Equal(done.Who, []string{"i.1"}) {
			t.Fatalf("%+v", done)
		}
	}
	r.ircd.mu.Lock()
	stream := r.ircd.streams["i.2"]
	r.ircd.mu.Unlock()
	if stream == nil {
		t.Fatal("the ircd has no stream")
	}
}
