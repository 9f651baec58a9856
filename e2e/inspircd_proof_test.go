//go:build e2e

package e2e

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// dialog is a connection on which the test says lines of HANDOFF/1 itself.
type dialog struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func newDialog(t *testing.T, network, address string) *dialog {
	t.Helper()
	conn, err := net.DialTimeout(network, address, slack)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(slack))
	return &dialog{t: t, conn: conn, r: bufio.NewReader(conn)}
}

func control(i native) *dialog {
	return newDialog(i.(*nativeInspIRCd).t, "unix", strings.TrimPrefix(i.handoff(), "unix:"))
}

// says sends a line and wants an answer that begins so; without one the end.
func (d *dialog) says(line, want string) string {
	d.t.Helper()
	_, _ = io.WriteString(d.conn, line+"\n")
	return d.hears(line, want)
}

func (d *dialog) hears(after, want string) string {
	d.t.Helper()
	got, err := d.r.ReadString('\n')
	if want == "" && err == io.EOF && got == "" {
		return ""
	}
	if err != nil || want == "" || !strings.HasPrefix(got, want) {
		d.t.Fatalf("%s: got %q, %v; want %q", after, got, err, want)
	}
	return strings.TrimSuffix(got, "\n")
}

// refused wants an ERROR, and the end.
func (d *dialog) refused(line string, code protocol.Code) {
	d.t.Helper()
	d.says(line, "ERROR code="+string(code))
	d.hears("ERROR", "")
}

func proof(secret, message string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(message))
	return hex.EncodeToString(mac.Sum(nil))
}

// TestInspIRCdProvesItself: streams whose ends prove that they know the secret, and do not tell it. Whoever has a wrong proof, or another one's, is
// denied, and who says the secret itself, as older coordinators do, comes in still.
func TestInspIRCdProvesItself(t *testing.T) { onBoth(t, inspIRCdProvesItself) }

func inspIRCdProvesItself(t *testing.T, v *inspVersion) {
	h := newHand(t, v.start(t, "a"))
	stream := func() *dialog { return newDialog(t, "tcp", h.hello.Stream) }
	const n = "0123456789abcdef0123456789abcdef"
	sign := func(said string) string { return proof(h.hello.SKey, "HANDOFF/1 "+said) }
	addr := " addr=192.0.2.7 port=4000 laddr=192.0.2.1 lport=6667"
	open := func(nonce, u, proof string) string {
		return "OPEN nonce=" + nonce + " proof=" + proof + " u=" + u + addr
	}
	for _, c := range []struct {
		line string
		code protocol.Code
	}{
		{open(n, "i.1", sign("OPEN "+n+" i.2")), protocol.CodeDenied},
		{open(n, "i.1", sign("OPENED "+n+" i.1")), protocol.CodeDenied},
		{open(n, "i.1", ""), protocol.CodeDenied},
		{open(n, "i.1", sign("OPEN "+n+" i.1")+"0"), protocol.CodeDenied},
		{open(n, "i.1", "") + " k=" + h.hello.SKey, protocol.CodeDenied},
		{open("ABC", "i.1", sign("OPEN ABC i.1")), protocol.CodeBadValue},
		{"OPEN proof=" + sign("OPEN  i.1") + " u=i.1" + addr, protocol.CodeBadValue},
	} {
		stream().refused(c.line, c.code)
	}
	s := stream()
	s.says(open(n, "i.1", sign("OPEN "+n+" i.1"))+"\nNICK ann\r\nUSER ann 0 * :ann\r", "OPENED u=i.1 proof="+sign("OPENED "+n+" i.1")+"\n")
	for got := ""; !strings.Contains(got, " 001 ann "); {
		got = s.hears("NICK", ":")
	}

	tx, tok := protocol.NewSecret(), protocol.NewSecret()
	attach := func(u, proof string) string { return "ATTACH nonce=" + n + " proof=" + proof + " tx=" + tx + " u=" + u }
	stream().refused(attach("i.7", "x"), protocol.CodeUnknownTx)
	h.ok(h.c.Import(t.Context(), tx, tok, time.Minute, ""))
	stream().refused(attach("i.7", sign("ATTACH "+n+" i.7 "+tx+" "+tx)), protocol.CodeDenied)
	stream().refused(attach("i.7", sign("ATTACH "+n+" i.8 "+tx+" "+tok)), protocol.CodeDenied)
	stream().refused(attach("i.7", "")+" tok="+tok+" k="+h.hello.SKey, protocol.CodeDenied)
	stream().says(attach("i.7", sign("ATTACH "+n+" i.7 "+tx+" "+tok)), "ATTACHED u=i.7 proof="+sign("ATTACHED "+n+" i.7 "+tx+" "+tok)+"\n")
	stream().says("ATTACH k="+h.hello.SKey+" tx="+tx+" u=i.8 tok="+tok, "ATTACHED u=i.8\n")
	h.ok(h.c.Abort(t.Context(), tx))
	stream().refused(attach("i.7", "x"), protocol.CodeAborted)
	if feat := strings.Join(h.hello.Feat, " "); !strings.Contains(feat, "proof missing quiet fence") {
		t.Errorf("feat is %q", feat)
	}
}

