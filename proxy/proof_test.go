package proxy

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// newProving is a native that says in its HELLO that it proves itself.
func newProving(t testing.TB, name string) *native {
	t.Helper()
	n := &native{ircd: newIRCd(t), name: name, control: filepath.Join(t.TempDir(), name)}
	l, err := net.Listen("unix", n.control)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for lines := bufio.NewScanner(c); lines.Scan(); {
					fmt.Fprintf(c, "HELLO v=1 software=fake version=1 name=irc.%s sid=1 epoch=%s users=0 unmovable=0 channels=0 links=0 stream=%s skey=%s"+
						" caps= isupport= maxusers=0 maxline=65536 feat=open\\sexport\\simport\\sproof\n", n.name, n.name, n.addr(), skey)
				}
			}()
		}
	}()
	return n
}

// proofs reads an OPEN or ATTACH line and checks what it says; right is the answer's proof.
func proofs(t *testing.T, line, tx, tok string) (u, right string) {
	t.Helper()
	u = field(line, "u")
	nonce := field(line, "nonce")
	if strings.Contains(line, skey) || tok != "" && strings.Contains(line, tok) {
		t.Fatalf("a secret is said: %q", line)
	}
	if tx == "" {
		return u, protocol.OpenedProof(protocol.Open{SKey: skey, Nonce: nonce, U: u})
	}
	return u, protocol.AttachedProof(protocol.Attach{SKey: skey, Nonce: nonce, U: u, Tx: tx, Tok: tok})
}

// Whoever has the port of an ircd that is gone is told neither its secret nor anything of the client.
func TestNothingIsSentBeforeTheProof(t *testing.T) {
	a := newProving(t, "a")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config()}, listener: config.Listener{}})
	r.up("main/a")
	client := r.dial()
	client.send("PASS secret\r\nNICK ann\r\n")
	for _, lie := range []string{"OPENED u=%s", "OPENED u=%s proof=00", "OPENED u=%s proof="} {
		impostor := a.next()
		u, _ := proofs(t, impostor.expectLine("OPEN nonce="), "", "")
		impostor.expectNothingYet()
		impostor.send(fmt.Sprintf(lie, u) + "\n")
		impostor.expectEnd()
	}
	server := a.next()
	u, right := proofs(t, server.expectLine("OPEN nonce="), "", "")
	server.expectNothingYet()
	server.send("OPENED u=" + u + " proof=" + right + "\n")
	server.expect("PASS secret\r\nNICK ann\r\n")
}

func TestAttachedStreamsAreProven(t *testing.T) {
	a, b := newProving(t, "a"), newProving(t, "b")
	r := newRig(t, rigOptions{backends: []config.Backend{a.config(), b.config()}, listener: config.Listener{}})
	r.up("main/a")
	r.up("main/b")
	client := r.dial()
	client.send("NICK ann\r\n")
	server := a.next()
	u, right := proofs(t, server.expectLine("OPEN nonce="), "", "")
	server.send("OPENED u=" + u + " proof=" + right + "\n:irc 001 ann :hi\r\n")
	client.expect(":irc 001 ann :hi\r\n")
	server.expect("NICK ann\r\n")

	tx, tok := protocol.NewSecret(), protocol.NewSecret()
	to := backend.AttachTo{Backend: "main/b", Stream: netip.MustParseAddrPort(b.addr()), SKey: skey, Proof: true, Tx: tx, Tok: tok}
	for _, honest := range []bool{false, true} {
		done := make(chan []backend.Moved, 1)
		go func() { done <- r.Attach(ctxOf(t), []string{u}, to) }()
		stream := b.next()
		_, right := proofs(t, stream.expectLine("ATTACH nonce="), tx, tok)
		want := backend.CauseAttach
		if honest {
			stream.send("ATTACHED u=" + u + " proof=" + right + "\n")
			want = ""
		} else {
			stream.send("ATTACHED u=" + u + "\n")
		}
		one(t, <-done, want)
	}
}

// The kernel's word on whether an ircd still holds its streams, without a byte read.
func TestStreamsAreEvidence(t *testing.T) {
	r, a, b := moves(t, config.Listener{})
	x, y := r.user(a, "ann"), r.user(a, "bob")
	ask := func(next bool) backend.Streams { return r.Streams(ctxOf(t), []string{x.u, y.u, "nobody"}, next) }
	if got := ask(false); got != (backend.Streams{Open: 2}) {
		t.Errorf("both live: %+v", got)
	}
	if got := r.Streams(ctxOf(t), []string{y.u}, false); got != (backend.Streams{Open: 1}) {
		t.Errorf("of one of them: %+v", got)
	}
	if _, err := r.Freeze(ctxOf(t), "main/a"); err != nil {
		t.Fatal(err)
	}
	x.server.send(":b PRIVMSG ann :unread\r\n")
	x.server.Close()
	r.eventually("one has ended", func() bool { return ask(false) == backend.Streams{Ended: 1, Open: 1} })
	y.server.reset()
	r.eventually("both have ended", func() bool { return ask(false) == backend.Streams{Ended: 2} })

	to := backend.AttachTo{Backend: "main/b", Stream: netip.MustParseAddrPort(b.addr()), SKey: skey, Tx: protocol.NewSecret(), Tok: protocol.NewSecret()}
	done := make(chan []backend.Moved, 1)
	go func() { done <- r.Attach(ctxOf(t), []string{x.u}, to) }()
	stream, _ := b.attached()
	one(t, <-done, "")
	if got := ask(true); got != (backend.Streams{Open: 1}) {
		t.Errorf("attached: %+v", got)
	}
	stream.Close()
	r.eventually("the attached one has ended", func() bool { return ask(true) == backend.Streams{Ended: 1} })
}
