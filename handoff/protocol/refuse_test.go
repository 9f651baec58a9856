package protocol

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Each test here is one sentence of HANDOFF.md, "What must be refused".

// talk is a raw control connection: lines out, lines in.
type talk struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (r *rig) talk() *talk {
	r.t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(r.control, "unix:"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return &talk{r.t, conn, bufio.NewReader(conn)}
}

func (k *talk) send(line string) {
	k.t.Helper()
	if _, err := io.WriteString(k.conn, line+"\n"); err != nil {
		k.t.Fatal(err)
	}
}

// expect reads a line and compares its beginning.
func (k *talk) expect(begins string) {
	k.t.Helper()
	line, err := k.r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, begins) {
		k.t.Fatalf("got %q, %v; want %q", line, err, begins)
	}
}

func (k *talk) ended() {
	k.t.Helper()
	if rest, err := io.ReadAll(k.r); err != nil || len(rest) > 0 {
		k.t.Fatalf("got %q, %v; want the end", rest, err)
	}
}

func TestVerbsAndTheirRefusals(t *testing.T) {
	tx, tok := strings.Repeat("a", 32), strings.Repeat("b", 32)
	import1 := "IMPORT tx=" + tx + " tok=" + tok + " lease=60"
	for _, c := range []struct {
		name   string
		dialog []string // lines sent, "< " before what must come
	}{
		{"unknown verb", []string{"DANCE x=1", "< ERROR code=unknown-verb"}},
		{"unknown keys of verbs are ignored", []string{"PING future=1 t=7", "< PONG t=7\n"}},
		{"CR before LF is ignored", []string{"PING t=7\r", "< PONG t=7\n"}},
		{"stream verb OPEN on control", []string{"OPEN k=x u=y", "< ERROR code=wrong-connection"}},
		{"stream verb ATTACH on control", []string{"ATTACH k=x", "< ERROR code=wrong-connection"}},
		{"tx must be 32 hex digits", []string{"STATUS tx=1", "< ERROR code=bad-value", "RESUME tx=" + strings.ToUpper(tx), "< ERROR code=bad-value"}},
		{"status of nothing", []string{"STATUS tx=" + tx, "< STATUS tx=" + tx + " source=unknown dest=unknown\n"}},
		{"release of nothing", []string{"RELEASE tx=" + tx, "< ERROR code=unknown-tx tx=" + tx}},
		{"resume of nothing", []string{"RESUME tx=" + tx, "< RESUMED tx=" + tx + "\n"}},
		{"abort of nothing", []string{"ABORT tx=" + tx, "< ABORTED tx=" + tx + "\n"}},
		{"commit of nothing", []string{"COMMIT tx=" + tx, "< ERROR code=unknown-tx"}},
		{"prepare of nothing", []string{"PREPARE tx=" + tx + " records=0 sum=00000000", "< ERROR code=unknown-tx"}},
		{"export without freeze", []string{"EXPORT tx=" + tx, "< ERROR code=bad-value"}},
		{"export with a freeze over 60 s", []string{"EXPORT tx=" + tx + " freeze=60001", "< ERROR code=bad-value"}},
		{"select twice", []string{"SELECT u=a in=1", "SELECT u=a in=1", "EXPORT tx=" + tx + " freeze=100", "< ERROR code=bad-value tx=" + tx + " u=a"}},
		{"select without a number", []string{"SELECT u=a in=x", "SELECT u=b in=1", "EXPORT tx=" + tx + " freeze=100", "< ERROR code=bad-value"}},
		{"import without lease", []string{"IMPORT tx=" + tx + " tok=" + tok, "< ERROR code=bad-value"}},
		{"import with a short tok", []string{"IMPORT tx=" + tx + " tok=1 lease=60", "< ERROR code=bad-value"}},
		{"import with a kick that is two lines", []string{import1 + ` kick=a\nb`, "< ERROR code=bad-value", import1 + ` kick=\r`, "< ERROR code=bad-value",
			import1 + ` kick=\0`, "< ERROR code=bad-value", import1 + ` kick=join\sagain`, "< IMPORTING"}},
		{"import twice", []string{import1, "< IMPORTING tx=" + tx, import1, "< ERROR code=state"}},
		{"two imports", []string{import1, "< IMPORTING", "IMPORT tx=" + tok + " tok=" + tok + " lease=60", "< ERROR code=busy"}},
		{"commit before prepare", []string{import1, "< IMPORTING", "COMMIT tx=" + tx, "< ERROR code=state"}},
		{"sum does not fit", []string{import1, "< IMPORTING", "USER u=a nick=a", "PREPARE tx=" + tx + " records=1 sum=00000000",
			"< ERROR code=sum", "COMMIT tx=" + tx, "< ERROR code=aborted"}},
		{"count does not fit", []string{import1, "< IMPORTING", "USER u=a nick=a", "PREPARE tx=" + tx + " records=2 sum=00000000", "< ERROR code=count"}},
		{"sum is no sum", []string{import1, "< IMPORTING", "PREPARE tx=" + tx + " records=0 sum=0", "< ERROR code=bad-value"}},
		{"nothing to import", []string{import1, "< IMPORTING", "PREPARE tx=" + tx + " records=0 sum=00000000",
			"< PREPARED tx=" + tx + " users=0 warns=0 conflicts=0\n", "COMMIT tx=" + tx, "< COMMITTED tx=" + tx + " users=0\n"}},
		{"prepare twice", []string{import1, "< IMPORTING", "PREPARE tx=" + tx + " records=0 sum=00000000", "< PREPARED",
			"PREPARE tx=" + tx + " records=0 sum=00000000", "< ERROR code=state"}},
		{"the first wrong record is told", []string{import1, "< IMPORTING", "USER u=a", "LIST", "PREPARE tx=" + tx + " records=2 sum=00000000", "< ERROR code=bad-record tx=" + tx + " u=a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newRig(t, Config{}).talk()
			k.send("HELLO v=1 role=coordinator name=i")
			k.expect("HELLO v=1 ")
			for _, line := range c.dialog {
				if want, ok := strings.CutPrefix(line, "< "); ok {
					k.expect(want)
				} else {
					k.send(line)
				}
			}
		})
	}
}

