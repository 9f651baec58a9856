package backend

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// secretPort is a control port over TCP in plaintext, of an ircd that has the secret: one that proves that it knows it, or an older one, which wants to
// be told.
type secretPort struct {
	mu    sync.Mutex
	old   bool
	pass  string
	heard []string
	open  atomic.Int64
}

func (p *secretPort) be(old bool, pass string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.old, p.pass, p.heard = old, pass, nil
}

// told reports whether the secret was said.
func (p *secretPort) told(pass string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(strings.Join(p.heard, "\n"), pass)
}

type unused struct{ protocol.Ircd }

func (unused) Hello(string) protocol.Hello { return goodHello("e") }

func (p *secretPort) serve(c net.Conn) {
	p.open.Add(1)
	defer p.open.Add(-1)
	p.mu.Lock()
	old, pass := p.old, p.pass
	p.mu.Unlock()
	if !old {
		s := protocol.NewServer(unused{}, protocol.Config{Pass: pass, Intercept: func(d protocol.Direction, m *protocol.Message) protocol.Action {
			p.note(m.String())
			return protocol.Action{}
		}})
		defer s.Close()
		s.ServeControl(c)
		return
	}
	for in := bufio.NewScanner(c); in.Scan(); {
		p.note(in.Text())
		m, err := protocol.Parse(in.Bytes())
		if err != nil || m.Get("pass") != pass {
			c.Write([]byte("ERROR code=denied\n"))
			continue // it leaves the end to the other side
		}
		c.Write(goodHello("e").Message().Append(nil))
	}
}

func (p *secretPort) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, line)
}

