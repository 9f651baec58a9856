//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// native is an ircd in a process of its own that speaks HANDOFF/1.
type native interface{ handoff() string }

// hand speaks HANDOFF/1 to an ircd by hand, as a coordinator "i".
type hand struct {
	t     *testing.T
	ircd  native
	c     *protocol.Control
	hello protocol.Hello
}

func newHand(t *testing.T, i native) *hand {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), slack)
	defer cancel()
	c, err := protocol.Dial(ctx, i.handoff())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	h := &hand{t: t, ircd: i, c: c}
	if h.hello, err = c.Hello(ctx, protocol.Hello{Name: "i"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hand) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hand) fails(err error, code protocol.Code) {
	h.t.Helper()
	if !protocol.HasCode(err, code) {
		h.t.Errorf("got %v, want %s", err, code)
	}
}

// rawStream is a stream whose bytes are counted on both sides of its first lines.
type rawStream struct {
	net.Conn
	t       *testing.T
	u       string
	r       *bufio.Reader
	in, out uint64 // bytes of IRC, written to the ircd and read from it
}

func (h *hand) dial(first []byte, u string) *rawStream {
	h.t.Helper()
	conn, err := net.DialTimeout("tcp", h.hello.Stream, slack)
	h.ok(err)
	h.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(slack))
	_, err = conn.Write(first)
	h.ok(err)
	return &rawStream{Conn: conn, t: h.t, u: u, r: bufio.NewReader(conn)}
}

// answer reads the ircd's line.
func (s *rawStream) answer(verb string) error {
	_ = s.SetReadDeadline(time.Now().Add(slack))
	line, err := s.r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return protocol.ParseStreamAnswer(bytes.TrimSuffix(line, []byte("\n")), verb, s.u)
}

func (s *rawStream) send(text string) {
	s.t.Helper()
	_ = s.SetWriteDeadline(time.Now().Add(slack))
	if _, err := io.WriteString(s.Conn, text); err != nil {
		s.t.Fatal(err)
	}
	s.in += uint64(len(text))
}

// await reads up to a line that contains the text, and answers all that was read; it answers PING.
func (s *rawStream) await(text string) string {
	s.t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(slack))
	var all strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		s.out += uint64(len(line))
		all.WriteString(line)
		if err != nil {
			s.t.Fatalf("%s waits for %q: %v after\n%s", s.u, text, err, all.String())
		}
		if token, ok := strings.CutPrefix(line, "PING "); ok {
			s.send("PONG " + token)
		}
		if strings.Contains(line, text) {
			return all.String()
		}
	}
}

func (s *rawStream) ask(line string) string {
	s.t.Helper()
	s.send(line + "\r\nPING fence\r\n")
	return s.await("fence")
}

// open brings a client in and registers it.
func (h *hand) open(u, nick string, change func(*protocol.Open)) *rawStream {
	h.t.Helper()
	o := protocol.Open{SKey: h.hello.SKey, U: u, Remote: netip.MustParseAddrPort("198.51.100.7:4000"), Local: netip.MustParseAddrPort("192.0.2.1:6667")}
	if change != nil {
		change(&o)
	}
	s := h.dial(protocol.AppendOpen(nil, o), u)
	h.ok(s.answer(protocol.VerbOpened))
	s.send("NICK " + nick + "\r\nUSER " + nick + " 0 * :" + nick + "\r\n")
	s.await(" 001 ")
	s.ask("PING x")
	return s
}

func (h *hand) attach(tx, tok, u string) *rawStream {
	h.t.Helper()
	s := h.dial(protocol.AppendAttach(nil, protocol.Attach{SKey: h.hello.SKey, Tx: tx, U: u, Tok: tok}), u)
	h.ok(s.answer(protocol.VerbAttached))
	return s
}

// prepare imports records up to PREPARED.
func (h *hand) prepare(records ...protocol.Message) (tx string, p protocol.Prepared) {
	h.t.Helper()
	tx = protocol.NewSecret()
	h.ok(h.c.Import(h.t.Context(), tx, tx, time.Minute))
	for _, r := range records {
		h.ok(h.c.Record(h.t.Context(), r))
	}
	p, err := h.c.Prepare(h.t.Context(), tx)
	h.ok(err)
	return tx, p
}

