package protocol

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// move carries twoUsers from one ircd to the other, as the standard's "A move, in order" has it.
func TestMove(t *testing.T) {
	src, dst := newRig(t, Config{}), newRig(t, Config{MaxLine: minMaxLine})
	src.ircd.records = twoUsers()
	long := strings.Repeat("\x00 \\long\xff", 40_000)
	src.ircd.records[2].Set("x.fake.long", long)
	ctx, tx, tok := t.Context(), NewSecret(), NewSecret()

	noError(t, dst.c.Import(ctx, tx, tok, time.Minute, ""))
	s1, s2 := dst.attach(tx, "i.1", tok), dst.attach(tx, "i.2", tok)
	left := dst.attach(tx, "i.3", tok) // selected, but not registered

	var got []Message
	end, err := src.c.Export(ctx, ExportRequest{Tx: tx, Freeze: 5 * time.Second,
		Select: []Selection{{"i.1", 10}, {"i.2", 10}, {"i.3", 0}}}, func(m Message) error {
		got = append(got, m)
		if m.Verb == VerbUser {
			m = User{m}.Strip().Message
		}
		return dst.c.Record(ctx, m)
	})
	noError(t, err)
	for i := range got {
		got[i].line = "" // as it came
	}
	if !reflect.DeepEqual(got, src.ircd.records) {
		t.Fatalf("the records changed on the way:\n got %q\nwant %q", got, src.ircd.records)
	}
	if want := (End{Channels: 1, Users: 2, Unmovable: 1, Records: 6, Sum: end.Sum}); !reflect.DeepEqual(end, want) {
		t.Fatalf("got %+v, want %+v", end, want)
	}
	wantStatus(t, src.c, tx, SourceFrozen, DestUnknown)

	p, err := dst.c.Prepare(ctx, tx)
	noError(t, err)
	if p.Users != 2 || len(p.Conflicts) != 0 {
		t.Fatalf("got %+v", p)
	}
	if u := (User{dst.ircd.got[2]}); u.Get("x.fake.long") != long || u.Has("rq") || u.Has("in") {
		t.Fatal("the destination got another record than was sent")
	}
	wantStatus(t, dst.c, tx, SourceUnknown, DestPrepared)
	noError(t, src.c.Release(ctx, tx, ""))
	users, err := dst.c.Commit(ctx, tx)
	noError(t, err)
	if users != 2 {
		t.Fatalf("committed %d users", users)
	}
	noError(t, s1.answer(VerbLive, "i.1"))
	noError(t, s2.answer(VerbLive, "i.2"))
	left.ended()

	noError(t, src.c.Release(ctx, tx, ""))
	if users, err = dst.c.Commit(ctx, tx); users != 2 || err != nil {
		t.Fatalf("COMMIT again: %d, %v", users, err)
	}
	if n := dst.ircd.count("commit") + src.ircd.count("release "); n != 2 {
		t.Fatalf("the ircds were told %d times to release and commit", n)
	}
	wantStatus(t, src.c, tx, SourceReleased, DestUnknown)
	wantStatus(t, dst.c, tx, SourceUnknown, DestCommitted)
	wantCode(t, src.c.Resume(ctx, tx), CodeReleased)
	wantCode(t, dst.c.Abort(ctx, tx), CodeCommitted)
}

func wantStatus(t *testing.T, c *Control, tx string, source SourceState, dest DestState) {
	t.Helper()
	got, err := c.Status(t.Context(), tx)
	noError(t, err)
	if want := (Status{source, dest}); got != want {
		t.Fatalf("STATUS got %v, want %v", got, want)
	}
}

func TestHelloTellsTheIrcd(t *testing.T) {
	r := newRig(t, Config{Pass: "sesame", MaxUsers: 77})
	h := r.hello
	if h.Name != "fake.example" || h.SID != "0FK" || h.Users != 3 || h.Unmovable != 1 || h.MaxUsers != 77 || h.MaxLine != MaxLine || !ValidTx(h.SKey) ||
		!ValidTx(h.Epoch) || !h.Can("peek") || len(h.Caps) != 2 || h.Caps[0] != "sasl=PLAIN,EXTERNAL" {
		t.Fatalf("got %+v", h)
	}
	again, err := r.c.Hello(t.Context(), Hello{Name: "i", Pass: "sesame"})
	noError(t, err)
	if !reflect.DeepEqual(again, h) {
		t.Fatalf("asked again: %+v", again)
	}
	noError(t, r.c.Ping(t.Context()))
}