func TestRecordsThatAreRefused(t *testing.T) {
	for _, records := range []string{
		"USER nick=a",
		"USER u=a",
		"USER u=" + strings.Repeat("a", 33) + " nick=a",
		"USER u=a nick=a signon=soon",
		"USER u=a nick=a\nUSER u=a nick=b",
		"USER u=a nick=a rq=x",
		"USER u=a nick=a out=1",
		"CHAN ts=1",
		"CHAN n=#a ts=1\nCHAN n=#a ts=1",
		"LIST c=#a m=ban mask=x",
		"CHAN n=#a\nMEMB u=a c=#a",
		"USER u=a nick=a\nMEMB u=a c=#a",
		"DATA u=a k=x.a d=1",
		"USER u=a nick=a\nDATA u=b k=x.a d=1",
		"USER u=a nick=a\nDATA u=a k=u d=1",
		"USER u=a nick=a m.x\nDATA u=a k=m.x d=1",
		"USER u=a nick=a\nDATA u=a d=1",
	} {
		t.Run(records, func(t *testing.T) {
			r := newRig(t, Config{})
			k := r.talk()
			k.send("HELLO v=1 role=coordinator")
			k.expect("HELLO")
			tx := NewSecret()
			k.send("IMPORT tx=" + tx + " tok=" + tx + " lease=9")
			k.expect("IMPORTING")
			var tally Tally
			for line := range strings.SplitAfterSeq(records+"\n", "\n") {
				if line != "" {
					verb, _, _ := strings.Cut(line, " ")
					tally.Add(verb, []byte(line))
				}
			}
			k.send(records)
			k.send(fmt.Sprintf("PREPARE tx=%s records=%d sum=%08x", tx, tally.Records, tally.Sum))
			k.expect("ERROR code=bad-record tx=" + tx)
			if r.ircd.count("prepare") > 0 || r.ircd.count("abort") != 1 {
				t.Fatalf("told %v", r.ircd.calls)
			}
		})
	}
}