func (h *hand) export(streams ...*rawStream) (tx string, users map[string]protocol.User, records []protocol.Message) {
	h.t.Helper()
	tx, users = protocol.NewSecret(), map[string]protocol.User{}
	req := protocol.ExportRequest{Tx: tx, Freeze: 5 * time.Second}
	for _, s := range streams {
		req.Select = append(req.Select, protocol.Selection{U: s.u, In: s.in})
	}
	_, err := h.c.Export(h.t.Context(), req, func(m protocol.Message) error {
		if m.Verb == protocol.VerbUser {
			users[m.Get("u")] = protocol.User{Message: m}
			m = protocol.User{Message: m}.Strip().Message
		}
		records = append(records, m)
		return nil
	})
	h.ok(err)
	return tx, users, records
}

// TestInspIRCdCutIsExact: what the record tells of a stream is what went through it, to the byte, again and again, with input that
// fakelag has not let run and output that nobody has read.
func TestInspIRCdCutIsExact(t *testing.T) {
	h := newHand(t, startInspIRCd(t, "a"))
	ann := h.open("i.1", "ann", func(o *protocol.Open) { o.Remote = netip.MustParseAddrPort("127.0.8.1:4000") }) // the class with fakelag
	ben := h.open("i.2", "ben", nil)
	ann.ask("JOIN #sea")
	ben.ask("JOIN #sea")
	ann.await(" JOIN ")
	said := 0
	for range 3 {
		const flood = 15
		for range flood {
			ann.send(fmt.Sprintf("PRIVMSG #sea :line %d\r\n", said))
			said++
		}
		ann.send("PRIVMSG #sea :half a")
		tx, users, records := h.export(ann, ben)
		var rq [2][]byte
		for i, s := range []*rawStream{ann, ben} {
			in, out, err := users[s.u].Cut()
			h.ok(err)
			queue, sq := users[s.u].Queues()
			rq[i] = queue
			if in != s.in {
				t.Errorf("%s: in is %d, %d bytes were written", s.u, in, s.in)
			}
			for s.out < out { // the rest is there, and nothing behind it
				n, err := io.CopyN(io.Discard, s.r, int64(out-s.out))
				s.out += uint64(n)
				h.ok(err)
			}
			if len(sq) > 0 {
				t.Logf("%s: %d bytes of output wait", s.u, len(sq))
			}
		}
		if !bytes.HasSuffix(rq[0], []byte("PRIVMSG #sea :half a")) || len(rq[1]) != 0 {
			t.Errorf("waiting input is %q and %q", rq[0], rq[1])
		}
		h.ok(h.c.Release(t.Context(), tx, ""))
		for _, s := range []*rawStream{ann, ben} {
			if n, _ := io.Copy(io.Discard, s.r); n != 0 {
				t.Errorf("%s: %d bytes behind out", s.u, n)
			}
		}
		tx2, p := h.prepare(records...)
		if len(p.Conflicts)+len(p.Warns) != 0 {
			t.Errorf("%+v", p)
		}
		ann, ben = h.attach(tx2, tx2, "i.1"), h.attach(tx2, tx2, "i.2")
		if n, err := h.c.Commit(t.Context(), tx2); err != nil || n != 2 {
			t.Fatal(n, err)
		}
		h.ok(ann.answer(protocol.VerbLive))
		h.ok(ben.answer(protocol.VerbLive))
		ann.send(string(rq[0]) + " line\r\n")
		ben.await("half a line")
	}
}

// TestInspIRCdFreezeEnds: the world goes on when the freeze is over, when the coordinator says so, and when it is gone.
func TestInspIRCdFreezeEnds(t *testing.T) { freezeEnds(t, startInspIRCd(t, "a")) }

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