func TestFind(t *testing.T) {
	r := newRig(t, Config{})
	u, err := r.c.Find(t.Context(), "alice")
	noError(t, err)
	if u != "i.1" {
		t.Fatalf("found %q", u)
	}
	for _, nick := range []string{"nobody", "past"} {
		_, err := r.c.Find(t.Context(), nick)
		wantCode(t, err, CodeNotFound)
	}
}

func TestOpenGivesTheStreamToTheIrcd(t *testing.T) {
	r := newRig(t, Config{})
	o := Open{SKey: r.hello.SKey, U: "i.9", Remote: testRemote, Local: testLocal, TLS: "TLSv1.3/X", CertFP: "ab"}
	s := r.stream(string(AppendOpen(nil, o)) + "NICK a\r\nUSER")
	noError(t, s.answer(VerbOpened, "i.9"))
	if got := s.line(); got != "got:NICK a\r" {
		t.Fatalf("got %q", got)
	}
	r.ircd.mu.Lock()
	defer r.ircd.mu.Unlock()
	if r.ircd.opened["i.9"] != o {
		t.Fatalf("the ircd was told %+v", r.ircd.opened["i.9"])
	}
}

func TestResumeThenRelease(t *testing.T) {
	r := newRig(t, Config{})
	tx := NewSecret()
	r.export(tx, time.Minute)
	noError(t, r.c.Resume(t.Context(), tx))
	noError(t, r.c.Resume(t.Context(), tx))
	wantCode(t, r.c.Release(t.Context(), tx, ""), CodeResumed)
	if r.ircd.count("resume") != 1 || r.ircd.count("release ") != 0 {
		t.Fatalf("told: %v", r.ircd.calls)
	}
	_, err := r.c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Second}, nil)
	wantCode(t, err, CodeState)
}

// export freezes the ircd with its records.
func (r *rig) export(tx string, freeze time.Duration) {
	r.t.Helper()
	_, err := r.c.Export(r.t.Context(), ExportRequest{Tx: tx, Freeze: freeze, Select: []Selection{{"i.1", 10}}},
		func(Message) error { return nil })
	noError(r.t, err)
}

func TestEndOfFreezeResumes(t *testing.T) {
	r := newRig(t, Config{})
	tx := NewSecret()
	r.export(tx, 30*time.Millisecond)
	r.ircd.wait(t, "resume")
	wantCode(t, r.c.Release(t.Context(), tx, ""), CodeResumed)
}

func TestEndOfControlResumes(t *testing.T) {
	r := newRig(t, Config{})
	tx := NewSecret()
	r.export(tx, time.Minute)
	r.c.Close()
	r.ircd.wait(t, "resume")
	wantCode(t, r.another().Release(t.Context(), tx, ""), CodeResumed)
}

// The world must not stand still for a coordinator that does not read its records.
func TestStalledReaderOfRecordsResumes(t *testing.T) {
	r := newRig(t, Config{})
	u := NewUser("i.1", "Alice")
	u.Set("x.fake.big", strings.Repeat("x", 3<<20))
	r.ircd.records = []Message{u.Message}
	raw, err := r.c.conn.Write([]byte("EXPORT tx=" + NewSecret() + " freeze=100\n"))
	if err != nil || raw == 0 {
		t.Fatal(err)
	}
	r.ircd.wait(t, "resume")
}

func TestPeekStopsNothing(t *testing.T) {
	r := newRig(t, Config{})
	r.ircd.records = twoUsers()
	var users int
	end, err := r.c.Export(t.Context(), ExportRequest{Tx: NewSecret(), Peek: true, Select: []Selection{{"i.1", 0}}}, func(m Message) error {
		if m.Verb == VerbUser {
			users++
			if m.Has("rq") || m.Has("in") {
				t.Errorf("peek tells queues: %v", m)
			}
		}
		return nil
	})
	noError(t, err)
	if users != 2 || end.Users != 2 || r.ircd.count("freeze") != 0 {
		t.Fatalf("%d users, END %+v, told %v", users, end, r.ircd.calls)
	}
}

func TestEmitFailsAndTheConnectionLives(t *testing.T) {
	r := newRig(t, Config{})
	r.ircd.records = twoUsers()
	tx, calls := NewSecret(), 0
	_, err := r.c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Minute}, func(Message) error {
		calls++
		return errRefused
	})
	if calls != 1 || err == nil || r.c.Broken() {
		t.Fatalf("emit called %d times, %v, broken %v", calls, err, r.c.Broken())
	}
	noError(t, r.c.Resume(t.Context(), tx))
}