// TestInspIRCdProvesItsPass: a coordinator that does not tell the secret gets the ircd's proof, and gives its own; each is good for one try.
func TestInspIRCdProvesItsPass(t *testing.T) { onBoth(t, inspIRCdProvesItsPass) }

func inspIRCdProvesItsPass(t *testing.T, v *inspVersion) {
	a := v.new(t, "a")
	a.pass = "hush hush"
	writeFile(t, a.conf, readFile(a.conf)+`<handoff pass="hush hush">`+"\n")
	a.run()
	const cn, hello = "0123456789abcdef0123456789abcdef", "HELLO v=1 role=coordinator name=f3a9"
	challenge := func(d *dialog) (sn string) {
		answer := d.says(hello+" nonce="+cn, "CHALLENGE nonce=")
		sn = strings.Fields(strings.TrimPrefix(answer, "CHALLENGE nonce="))[0]
		if want := "CHALLENGE nonce=" + sn + " proof=" + proof(a.pass, "HANDOFF/1 CHALLENGE "+cn+" "+sn); answer != want || len(sn) != 32 {
			t.Errorf("got %q, want %q", answer, want)
		}
		return sn
	}
	answer := func(cn, sn, name string) string {
		return hello + " nonce=" + cn + " proof=" + proof(a.pass, "HANDOFF/1 HELLO "+cn+" "+sn+" "+name)
	}
	d := control(a)
	sn := challenge(d)
	d.says(answer(cn, sn, "f3a9"), "HELLO v=1 ")
	d.says(hello, "HELLO v=1 ") // who is known need not say it again
	d.says("PING t=1", "PONG t=1")
	d.refused(hello+" pass=wrong", protocol.CodeDenied)

	control(a).refused(answer(cn, sn, "f3a9"), protocol.CodeDenied) // of another connection
	control(a).refused(hello, protocol.CodeDenied)
	control(a).refused(hello+" nonce=1", protocol.CodeBadValue)
	control(a).says(hello+` pass=hush\shush`, "HELLO v=1 ")
	for _, wrong := range []func(sn string) string{
		func(sn string) string { return answer(cn, sn, "other") },
		func(sn string) string { return answer(sn, sn, "f3a9") },
		func(sn string) string { return answer(cn, cn, "f3a9") },
		func(sn string) string {
			return hello + " nonce=" + cn + " proof=" + proof(a.pass, "HANDOFF/1 CHALLENGE "+cn+" "+sn)
		},
		func(sn string) string { return hello + " nonce=" + cn + " proof=" },
	} {
		d := control(a)
		d.refused(wrong(challenge(d)), protocol.CodeDenied)
	}
	d = control(a)
	old := challenge(d)
	challenge(d)
	d.refused(answer(cn, old, "f3a9"), protocol.CodeDenied) // the second CHALLENGE counts
}

// TestInspIRCdMissingQuit: with missing=quit users without a stream are no fault: they quit as if their connection had just been lost, and others,
// who saw nothing of all else, see that.
func TestInspIRCdMissingQuit(t *testing.T) { onBoth(t, inspIRCdMissingQuit) }

func inspIRCdMissingQuit(t *testing.T, v *inspVersion) {
	a := v.start(t, "a")
	h := newHand(t, a)
	eye := h.open("i.1", "eye", nil)
	var s []*rawStream
	nicks := []string{"live", "never", "ended", "spoke"}
	for n, nick := range nicks {
		s = append(s, h.open(fmt.Sprint("i.", n+2), nick, nil))
		s[n].ask("JOIN #sea")
	}
	eye.ask("JOIN #sea")
	eye.ask("MONITOR + live,never,ended,spoke")
	tx, _, records := h.export(s...)
	h.ok(h.c.Release(t.Context(), tx, ""))
	tx, p := h.prepare(records...)
	if len(p.Conflicts)+len(p.Warns) != 1 { // #sea lives
		t.Errorf("%+v", p)
	}
	live, ended, spoke := h.attach(tx, tx, "i.2"), h.attach(tx, tx, "i.4"), h.attach(tx, tx, "i.5")
	_ = ended.Close()
	spoke.send("too early\r\n")
	if got, err := io.ReadAll(spoke.r); err != nil || !strings.HasPrefix(string(got), "ERROR code=bad-line") {
		t.Errorf("who spoke got %q, %v", got, err)
	}
	d := control(a)
	d.says("HELLO v=1 role=coordinator name=i", "HELLO ")
	d.says("COMMIT tx="+tx, "ERROR code=not-attached tx="+tx)
	const done = " users=1 missing=3"
	d.says("COMMIT tx="+tx+" missing=quit", "COMMITTED tx="+tx+done)
	d.says("COMMIT tx="+tx, "COMMITTED tx="+tx+done)
	d.says("COMMIT tx="+tx+" missing=quit", "COMMITTED tx="+tx+done)
	h.ok(live.answer(protocol.VerbLive))
	seen := eye.ask("PING now")
	for _, nick := range nicks[1:] {
		if strings.Count(seen, ":"+nick+"!") != 1 || !strings.Contains(seen, ":"+nick+"!"+nick+"@198.51.100.7 QUIT :") || !strings.Contains(seen, " 731 eye :"+nick) {
			t.Errorf("no QUIT of %s in\n%s", nick, seen)
		}
	}
	for _, never := range []string{"live", " JOIN ", " 730 ", " MODE "} {
		if strings.Contains(seen, never) {
			t.Errorf("%s in\n%s", never, seen)
		}
	}
	if got := live.ask("PING now"); strings.Count(got, " QUIT :") != 3 { // who moved sees who did not come along
		t.Errorf("live saw\n%s", got)
	}
	if got := live.ask("NAMES #sea"); strings.Contains(got, "never") || !strings.Contains(got, "eye") || !strings.Contains(got, "live") {
		t.Errorf("NAMES:\n%s", got)
	}
	if now, err := a.hello(); err != nil || now.Users != 2 {
		t.Errorf("%+v, %v", now, err)
	}

	// Without anybody missing it says so, and without missing=quit nothing.
	for commit, want := range map[string]string{" missing=quit": " users=1 missing=0\n", "": " users=1\n"} {
		tx, _, records = h.export(live)
		h.ok(h.c.Release(t.Context(), tx, ""))
		tx, _ = h.prepare(records...)
		live = h.attach(tx, tx, "i.2")
		_, _ = io.WriteString(d.conn, "COMMIT tx="+tx+commit+"\n")
		if got, err := d.r.ReadString('\n'); err != nil || got != "COMMITTED tx="+tx+want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
		h.ok(live.answer(protocol.VerbLive))
	}
}

