//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// freezeEnds: the world goes on when the freeze is over, when the coordinator says so, and when it is gone.
func freezeEnds(t *testing.T, i native) {
	h := newHand(t, i)
	ann := h.open("i.1", "ann", nil)
	for name, end := range map[string]func(h *hand, tx string){
		"by RESUME":         func(h *hand, tx string) { h.ok(h.c.Resume(t.Context(), tx)) },
		"by time":           func(h *hand, tx string) {},
		"by the connection": func(h *hand, tx string) { h.ok(h.c.Close()) },
	} {
		h := newHand(t, i)
		tx := protocol.NewSecret()
		const text = "PING before\r\nPI"
		var rq []byte
		in, written := ann.in+uint64(len(text)), make(chan struct{})
		time.AfterFunc(50*time.Millisecond, func() { // the world stands still by then and waits for it
			defer close(written)
			ann.send(text)
		})
		_, err := h.c.Export(t.Context(), protocol.ExportRequest{Tx: tx, Freeze: 2 * time.Second,
			Select: []protocol.Selection{{U: "i.1", In: in}}}, func(m protocol.Message) error {
			rq, _ = protocol.User{Message: m}.Queues()
			return nil
		})
		h.ok(err)
		<-written
		if string(rq) != text {
			t.Errorf("%s: waiting input is %q", name, rq)
		}
		end(h, tx)
		ann.await("before")
		ann.send("NG after\r\n")
		if got := ann.await("after"); strings.Contains(got, "before") {
			t.Errorf("%s: got %q", name, got)
		}
		h = newHand(t, i)
		st, err := h.c.Status(t.Context(), tx)
		if err != nil || st.Source != protocol.SourceResumed {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
		h.fails(h.c.Release(t.Context(), tx, ""), protocol.CodeResumed)
	}
	_, err := h.c.Export(t.Context(), protocol.ExportRequest{Tx: protocol.NewSecret(), Freeze: time.Second,
		Select: []protocol.Selection{{U: "i.1", In: ann.in + 1}}}, func(protocol.Message) error { return nil })
	h.fails(err, protocol.CodeBehind)
	_, err = h.c.Export(t.Context(), protocol.ExportRequest{Tx: protocol.NewSecret(), Freeze: time.Second,
		Select: []protocol.Selection{{U: "i.1", In: ann.in - 1}}}, func(protocol.Message) error { return nil })
	h.fails(err, protocol.CodeCount)
	ann.ask("PING still")
}

// refuses is HANDOFF.md's "What must be refused", on one process, which must live on.
func refuses(t *testing.T, i native) {
	tx, tok := strings.Repeat("a", 32), strings.Repeat("b", 32)
	import1 := "IMPORT tx=" + tx + " tok=" + tok + " lease=60"
	hello := "HELLO v=1 role=coordinator name=i"
	for name, dialog := range map[string][]string{ // lines sent; "< " is before what must come, "<~" before what comes sooner or later; "<." is the end
		"no HELLO":                 {"PING t=1", "< ERROR code=hello-first", "<."},
		"another major version":    {"HELLO v=2 role=coordinator", "< ERROR code=version", "<."},
		"not a coordinator":        {"HELLO v=1 role=source", "< ERROR code=bad-value", "<."},
		"no line of the grammar":   {"hello", "< ERROR code=bad-line", "<."},
		"an unknown escape":        {"HELLO v=1 role=a\\x", "< ERROR code=bad-line", "<."},
		"a key twice":              {"HELLO v=1 v=1", "< ERROR code=bad-line", "<."},
		"a line over 64 KiB":       {"HELLO v=1 a=" + strings.Repeat("x", protocol.MaxLine), "< ERROR code=line-too-long"},
		"any minor version":        {"HELLO v=1.7 role=coordinator", "< HELLO v=1 "},
		"unknown verb":             {hello, "< HELLO", "DANCE x=1", "< ERROR code=unknown-verb"},
		"CR before LF":             {hello, "< HELLO", "PING future=1 t=7\r", "< PONG t=7\n"},
		"stream's verb on control": {hello, "< HELLO", "OPEN k=x u=y", "< ERROR code=wrong-connection"},
		"tx":                       {hello, "< HELLO", "STATUS tx=1", "< ERROR code=bad-value", "RESUME tx=" + strings.ToUpper(tx), "< ERROR code=bad-value"},
		"nothing known": {hello, "< HELLO", "STATUS tx=" + tok, "< STATUS tx=" + tok + " source=unknown dest=unknown\n", "RELEASE tx=" + tok,
			"< ERROR code=unknown-tx tx=" + tok, "RESUME tx=" + tok, "< RESUMED", "ABORT tx=" + tok, "< ABORTED", "COMMIT tx=" + tok,
			"< ERROR code=unknown-tx", "PREPARE tx=" + tok + " records=0 sum=00000000", "< ERROR code=unknown-tx", "FIND nick=x", "< ERROR code=not-found"},
		"export without freeze": {hello, "< HELLO", "EXPORT tx=" + tx, "< ERROR code=bad-value", "EXPORT tx=" + tx + " freeze=60001", "< ERROR code=bad-value"},
		"select twice":          {hello, "< HELLO", "SELECT u=a in=1", "SELECT u=a in=1", "EXPORT tx=" + tx + " freeze=100", "< ERROR code=bad-value tx=" + tx + " u=a"},
		"export nobody": {hello, "< HELLO", "EXPORT tx=" + strings.Repeat("c", 32) + " freeze=100", "< END tx=" + strings.Repeat("c", 32) + " channels=0 users=0 unmovable=0 records=0 sum=00000000\n",
			"HELLO v=1 role=coordinator", "< ERROR code=busy", "PREPARE tx=" + tx, "< ERROR",
			"EXPORT tx=" + tx + " freeze=10", "< ERROR code=busy", "RELEASE tx=" + strings.Repeat("c", 32), "< RELEASED", "RESUME tx=" + strings.Repeat("c", 32), "< ERROR code=released",
			"EXPORT tx=" + strings.Repeat("c", 32) + " freeze=100", "< ERROR code=state"},
		"import": {hello, "< HELLO", "IMPORT tx=" + tx + " tok=" + tok, "< ERROR code=bad-value", "IMPORT tx=" + tx + " tok=1 lease=60", "< ERROR code=bad-value",
			import1 + ` kick=a\r\nb`, "< ERROR code=bad-value", import1 + " kick=", "< IMPORTING tx=" + tx, import1, "< ERROR code=state", "IMPORT tx=" + tok + " tok=" + tok + " lease=60", "< ERROR code=busy",
			"COMMIT tx=" + tx, "< ERROR code=state", "ABORT tx=" + tx, "< ABORTED", "COMMIT tx=" + tx, "< ERROR code=aborted"},
		"sum":    {hello, "< HELLO", import1, "< IMPORTING", "USER u=a nick=a", "PREPARE tx=" + tx + " records=1 sum=00000000", "< ERROR code=sum", "COMMIT tx=" + tx, "< ERROR code=aborted"},
		"count":  {hello, "< HELLO", import1, "< IMPORTING", "USER u=a nick=a", "PREPARE tx=" + tx + " records=2 sum=00000000", "< ERROR code=count"},
		"no sum": {hello, "< HELLO", import1, "< IMPORTING", "PREPARE tx=" + tx + " records=0 sum=0", "< ERROR code=bad-value"},
		"its u":  {hello, "< HELLO", import1, "< IMPORTING", "USER u=a", "LIST", "PREPARE tx=" + tx + " records=2 sum=00000000", "< ERROR code=bad-record tx=" + tx + " u=a"},
		"short lease": {hello, "< HELLO", "IMPORT tx=" + tx + " tok=" + tok + " lease=1", "< IMPORTING", "wait", "PREPARE tx=" + tx + " records=0 sum=00000000",
			"< ERROR code=aborted"},
		"standard's sum": {hello, "< HELLO", import1, "< IMPORTING", "CHAN n=#sea ts=1700000000 m.noextmsg", "USER u=i.1 nick=alice", "DATA u=i.1 k=x.a d=b", "MEMB u=i.1 c=#sea m=o",
			"PREPARE tx=" + tx + " records=3 sum=e6610e2e", "<~CONFLICT tx=" + tx + " u=i.1 code=bad-value k=ip", "< PREPARED", "ABORT tx=" + tx, "< ABORTED"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", strings.TrimPrefix(i.handoff(), "unix:"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(slack))
			r := bufio.NewReader(conn)
			for _, line := range dialog {
				switch want, ok := strings.CutPrefix(line, "< "); {
				case line == "<.":
					if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
						t.Fatalf("got %q, %v; want the end", rest, err)
					}
				case strings.HasPrefix(line, "<~"):
					for got := ""; !strings.HasPrefix(got, line[2:]); {
						if got, err = r.ReadString('\n'); err != nil {
							t.Fatalf("%v; want %q", err, line[2:])
						}
					}
				case line == "wait": // until the lease is over
					eventually(t, 5*time.Second, "the lease ends", func() bool {
						fmt.Fprintf(conn, "STATUS tx=%s\n", tx)
						answer, _ := r.ReadString('\n')
						return strings.Contains(answer, "dest=aborted")
					})
				case ok:
					if got, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(got, want) {
						t.Fatalf("got %q, %v; want %q", got, err, want)
					}
				default:
					_, _ = io.WriteString(conn, line+"\n")
				}
			}
			_, _ = io.WriteString(conn, "ABORT tx="+tx+"\n")
			_, _ = r.ReadString('\n')
		})
	}
	for _, records := range []string{
		"USER nick=a", "USER u=a", "USER u=" + strings.Repeat("a", 33) + " nick=a", "USER u=a nick=a signon=soon", "USER u=a nick=a\nUSER u=a nick=b",
		"USER u=a nick=a rq=x", "USER u=a nick=a out=1", "CHAN ts=1", "CHAN n=#a ts=1\nCHAN n=#a ts=1", "LIST c=#a m=ban mask=x", "CHAN n=#a\nMEMB u=a c=#a",
		"USER u=a nick=a\nMEMB u=a c=#a", "DATA u=a k=x.a d=1", "USER u=a nick=a\nDATA u=b k=x.a d=1", "USER u=a nick=a\nDATA u=a k=u d=1",
		"USER u=a nick=a m.x\nDATA u=a k=m.x d=1", "USER u=a nick=a\nDATA u=a d=1",
		"USER u=a nick=a real=a\\r\\nb", "USER u=a nick=a ident=a\\sb", "USER u=a nick=a rhost=a\\sb",
		"USER u=a nick=a tls=a\\sb", "USER u=a nick=a certfp=ABC", "CHAN n=#a tby=:a", "CHAN n=#a m.key=a\\sb", "CHAN n=#a topic=a\\0b",
	} {
		t.Run(records, func(t *testing.T) { refusesRecords(t, newHand(t, i), records) })
	}
	newHand(t, i).open("i.9", "ann", nil).ask("PING alive")
}