func TestWarnsAndConflicts(t *testing.T) {
	r := newRig(t, Config{})
	r.ircd.warns = []Note{{U: "i.1", Code: "unknown-key", Key: "x.a b", Text: "not kept"}}
	r.ircd.conflicts = []Note{{U: "i.1", Code: "nick-in-use", Key: "nick"}, {C: "#a", Code: "channel-exists", Text: "x"}}
	ctx, tx, tok := t.Context(), NewSecret(), NewSecret()
	noError(t, r.c.Import(ctx, tx, tok, time.Minute, ""))
	noError(t, r.c.Record(ctx, NewUser("i.1", "a").Message))
	p, err := r.c.Prepare(ctx, tx)
	noError(t, err)
	if want := (Prepared{Users: 1, Warns: r.ircd.warns, Conflicts: r.ircd.conflicts}); !reflect.DeepEqual(p, want) {
		t.Fatalf("got %+v, want %+v", p, want)
	}
	r.attach(tx, "i.1", tok)
	_, err = r.c.Commit(ctx, tx)
	wantCode(t, err, CodeConflict)
	noError(t, r.c.Abort(ctx, tx))
	noError(t, r.c.Abort(ctx, tx))
	_, err = r.c.Commit(ctx, tx)
	wantCode(t, err, CodeAborted)
	noError(t, r.c.Import(ctx, tx, tok, time.Minute, "")) // an aborted tx may be opened anew
}

// The reason goes as it is to the ircd, and of one import only.
func TestImportTellsTheKick(t *testing.T) {
	r := newRig(t, Config{})
	for _, want := range []string{"This channel is coming back: join \\ again", ""} {
		tx := NewSecret()
		noError(t, r.c.Import(t.Context(), tx, tx, time.Minute, want))
		r.ircd.mu.Lock()
		got := r.ircd.kick
		r.ircd.mu.Unlock()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		noError(t, r.c.Abort(t.Context(), tx))
	}
}

func TestLeaseOverAborts(t *testing.T) {
	r := newRig(t, Config{})
	ctx, tx, tok := t.Context(), NewSecret(), NewSecret()
	noError(t, r.c.Import(ctx, tx, tok, time.Second, ""))
	s := r.attach(tx, "i.1", tok)
	r.ircd.wait(t, "abort")
	s.ended()
	wantStatus(t, r.c, tx, SourceUnknown, DestAborted)
	_, err := r.c.Prepare(ctx, tx)
	wantCode(t, err, CodeAborted)
}

func TestAttachMayComeUntilCommit(t *testing.T) {
	r := newRig(t, Config{})
	ctx, tx, tok := t.Context(), NewSecret(), NewSecret()
	noError(t, r.c.Import(ctx, tx, tok, time.Minute, ""))
	noError(t, r.c.Record(ctx, NewUser("i.1", "a").Message))
	_, err := r.c.Prepare(ctx, tx)
	noError(t, err)
	_, err = r.c.Commit(ctx, tx)
	wantCode(t, err, CodeNotAttached)
	lost := r.attach(tx, "i.1", tok)
	lost.Close()
	for !HasCode(err, CodeNotAttached) || r.ircd.count("commit") > 0 {
		t.Fatalf("committed without a stream: %v", err)
	}
	// The lost stream's end may take a moment to be seen; a second ATTACH is taken as soon as it is.
	var s *streamEnd
	for i := 0; ; i++ {
		s = r.stream(string(AppendAttach(nil, Attach{SKey: r.hello.SKey, Tx: tx, U: "i.1", Tok: tok})))
		err := s.answer(VerbAttached, "i.1")
		if err == nil {
			break
		}
		if !HasCode(err, CodeAttached) || i > 1000 {
			t.Fatal(err)
		}
	}
	_, err = r.c.Commit(ctx, tx)
	noError(t, err)
	noError(t, s.answer(VerbLive, "i.1"))
}

func TestImportAndExportInOneProcess(t *testing.T) {
	r := newRig(t, Config{})
	r.ircd.records = twoUsers()
	ctx, tx, tok := t.Context(), NewSecret(), NewSecret()
	noError(t, r.c.Import(ctx, tx, tok, time.Minute, ""))
	r.export(tx, time.Minute)
	wantStatus(t, r.another(), tx, SourceFrozen, DestStaging)
	noError(t, r.c.Release(ctx, tx, "moved"))
	r.ircd.wait(t, "release moved")
	wantStatus(t, r.c, tx, SourceReleased, DestStaging)
}