// TestInspIRCdQuiet: with quiet no stream gets LIVE: all are live from that turn on but those whom MISSING names, also if it is asked again.
func TestInspIRCdQuiet(t *testing.T) { onBoth(t, inspIRCdQuiet) }

func inspIRCdQuiet(t *testing.T, v *inspVersion) {
	a := v.start(t, "a")
	h := newHand(t, a)
	d := control(a)
	d.says("HELLO v=1 role=coordinator name=i", "HELLO ")
	tx, p := h.prepare(imported("i.1", "live"), imported("i.2", "never"))
	if len(p.Conflicts)+len(p.Warns) != 0 {
		t.Errorf("%+v", p)
	}
	live := h.attach(tx, tx, "i.1")
	d.says("COMMIT tx="+tx+" quiet", "ERROR code=bad-value tx="+tx)
	for range 2 {
		d.says("COMMIT tx="+tx+" missing=quit quiet", "MISSING tx="+tx+" u=i.2")
		d.hears("MISSING", "COMMITTED tx="+tx+" users=1 missing=1")
	}
	d.says("COMMIT tx="+tx+" missing=quit", "COMMITTED tx="+tx+" users=1 missing=1")
	if got := live.ask("PING now"); strings.Contains(got, "LIVE") || !strings.HasPrefix(got, ":insp.example.org PONG insp.example.org :now\r\n") {
		t.Errorf("got %q", got)
	}
	_, users, _ := h.export(live)
	if in, out, err := users["i.1"].Cut(); err != nil || in != live.in || out != live.out {
		t.Errorf("the record counts %d in and %d out, it were %d and %d: %v", in, out, live.in, live.out, err)
	}
}

// TestInspIRCdFence: RESUME of a transaction that nobody has heard of is a fence against an EXPORT that comes late.
func TestInspIRCdFence(t *testing.T) { onBoth(t, inspIRCdFence) }

func inspIRCdFence(t *testing.T, v *inspVersion) {
	a := v.start(t, "a")
	d := control(a)
	tx, imported := protocol.NewSecret(), protocol.NewSecret()
	d.says("HELLO v=1 role=coordinator name=i", "HELLO ")
	d.says("STATUS tx="+tx, "STATUS tx="+tx+" source=unknown dest=unknown")
	d.says("RESUME tx="+tx, "RESUMED tx="+tx)
	d.says("STATUS tx="+tx, "STATUS tx="+tx+" source=resumed dest=unknown")
	d.says("EXPORT tx="+tx+" freeze=1000", "ERROR code=state tx="+tx)
	d.says("RELEASE tx="+tx, "ERROR code=resumed tx="+tx)
	d.says("RESUME tx="+tx, "RESUMED tx="+tx)
	d.says("IMPORT tx="+imported+" tok="+tx+" lease=60", "IMPORTING tx="+imported)
	d.says("RESUME tx="+imported, "RESUMED tx="+imported)
	d.says("STATUS tx="+imported, "STATUS tx="+imported+" source=resumed dest=staging")
	d.says("ABORT tx="+imported, "ABORTED tx="+imported)
	for range 70 { // it is one of those that are remembered, no more
		last := protocol.NewSecret()
		d.says("RESUME tx="+last, "RESUMED tx="+last)
	}
	d.says("STATUS tx="+tx, "STATUS tx="+tx+" source=unknown dest=unknown")
}