func refusesRecords(t *testing.T, h *hand, records string) {
	conn, err := net.Dial("unix", strings.TrimPrefix(h.ircd.handoff(), "unix:"))
	h.ok(err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(slack))
	tx := protocol.NewSecret()
	var tally protocol.Tally
	for line := range strings.SplitAfterSeq(records+"\n", "\n") {
		if line != "" {
			verb, _, _ := strings.Cut(line, " ")
			tally.Add(verb, []byte(line))
		}
	}
	fmt.Fprintf(conn, "HELLO v=1 role=coordinator\nIMPORT tx=%s tok=%s lease=9\n%s\nPREPARE tx=%s records=%d sum=%08x\nSTATUS tx=%s\n",
		tx, tx, records, tx, tally.Records, tally.Sum, tx)
	r := bufio.NewReader(conn)
	for _, want := range []string{"HELLO", "IMPORTING", "ERROR code=bad-record tx=" + tx, "STATUS tx=" + tx + " source=unknown dest=aborted"} {
		if got, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(got, want) {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
}

// refusesStreams: first lines that make no user.
func refusesStreams(t *testing.T, h *hand) {
	tx, tok := protocol.NewSecret(), protocol.NewSecret()
	h.ok(h.c.Import(t.Context(), tx, tok, time.Minute, ""))
	h.attach(tx, tok, "i.1")
	h.open("i.6", "six", nil)
	open := func(change func(*protocol.Open)) string {
		o := protocol.Open{SKey: h.hello.SKey, U: "i.7", Remote: netip.MustParseAddrPort("[2001:db8::7]:4000"), Local: netip.MustParseAddrPort("[::1]:6667")}
		change(&o)
		return string(protocol.AppendOpen(nil, o))
	}
	attach := func(change func(*protocol.Attach)) string {
		a := protocol.Attach{SKey: h.hello.SKey, Tx: tx, U: "i.7", Tok: tok}
		change(&a)
		return string(protocol.AppendAttach(nil, a))
	}
	for name, c := range map[string]struct {
		line string
		code protocol.Code
	}{
		"control verb":              {"EXPORT tx=" + tx + " freeze=100\n", protocol.CodeWrongConnection},
		"record":                    {"USER u=a nick=a\n", protocol.CodeWrongConnection},
		"IRC":                       {"NICK a\n", protocol.CodeUnknownVerb},
		"OPEN with a wrong skey":    {open(func(o *protocol.Open) { o.SKey = tok }), protocol.CodeDenied},
		"OPEN without skey":         {open(func(o *protocol.Open) { o.SKey = "" }), protocol.CodeDenied},
		"OPEN of a u that is there": {open(func(o *protocol.Open) { o.U = "i.6" }), protocol.CodeUInUse},
		"OPEN of what is no u":      {open(func(o *protocol.Open) { o.U = "i:6" }), protocol.CodeBadValue},
		"OPEN without an address":   {"OPEN k=" + h.hello.SKey + " u=a port=1 laddr=::1 lport=1\n", protocol.CodeBadValue},
		"OPEN with a path":          {"OPEN k=" + h.hello.SKey + " u=a addr=/tmp/x port=1 laddr=::1 lport=1\n", protocol.CodeBadValue},
		"OPEN with a certfp":        {open(func(o *protocol.Open) { o.CertFP = "AB" }), protocol.CodeBadValue}, // it is lower-case hex
		"OPEN with a cipher of two": {open(func(o *protocol.Open) { o.TLS = "TLSv1.3 AES" }), protocol.CodeBadValue},
		"ATTACH with a wrong skey":  {attach(func(a *protocol.Attach) { a.SKey = tok }), protocol.CodeDenied},
		"ATTACH with a wrong tok":   {attach(func(a *protocol.Attach) { a.Tok = h.hello.SKey }), protocol.CodeDenied},
		"ATTACH without tok":        {attach(func(a *protocol.Attach) { a.Tok = "" }), protocol.CodeDenied},
		"ATTACH to no transaction":  {attach(func(a *protocol.Attach) { a.Tx = tok }), protocol.CodeUnknownTx},
		"a second ATTACH":           {attach(func(a *protocol.Attach) { a.U = "i.1" }), protocol.CodeAttached},
		"bytes before LIVE":         {attach(func(*protocol.Attach) {}) + "NICK a\n", protocol.CodeBadLine},
		"a line over the limit":     {strings.Repeat("x", protocol.MaxFirstLine+1), protocol.CodeLineTooLong},
		"random bytes":              {"\x16\x03\x01\x02\x00\x01\n", protocol.CodeBadLine},
	} {
		t.Run(name, func(t *testing.T) {
			s := h.dial([]byte(c.line), "i.7")
			h.fails(s.answer("nothing"), c.code)
			if rest, err := io.ReadAll(s.r); err != nil || len(rest) > 0 {
				t.Errorf("got %q, %v; want the end", rest, err)
			}
		})
	}
}

// reserves: names of a prepared import are nobody's; noChannel is the numeric that says so of a channel.
func reserves(t *testing.T, h *hand, noChannel string) {
	t.Helper()
	ann := h.open("i.1", "ann", nil)
	ann.ask("JOIN #there")
	move := protocol.NewUser("i.7", "moved").Message
	move.Set("ip", "192.0.2.7")
	tx, p := h.prepare(protocol.NewChan("#new", 1700000000).Message, move)
	if len(p.Conflicts) != 0 {
		t.Fatalf("%+v", p.Conflicts)
	}
	if got := ann.ask("NICK moved"); !strings.Contains(got, " 433 ") {
		t.Errorf("a reserved nick was given:\n%s", got)
	}
	if got := ann.ask("JOIN #new"); !strings.Contains(got, noChannel) {
		t.Errorf("a reserved channel was made:\n%s", got)
	}
	h.ok(h.c.Abort(t.Context(), tx))
	ann.ask("NICK moved")
	if got := ann.ask("JOIN #new"); !strings.Contains(got, " 366 ") {
		t.Errorf("after ABORT:\n%s", got)
	}
}

// conflicts: behind reserves, one record of each kind that cannot be is told, with those of more that this ircd has besides.
func conflicts(t *testing.T, h *hand, badNick string, want map[string]int, more ...protocol.Message) {
	t.Helper()
	taken := protocol.NewUser("i.7", "moved").Message
	taken.Set("ip", "nowhere")
	bad := protocol.NewUser("i.8", badNick).Message
	bad.Set("ip", "::1")
	tx, p := h.prepare(append([]protocol.Message{protocol.NewChan("#there", 1).Message, protocol.NewChan("there", 1).Message, taken, bad}, more...)...)
	codes := map[string]int{}
	for _, n := range p.Conflicts {
		codes[n.Code]++
	}
	for _, code := range []string{"channel-exists", "channel-invalid", "nick-in-use", "bad-value", "nick-invalid"} {
		want[code]++
	}
	if fmt.Sprint(codes) != fmt.Sprint(want) {
		t.Errorf("conflicts %v, want %v", codes, want)
	}
	_, err := h.c.Commit(t.Context(), tx)
	h.fails(err, protocol.CodeConflict)
	h.ok(h.c.Abort(t.Context(), tx))
}

// bannedMeanwhile: a ban that came while somebody was away is told at PREPARE, and is an ordinary quit where it came after that. Its
// answer is what the client gets then.
func bannedMeanwhile(t *testing.T, h *hand, s *rawStream, ban, unban func()) string {
	t.Helper()
	tx, _, records := h.export(s)
	h.ok(h.c.Release(t.Context(), tx, ""))
	ban()
	tx, p := h.prepare(records...)
	if len(p.Conflicts) != 1 || p.Conflicts[0].Code != "banned" {
		t.Errorf("conflicts %+v, want one: banned", p.Conflicts)
	}
	h.ok(h.c.Abort(t.Context(), tx))
	unban()
	tx, p = h.prepare(records...)
	if len(p.Conflicts) != 0 {
		t.Errorf("%+v", p.Conflicts)
	}
	ban()
	s = h.attach(tx, tx, s.u)
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	h.ok(s.answer(protocol.VerbLive))
	return s.await("ERROR :")
}

// notes are codes and channels of what PREPARE told.
func notes(p protocol.Prepared) (told []string) {
	for _, n := range append(p.Conflicts, p.Warns...) {
		told = append(told, n.Code+" "+n.C)
	}
	return told
}

// kickedOf is that nick was kicked of the channels by the server, and saw nothing else of what took their place.
func kickedOf(t *testing.T, nick, saw, server string, channels ...string) {
	t.Helper()
	for _, name := range channels {
		if !strings.Contains(saw, ":"+server+" KICK "+name+" "+nick+" :"+kick+"\r\n") {
			t.Errorf("%s is not kicked of %s:\n%s", nick, name, saw)
		}
	}
	for _, never := range []string{" MODE ", " JOIN ", " ann", " PART ", "#older", "#same"} {
		if strings.Contains(saw, never) {
			t.Errorf("%s sees %q in:\n%s", nick, never, saw)
		}
	}
}