func TestControlThatIsEnded(t *testing.T) {
	for name, c := range map[string]struct{ sent, answer string }{
		"no HELLO":               {"PING t=1", "ERROR code=hello-first"},
		"record before HELLO":    {"USER u=a nick=a", "ERROR code=hello-first"},
		"another major version":  {"HELLO v=2 role=coordinator pass=sesame", "ERROR code=version"},
		"no version":             {"HELLO role=coordinator pass=sesame", "ERROR code=version"},
		"wrong pass":             {"HELLO v=1 role=coordinator pass=sesam", "ERROR code=denied"},
		"no pass":                {"HELLO v=1 role=coordinator", "ERROR code=denied"},
		"not a coordinator":      {"HELLO v=1 pass=sesame role=source", "ERROR code=bad-value"},
		"no line of the grammar": {"hello", "ERROR code=bad-line"},
		"a NUL":                  {"HELLO v=1 role=a\x00b", "ERROR code=bad-line"},
		"an unknown escape":      {"HELLO v=1 role=a\\x", "ERROR code=bad-line"},
		"a key twice":            {"HELLO v=1 v=1", "ERROR code=bad-line"},
		"a line over 64 KiB":     {"HELLO v=1 a=" + strings.Repeat("x", MaxLine), "ERROR code=line-too-long"},
		"an HTTP request":        {"GET / HTTP/1.1", "ERROR code=bad-line"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newRig(t, Config{Pass: "sesame"}).talk()
			k.send(c.sent)
			k.expect(c.answer)
			if name != "a line over 64 KiB" { // there a reset may come in place of the end
				k.ended()
			}
		})
	}
}

func TestAnyMinorVersionIsTaken(t *testing.T) {
	k := newRig(t, Config{}).talk()
	k.send("HELLO v=1.7 role=coordinator")
	k.expect("HELLO v=1 ")
}

func TestStreamsThatAreRefused(t *testing.T) {
	r := newRig(t, Config{})
	ctx, tx, tok := t.Context(), NewSecret(), NewSecret()
	noError(t, r.c.Import(ctx, tx, tok, time.Minute, ""))
	r.attach(tx, "i.1", tok)
	open := func(change func(*Open)) string {
		o := Open{SKey: r.hello.SKey, U: "i.7", Remote: testRemote, Local: testLocal}
		change(&o)
		return string(AppendOpen(nil, o))
	}
	attach := func(change func(*Attach)) string {
		a := Attach{SKey: r.hello.SKey, Tx: tx, U: "i.7", Tok: tok}
		change(&a)
		return string(AttachLine(a))
	}
	first := r.stream(open(func(o *Open) { o.U = "i.6" }))
	noError(t, first.answer(VerbOpened, "i.6"))
	for name, c := range map[string]struct {
		line string
		code Code
	}{
		"control verb on a stream":    {"EXPORT tx=" + tx + " freeze=100\n", CodeWrongConnection},
		"HELLO on a stream":           {"HELLO v=1\n", CodeWrongConnection},
		"record on a stream":          {"USER u=a nick=a\n", CodeWrongConnection},
		"IRC on a stream":             {"NICK a\n", CodeUnknownVerb},
		"OPEN with a wrong skey":      {open(func(o *Open) { o.SKey = tok }), CodeDenied},
		"OPEN without skey":           {open(func(o *Open) { o.SKey = "" }), CodeDenied},
		"OPEN of a u that is there":   {open(func(o *Open) { o.U = "i.6" }), CodeUInUse},
		"OPEN of what is no u":        {open(func(o *Open) { o.U = "i:6" }), CodeBadValue},
		"OPEN without an address":     {"OPEN k=" + r.hello.SKey + " u=a port=1 laddr=::1 lport=1\n", CodeBadValue},
		"ATTACH with a wrong skey":    {attach(func(a *Attach) { a.SKey = tok }), CodeDenied},
		"ATTACH with a wrong tok":     {attach(func(a *Attach) { a.Tok = r.hello.SKey }), CodeDenied},
		"ATTACH without tok":          {attach(func(a *Attach) { a.Tok = "" }), CodeDenied},
		"ATTACH to no transaction":    {attach(func(a *Attach) { a.Tx = tok }), CodeUnknownTx},
		"a second ATTACH":             {attach(func(a *Attach) { a.U = "i.1" }), CodeAttached},
		"bytes before LIVE":           {attach(func(*Attach) {}) + "NICK a\n", CodeBadLine},
		"a first line over the limit": {strings.Repeat("x", MaxFirstLine+1), CodeLineTooLong},
		"random bytes":                {"\x16\x03\x01\x02\x00\x01\n", CodeBadLine},
	} {
		t.Run(name, func(t *testing.T) {
			s := r.stream(c.line)
			s.t = t
			wantCode(t, s.answer("nothing", "i.7"), c.code)
			s.ended()
		})
	}
}