// TestInspIRCdIsSilent: somebody who stays sees nothing of who is taken out and put in again, be it an operator with all server notices,
// who watches the one that moves and shares a channel with it.
func TestInspIRCdIsSilent(t *testing.T) {
	h := newHand(t, startInspIRCd(t, "a"))
	eye, ann := h.open("i.1", "eye", nil), h.open("i.2", "ann", nil)
	eye.ask("OPER root rootpw")
	for _, line := range []string{"MODE eye +s +cCqQkKaAoOnNtTxXlLjJ", "MONITOR + ann", "WATCH +ann", "JOIN #sea"} {
		eye.ask(line)
	}
	for _, line := range []string{"JOIN #sea", "JOIN #alone", "OPER helper helperpw", "MODE ann +xi", "AWAY :gone", "MODE ann +g"} {
		ann.ask(line)
	}
	eye.ask("PING all")
	tx, _, records := h.export(ann)
	h.ok(h.c.Release(t.Context(), tx, ""))
	check := func(when string) {
		t.Helper()
		if got := eye.ask("PING now"); len(strings.Split(strings.TrimSpace(got), "\n")) != 2 {
			t.Errorf("%s was seen:\n%s", when, got)
		}
	}
	check("RELEASE")
	tx2, p := h.prepare(records...)
	if len(p.Conflicts) != 0 {
		t.Fatalf("%+v", p.Conflicts)
	}
	ann = h.attach(tx2, tx2, "i.2")
	check("PREPARE")
	_, err := h.c.Commit(t.Context(), tx2)
	h.ok(err)
	h.ok(ann.answer(protocol.VerbLive))
	if got := ann.ask("PING now"); len(strings.Split(strings.TrimSpace(got), "\n")) != 2 {
		t.Errorf("who was moved saw:\n%s", got)
	}
	check("COMMIT")
	ann.send("PRIVMSG #sea :here again\r\n")
	eye.await(" PRIVMSG #sea :here again")
	if got := eye.ask("NAMES #sea"); !strings.Contains(got, "ann") {
		t.Errorf("not on the channel:\n%s", got)
	}
}

// TestInspIRCdGivesNoRights: a record makes nobody what this ircd's own configuration does not know, and a user without rights in
// the record has none, whatever the core's constructor thinks.
func TestInspIRCdGivesNoRights(t *testing.T) {
	h := newHand(t, startInspIRCd(t, "a"))
	user := func(u, nick string, more ...string) protocol.Message {
		m := protocol.NewUser(u, nick)
		for i, pairs := 0, append([]string{"ip", "192.0.2.7", "rhost", "host.example", "ident", "id", "real", "Real", "class", "users", "signon", "1700000000"}, more...); i < len(pairs); i += 2 {
			m.Set(pairs[i], pairs[i+1])
		}
		return m.Message
	}
	plain := user("i.1", "plain", "account", "acc")
	fake := user("i.2", "fake", "oper", "NoSuchType", "snomask", "c")
	fake.SetBare("m.hideoper")
	real := user("i.3", "real", "oper", "NetAdmin", "x.inspircd.operblock", "root")
	lesser := user("i.4", "lesser", "oper", "Helper", "x.inspircd.operblock", "root") // the block of another type
	odd := user("i.5", "odd", "x.other.thing", "1", "class", "users")
	odd.SetBare("m.nosuchmode")
	odd.SetBare("x.inspircd.mode.oper")
	odd.SetBare("x.inspircd.mode.servprotect")
	tx, p := h.prepare(plain, fake, real, lesser, odd)
	codes := map[string]int{}
	for _, n := range p.Warns {
		codes[n.U+" "+n.Code]++
	}
	want := map[string]int{"i.2 unknown-oper": 1, "i.4 changed": 1, "i.5 unknown-key": 1, "i.5 unknown-mode": 3}
	if fmt.Sprint(codes) != fmt.Sprint(want) || len(p.Conflicts) != 0 {
		t.Errorf("PREPARE told %v and %+v, want %v", codes, p.Conflicts, want)
	}
	s := map[string]*rawStream{}
	for _, u := range []string{"i.1", "i.2", "i.3", "i.4", "i.5"} {
		_, err := h.c.Commit(t.Context(), tx)
		h.fails(err, protocol.CodeNotAttached)
		s[u] = h.attach(tx, tx, u)
	}
	_, err := h.c.Commit(t.Context(), tx)
	h.ok(err)
	for _, stream := range s {
		h.ok(stream.answer(protocol.VerbLive))
	}
	for _, c := range []struct{ u, send, want string }{
		{"i.1", "MODE plain", " 221 plain :+\r\n"}, {"i.1", "KILL real :x", " 481 "}, {"i.1", "WHOIS plain", " 330 plain plain acc "},
		{"i.2", "MODE fake", " 221 fake :+\r\n"}, {"i.2", "KILL real :x", " 481 "}, {"i.2", "MODE fake +s c", " 481 "},
		{"i.3", "KILL nobody :x", " 401 "}, {"i.3", "SAMODE #none +m", " 403 "}, {"i.3", "WHOIS fake", " 318 "},
		{"i.4", "KILL nobody :x", " 401 "}, {"i.4", "SAMODE #none +m", " 481 "},
		{"i.5", "MODE odd", " 221 odd :+\r\n"}, {"i.5", "KILL real :x", " 481 "}, {"i.5", "OPER root wrong", " 491 "},
	} {
		if got := s[c.u].ask(c.send); !strings.Contains(got, c.want) {
			t.Errorf("%s> %s brought\n%swant %q", c.u, c.send, got, c.want)
		}
	}
	if got := s["i.3"].ask("WHOIS fake"); strings.Contains(got, " 313 ") {
		t.Errorf("fake is an operator:\n%s", got)
	}
}