// The secret of a control port in plaintext is said to an ircd only that is too old to prove itself, and has never done so.
func TestSecretOfAControlPort(t *testing.T) {
	port := new(secretPort)
	addr := listen(t, "tcp", "127.0.0.1:0", port.serve)
	path := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(path, []byte("hush-hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := config.Backend{Name: "a", Handoff: "tcp:" + addr.String(), HandoffPassFile: path}
	pl, err := planOf(config.Pool{}, conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		old  bool
		pass string
		told bool
		err  string
	}{
		{"too old", true, "hush-hush", true, ""},
		{"too old, with another secret", true, "other", true, "the secret in " + path + " is not that of its configuration"},
		{"it proves another secret", false, "other", false, "the secret in " + path + " is not that of its configuration, or somebody else has its port"},
		{"it proves itself", false, "hush-hush", false, ""},
		{"somebody else has its port", true, "hush-hush", false, "and it did before: an older version was put in its place, or somebody else has its port"},
		{"it is back", false, "hush-hush", false, ""},
	} {
		port.be(c.old, c.pass)
		hi, _, err := pl.dialControl(t.Context(), network(), nil, "me")
		if text := errText(err); c.err == "" && err != nil || !strings.Contains(text, c.err) || strings.Contains(text, "hush-hush") {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
		if err != nil && !errors.Is(err, errHello) {
			t.Errorf("%s: %v does not say that somebody is there", c.name, err)
		}
		if err == nil {
			if hi.hello.Epoch != "e" {
				t.Errorf("%s: %+v", c.name, hi.hello)
			}
			hi.control.Close()
		}
		eventually(t, c.name+": no connection is left", func() bool { return port.open.Load() == 0 })
		if port.told("hush-hush") != c.told {
			t.Errorf("%s: the secret was said: %v", c.name, !c.told)
		}
	}

	conf.HandoffPassFile = ""
	port.be(true, "hush-hush")
	if pl, err = planOf(config.Pool{}, conf); err != nil {
		t.Fatal(err)
	}
	if _, _, err := pl.dialControl(t.Context(), network(), nil, "me"); err == nil || !strings.Contains(err.Error(), "it wants a secret; write the one of its configuration into a file") {
		t.Errorf("no secret: %v", err)
	}
}

// An ATTACH proves the secrets to an ircd that can be asked for its own proof, and says them to another.
func TestAttachIsProvenOrSaid(t *testing.T) {
	to := AttachTo{Tx: strings.Repeat("ab", 16), SKey: "stream-secret", Tok: "transaction-secret"}
	line, proof := to.Line("me.1")
	if text := string(line); proof != "" || !strings.Contains(text, " u=me.1") || !strings.Contains(text, "stream-secret") || !strings.Contains(text, "transaction-secret") {
		t.Errorf("said: %q, and a proof %q is wanted", text, proof)
	}
	to.Proof = true
	line, proof = to.Line("me.1")
	if text := string(line); strings.Contains(text, "secret") || !strings.Contains(text, " u=me.1") {
		t.Errorf("proven: %q", text)
	}
	m, err := protocol.Parse(bytes.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if want := protocol.AttachedProof(protocol.Attach{SKey: to.SKey, Tx: to.Tx, U: "me.1", Tok: to.Tok, Nonce: m.Get("nonce")}); proof != want {
		t.Errorf("the answer is to prove itself by %q, want %q", proof, want)
	}
	if again, other := to.Line("me.1"); other == proof || string(again) == string(line) {
		t.Error("the same nonce twice")
	}
}

// Only over TCP in plaintext could the secret be heard by who has bound the port.
func TestWhereASecretIsExposed(t *testing.T) {
	for _, c := range []struct {
		pl   plan
		want bool
	}{
		{plan{network: "tcp", password: "pw"}, true},
		{plan{network: "tcp"}, false},
		{plan{network: "tcp", password: "pw", tls: new(tls.Config)}, false},
		{plan{network: "unix", password: "pw"}, false},
	} {
		if c.pl.exposed() != c.want {
			t.Errorf("%+v", c.pl)
		}
	}
}

// An ircd that ends when it is asked in the new way is asked in the old way on another connection, which may be refused.
func TestOldIrcdThatIsGoneWhenItIsAskedAgain(t *testing.T) {
	way, dials := network(), 0
	dial := way.dial
	way.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, refused()
		}
		return dial(ctx, network, address)
	}
	port := new(secretPort)
	port.be(true, "hush-hush")
	pl := plan{conf: config.Backend{Handoff: "tcp:x"}, network: "tcp", password: "hush-hush", proven: new(atomic.Bool)}
	pl.literal = listen(t, "tcp", "127.0.0.1:0", port.serve).(*net.TCPAddr).AddrPort()
	if _, _, err := pl.dialControl(t.Context(), way, nil, "me"); !errors.Is(err, syscall.ECONNREFUSED) || dials != 2 {
		t.Errorf("%v after %d dials", err, dials)
	}
	eventually(t, "no connection is left", func() bool { return port.open.Load() == 0 })
}

// A control port that should have TLS and has none, and one without TLS that ends: each is told, and the connection is given back.
func TestControlPortThatHasNoTLS(t *testing.T) {
	cert, key := certtest.SelfSigned(t, certtest.Options{}).Write(t, t.TempDir(), "ferry")
	ended := make(chan struct{})
	addr := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		defer close(ended)
		io.WriteString(c, "ERROR code=bad-line\n")
		io.Copy(io.Discard, c)
	})
	pl, err := planOf(config.Pool{}, config.Backend{Handoff: "tcp:" + addr.String(), TLS: &config.BackendTLS{Cert: cert, Key: key}})
	if err != nil {
		t.Fatal(err)
	}
	hi, _, err := pl.dialControl(t.Context(), network(), nil, "me")
	if hi.control != nil || ReasonOf(err) != ReasonTLS || !strings.Contains(errText(err), "there is no TLS; name its TLS port, or leave tls out") || errors.Is(err, errHello) {
		t.Errorf("%v", err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the connection is left open")
	}
	if err := (plan{}).explain(io.EOF); err != io.EOF {
		t.Errorf("explained: %v", err)
	}
}

// Of an ircd that answers at several addresses one conversation is kept, and the others are ended.
func TestOneConversationOfSeveralIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n, slow, quick := newWorld(), &names{}, newIrcd("slow"), newIrcd("quick")
		n.set("::1", "127.0.0.1")
		slow.setMute(true)
		w.set(six, slow.accept)
		w.set(four, quick.accept)
		pl := plan{conf: config.Backend{Handoff: "tcp:irc.example:6667"}, network: "tcp", host: "irc.example", port: "6667", proven: new(atomic.Bool)}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		hi, f, err := pl.dialControl(ctx, reach{dial: w.dial, resolve: n.resolve}, nil, "me")
		if err != nil || hi.hello.Epoch != "quick" || f.at.String() != four {
			t.Fatalf("%+v at %v, %v", hi.hello, f.at, err)
		}
		after(time.Minute)
		if n := slow.ended.Load(); n != 1 {
			t.Errorf("%d conversations of the slow one have ended", n)
		}
		if n := quick.ended.Load(); n != 0 {
			t.Errorf("%d conversations of the one that is used have ended", n)
		}
		hi.control.Close()
		settle()
	})
}

// A conversation over which an ircd makes no sense any more is ended, before another one is begun and behind each that fails.
func TestConversationThatMakesNoSenseIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(), newIrcd("e1")
		w.set("/a", d.accept)
		s := w.newSet(t, "", one(natives("a")))
		after(time.Second)
		d.mu.Lock()
		d.hello.Stream = "nowhere"
		d.mu.Unlock()
		after(time.Minute)
		if n := w.dialled("/a"); n < 3 || d.ended.Load() != int64(n) || get(t, s, "a").Oper() != Down {
			t.Errorf("%d conversations, %d have ended; it is %s", n, d.ended.Load(), get(t, s, "a").Oper())
		}
	})
}