// AttachLine is AppendAttach for the table above.
func AttachLine(a Attach) []byte { return AppendAttach(nil, a) }

func TestOneExportAtATime(t *testing.T) {
	r := newRig(t, Config{})
	r.export(NewSecret(), time.Minute)
	for _, peek := range []bool{true, false} {
		_, err := r.another().Export(t.Context(), ExportRequest{Tx: NewSecret(), Peek: peek, Freeze: time.Second}, nil)
		wantCode(t, err, CodeBusy)
	}
}

func TestExportThatFailsLeavesTheWorldRunning(t *testing.T) {
	r := newRig(t, Config{})
	r.ircd.freezeErr = &Error{Code: CodeBehind, U: "i.1"}
	tx := NewSecret()
	_, err := r.c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Second}, nil)
	wantCode(t, err, CodeBehind)
	wantStatus(t, r.c, tx, SourceUnknown, DestUnknown)
	r.ircd.freezeErr, r.ircd.exportErr = nil, errRefused
	_, err = r.c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Second}, func(Message) error { return nil })
	wantCode(t, err, CodeInternal)
	r.ircd.wait(t, "resume")
	if strings.Contains(err.Error(), errRefused.Error()) {
		t.Fatal("an inner error's text was told")
	}
}

func TestCommitThatFailsChangesNothing(t *testing.T) {
	r := newRig(t, Config{})
	ctx, tx, tok := t.Context(), NewSecret(), NewSecret()
	noError(t, r.c.Import(ctx, tx, tok, time.Minute, ""))
	noError(t, r.c.Record(ctx, NewUser("i.1", "a").Message))
	_, err := r.c.Prepare(ctx, tx)
	noError(t, err)
	s := r.attach(tx, "i.1", tok)
	r.ircd.commitErr = &Error{Code: CodeLimit}
	_, err = r.c.Commit(ctx, tx)
	wantCode(t, err, CodeLimit)
	wantStatus(t, r.c, tx, SourceUnknown, DestPrepared)
	r.ircd.commitErr = nil
	_, err = r.c.Commit(ctx, tx)
	noError(t, err)
	noError(t, s.answer(VerbLive, "i.1"))
}

func TestStreamThatSpeaksBeforeLiveIsNotAttached(t *testing.T) {
	r := newRig(t, Config{})
	ctx, tx, tok := t.Context(), NewSecret(), NewSecret()
	noError(t, r.c.Import(ctx, tx, tok, time.Minute, ""))
	noError(t, r.c.Record(ctx, NewUser("i.1", "a").Message))
	s := r.attach(tx, "i.1", tok)
	io.WriteString(s, "QUIT\r\n")
	_, err := r.c.Prepare(ctx, tx)
	noError(t, err)
	_, err = r.c.Commit(ctx, tx)
	wantCode(t, err, CodeNotAttached)
}

