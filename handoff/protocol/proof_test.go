package protocol

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// The vectors of the standard, which others test their ircds by.
func TestProofsAreThoseOfTheStandard(t *testing.T) {
	text := standard(t)
	skey, nonce, tx, tok := "00112233445566778899aabbccddeeff", "0123456789abcdef0123456789abcdef", strings.Repeat("1f77", 8), strings.Repeat("ab42", 8)
	theirs := "fedcba9876543210fedcba9876543210"
	for verb, proof := range map[string]string{
		"OPEN":      proofOf(skey, "OPEN", nonce, "i.1"),
		"OPENED":    OpenedProof(Open{SKey: skey, Nonce: nonce, U: "i.1"}),
		"ATTACH":    proofOf(skey, "ATTACH", nonce, "i.1", tx, tok),
		"ATTACHED":  AttachedProof(Attach{SKey: skey, Nonce: nonce, U: "i.1", Tx: tx, Tok: tok}),
		"CHALLENGE": proofOf("hush", "CHALLENGE", nonce, theirs),
		"HELLO":     proofOf("hush", "HELLO", nonce, theirs, "f3a9"),
	} {
		if line := "    " + verb + strings.Repeat(" ", 9-min(9, len(verb))); !strings.Contains(text, line+proof) && !strings.Contains(text, "    "+verb+" "+proof) &&
			!strings.Contains(text, "    HELLO     "+proof) {
			t.Errorf("HANDOFF.md lacks %s %s", verb, proof)
		}
	}
}

func TestStreamsAreProvenAtBothEnds(t *testing.T) {
	r := newRig(t, Config{})
	o := Open{SKey: r.hello.SKey, Nonce: NewSecret(), U: "i.7", Remote: testRemote, Local: testLocal}
	line := string(AppendOpen(nil, o))
	if strings.Contains(line, r.hello.SKey) {
		t.Fatal("OPEN says the secret")
	}
	s := r.stream(line)
	noError(t, ParseStreamAnswer([]byte(s.line()), VerbOpened, "i.7", OpenedProof(o)))
	s.Write([]byte("NICK a\r\n"))
	if got := s.line(); got != "got:NICK a\r" {
		t.Errorf("the client is answered %q", got)
	}

	tx, tok := NewSecret(), NewSecret()
	noError(t, r.c.Import(t.Context(), tx, tok, time.Minute, ""))
	a := Attach{SKey: r.hello.SKey, Nonce: NewSecret(), U: "i.1", Tx: tx, Tok: tok}
	line = string(AppendAttach(nil, a))
	if strings.Contains(line, r.hello.SKey) || strings.Contains(line, tok) {
		t.Fatal("ATTACH says a secret")
	}
	noError(t, ParseStreamAnswer([]byte(r.stream(line).line()), VerbAttached, "i.1", AttachedProof(a)))
}

func TestStreamsWithAWrongProof(t *testing.T) {
	r := newRig(t, Config{})
	tx, tok := NewSecret(), NewSecret()
	noError(t, r.c.Import(t.Context(), tx, tok, time.Minute, ""))
	open := func(change func(*Open)) string {
		o := Open{SKey: r.hello.SKey, Nonce: NewSecret(), U: "i.7", Remote: testRemote, Local: testLocal}
		o.Proof = proofOf(o.SKey, VerbOpen, o.Nonce, o.U)
		change(&o)
		return string(AppendOpen(nil, o))
	}
	attach := func(change func(*Attach)) string {
		a := Attach{SKey: r.hello.SKey, Nonce: NewSecret(), Tx: tx, U: "i.7", Tok: tok}
		a.Proof = proofOf(a.SKey, VerbAttach, a.Nonce, a.U, a.Tx, a.Tok)
		change(&a)
		return string(AppendAttach(nil, a))
	}
	for name, c := range map[string]struct {
		line string
		code Code
	}{
		"OPEN of another u":       {open(func(o *Open) { o.U = "i.8" }), CodeDenied},
		"OPEN of another nonce":   {open(func(o *Open) { o.Nonce = NewSecret() }), CodeDenied},
		"OPEN with no nonce":      {open(func(o *Open) { o.Nonce = "short" }), CodeBadValue},
		"OPEN with ATTACH's":      {open(func(o *Open) { o.Proof = proofOf(o.SKey, VerbAttach, o.Nonce, o.U) }), CodeDenied},
		"OPEN with the answer":    {open(func(o *Open) { o.Proof = OpenedProof(*o) }), CodeDenied},
		"OPEN with half a proof":  {open(func(o *Open) { o.Proof = o.Proof[:32] }), CodeDenied},
		"OPEN with another key":   {open(func(o *Open) { o.Proof = proofOf(tok, VerbOpen, o.Nonce, o.U) }), CodeDenied},
		"OPEN with an empty one":  {strings.Replace(open(func(o *Open) { o.Proof = "x" }), "proof=x", "proof=", 1), CodeDenied},
		"ATTACH of another u":     {attach(func(a *Attach) { a.U = "i.8" }), CodeDenied},
		"ATTACH with another tok": {attach(func(a *Attach) { a.Proof = proofOf(a.SKey, VerbAttach, a.Nonce, a.U, a.Tx, tx) }), CodeDenied},
		"ATTACH with another key": {attach(func(a *Attach) { a.Proof = proofOf(tok, VerbAttach, a.Nonce, a.U, a.Tx, a.Tok) }), CodeDenied},
		"ATTACH of no tx":         {attach(func(a *Attach) { a.Tx = NewSecret() }), CodeUnknownTx},
	} {
		t.Run(name, func(t *testing.T) {
			s := r.stream(c.line)
			s.t = t
			wantCode(t, s.answer("nothing", "i.7"), c.code)
			s.ended()
		})
	}
}