// TestInspIRCdReserves: names of a prepared import are nobody's, and conflicts are told.
func TestInspIRCdReserves(t *testing.T) {
	h := newHand(t, startInspIRCd(t, "a"))
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
	if got := ann.ask("JOIN #new"); !strings.Contains(got, " 437 ") {
		t.Errorf("a reserved channel was made:\n%s", got)
	}
	h.ok(h.c.Abort(t.Context(), tx))
	ann.ask("NICK moved")
	if got := ann.ask("JOIN #new"); !strings.Contains(got, " 366 ") {
		t.Errorf("after ABORT:\n%s", got)
	}
	move.Set("ip", "nowhere")
	bad := protocol.NewUser("i.8", "9bad").Message
	bad.Set("ip", "::1")
	tx, p = h.prepare(protocol.NewChan("#there", 1).Message, protocol.NewChan("there", 1).Message, move, bad)
	codes := map[string]int{}
	for _, n := range p.Conflicts {
		codes[n.Code]++
	}
	want := map[string]int{"channel-exists": 1, "channel-invalid": 1, "nick-in-use": 1, "bad-value": 1, "nick-invalid": 1}
	if fmt.Sprint(codes) != fmt.Sprint(want) {
		t.Errorf("conflicts %v, want %v", codes, want)
	}
	_, err := h.c.Commit(t.Context(), tx)
	h.fails(err, protocol.CodeConflict)
	h.ok(h.c.Abort(t.Context(), tx))
}

// TestInspIRCdRefuses is HANDOFF.md's "What must be refused", on one process, which must live on.
func TestInspIRCdRefuses(t *testing.T) {
	i := startInspIRCd(t, "a")
	refuses(t, i)
	for _, records := range []string{"USER u=a nick=a x.inspircd.ext.swhois=a\\nb", "CHAN n=#a ts=9223372036854775808", "USER u=a nick=a signon=9999999999999999999"} {
		refusesRecords(t, newHand(t, i), records)
	}
}

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
			import1, "< IMPORTING tx=" + tx, import1, "< ERROR code=state", "IMPORT tx=" + tok + " tok=" + tok + " lease=60", "< ERROR code=busy",
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

// TestInspIRCdRefusesStreams: first lines that make no user.
func TestInspIRCdRefusesStreams(t *testing.T) { refusesStreams(t, newHand(t, startInspIRCd(t, "a"))) }

func refusesStreams(t *testing.T, h *hand) {
	tx, tok := protocol.NewSecret(), protocol.NewSecret()
	h.ok(h.c.Import(t.Context(), tx, tok, time.Minute))
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