func TestLimits(t *testing.T) {
	r := newRig(t, Config{MaxUsers: 2, MaxBytes: 4000})
	ctx := t.Context()
	for name, records := range map[string][]Message{
		"maxusers": {NewUser("a", "a").Message, NewUser("b", "b").Message, NewUser("c", "c").Message},
		"bytes":    {NewMessage(VerbUser, "u", "a", "nick", "a", "x.a", strings.Repeat("x", 5000))},
	} {
		tx := NewSecret()
		noError(t, r.c.Import(ctx, tx, tx, time.Minute, ""))
		for _, m := range records {
			noError(t, r.c.Record(ctx, m))
		}
		_, err := r.c.Prepare(ctx, tx)
		if !HasCode(err, CodeLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tx := NewSecret()
	noError(t, r.c.Import(ctx, tx, tx, time.Minute, ""))
	r.attach(tx, "a", tx)
	r.attach(tx, "b", tx)
	s := r.stream(string(AppendAttach(nil, Attach{SKey: r.hello.SKey, Tx: tx, U: "c", Tok: tx})))
	wantCode(t, s.answer(VerbAttached, "c"), CodeLimit)
}

func TestRecordOverTheLimit(t *testing.T) {
	big := NewMessage(VerbUser, "u", "a", "nick", "a", "x.a", strings.Repeat("x", MaxRecord))
	if _, err := AppendRecord(nil, big, 0, nil); !HasCode(err, CodeLimit) {
		t.Fatalf("append: %v", err)
	}
	var j Joiner
	j.Add(NewMessage(VerbUser, "u", "a", "nick", "a"), 20)
	data := NewMessage(VerbData, "u", "a", "k", "x.a", "d", strings.Repeat("x", 60_000))
	for n := 0; ; n += 60_000 {
		if _, _, err := j.Add(data, 60_020); err != nil {
			wantCode(t, err, CodeLimit)
			break
		}
		if n > MaxRecord {
			t.Fatal("the joiner takes any length")
		}
	}
}

// A PREPARE of another connection must not end the records of the one that opened the import.
func TestRecordsAreOfOneConnection(t *testing.T) {
	r := newRig(t, Config{})
	ctx, tx := t.Context(), NewSecret()
	noError(t, r.c.Import(ctx, tx, tx, time.Minute, ""))
	other := r.another()
	noError(t, other.Record(ctx, NewUser("i.1", "a").Message))
	_, err := other.Prepare(ctx, tx)
	wantCode(t, err, CodeState)
	p, err := r.c.Prepare(ctx, tx)
	noError(t, err)
	if p.Users != 0 {
		t.Fatalf("prepared %d users", p.Users)
	}
}

func TestSecretsStayOutOfPrintedMessages(t *testing.T) {
	secret := "5ec3e7"
	for _, v := range []any{
		Hello{V: "1", Pass: secret, Role: "coordinator"}, Hello{V: "1", SKey: secret},
		NewMessage("IMPORT", "tok", secret), NewMessage(VerbOpen, "k", secret),
		NewMessage(VerbUser, "u", "a", "rq", secret, "sq", secret, "m.key", secret), NewMessage(VerbData, "d", secret),
	} {
		if s := fmt.Sprintf("%v %+v %s", v, v, v); strings.Contains(s, secret) {
			t.Errorf("printed: %s", s)
		}
	}
	_, err := Parse([]byte("HELLO pass=" + secret + "\\q"))
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("error: %v", err)
	}
}

func TestEqualSecret(t *testing.T) {
	for _, c := range []struct {
		got, want string
		equal     bool
	}{{"a", "a", true}, {"a", "b", false}, {"", "", false}, {"a", "", false}, {"", "a", false}, {"aa", "a", false}} {
		if EqualSecret(c.got, c.want) != c.equal {
			t.Errorf("%q, %q: not %v", c.got, c.want, c.equal)
		}
	}
}