// Who has bound the port of a dead ircd can say what he likes but the proof.
func TestAnswersWithoutTheProof(t *testing.T) {
	o := Open{SKey: NewSecret(), Nonce: NewSecret(), U: "i.7"}
	for _, line := range []string{"OPENED u=i.7", "OPENED u=i.7 proof=", "OPENED u=i.7 proof=" + proofOf(o.SKey, VerbOpen, o.Nonce, o.U),
		"OPENED u=i.7 proof=" + strings.ToUpper(OpenedProof(o)), "OPENED u=i.7 k=" + o.SKey} {
		if err := ParseStreamAnswer([]byte(line), VerbOpened, "i.7", OpenedProof(o)); !errors.Is(err, ErrUnproven) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// tcpControl serves a control connection over TCP.
func tcpControl(t *testing.T, serve func(net.Conn)) *Control {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		if conn, err := l.Accept(); err == nil {
			serve(conn)
		}
	}()
	c, err := Dial(t.Context(), "tcp:"+l.Addr().String())
	noError(t, err)
	t.Cleanup(func() { c.Close() })
	if !c.Exposed() {
		t.Error("TCP in plaintext is exposed")
	}
	return c
}

func TestPassIsProvenAndNotSaid(t *testing.T) {
	var said []string
	s := NewServer(newFakeIrcd(), Config{Pass: "hush", Intercept: func(d Direction, m *Message) Action {
		said = append(said, m.String())
		return Action{}
	}})
	t.Cleanup(s.Close)
	c := tcpControl(t, s.ServeControl)
	h, err := c.HelloProven(t.Context(), Hello{Name: "i", Pass: "hush"})
	noError(t, err)
	if !h.Can(FeatProof) || h.SKey == "" {
		t.Errorf("HELLO is %v", h)
	}
	if _, err = c.Hello(t.Context(), Hello{Name: "i", Pass: "hush"}); err != nil {
		t.Errorf("a second HELLO: %v", err)
	}
	for _, line := range said {
		if strings.Contains(line, "hush") {
			t.Errorf("the pass is in %s", line)
		}
	}
}

func TestProofOfPassIsDenied(t *testing.T) {
	s := NewServer(newFakeIrcd(), Config{Pass: "hush"})
	t.Cleanup(s.Close)
	if _, err := tcpControl(t, s.ServeControl).HelloProven(t.Context(), Hello{Name: "i", Pass: "other"}); !errors.Is(err, ErrImpostor) {
		t.Errorf("another pass: %v", err)
	}
	r := newRig(t, Config{Pass: "hush"})
	cn := NewSecret()
	for name, proof := range map[string]func(sn string) string{
		"wrong":          func(string) string { return "nonce=" + cn + " proof=" + NewSecret() },
		"empty":          func(string) string { return "nonce=" + cn + " proof=" },
		"the challenge":  func(sn string) string { return "nonce=" + cn + " proof=" + proofOf("hush", "CHALLENGE", cn, sn) },
		"another nonce":  func(sn string) string { return "nonce=" + sn + " proof=" + proofOf("hush", "HELLO", cn, sn, "i") },
		"another's name": func(sn string) string { return "nonce=" + cn + " proof=" + proofOf("hush", "HELLO", cn, sn, "j") },
	} {
		c := r.dial()
		m, err := c.ask(t.Context(), NewMessage("HELLO", "v", "1", "role", "coordinator", "name", "i", "nonce", cn), "CHALLENGE", "")
		noError(t, err)
		line, _ := Parse([]byte("HELLO v=1 role=coordinator name=i " + proof(m.Get("nonce"))))
		if _, err := c.ask(t.Context(), line, "HELLO", ""); !HasCode(err, CodeDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, _ := Parse([]byte("HELLO v=1 role=coordinator name=i nonce=" + cn + " proof=" + proofOf("hush", "HELLO", "", "", "i")))
	if _, err := r.dial().ask(t.Context(), m, "HELLO", ""); !HasCode(err, CodeDenied) {
		t.Errorf("a proof before any challenge: %v", err)
	}
}

// An ircd that is older than the proof is told apart, so that the operator can be warned.
func TestOlderIrcdsAreTold(t *testing.T) {
	for _, answer := range []string{"ERROR code=denied text=wrong\\spass\n", "HELLO v=1 software=old epoch=1\n"} {
		c := tcpControl(t, func(conn net.Conn) {
			defer conn.Close()
			newLineReader(conn).next()
			conn.Write([]byte(answer))
		})
		if _, err := c.HelloProven(t.Context(), Hello{Name: "i", Pass: "hush"}); !errors.Is(err, ErrOldIrcd) {
			t.Errorf("%q: %v", answer, err)
		}
	}
}
