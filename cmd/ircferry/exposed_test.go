package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/ircclient"
	"github.com/ircferry/ircferry/internal/ircd"
)

// exposed starts an embedded ircd with control over TCP in plaintext, where who binds the port would hear what is said.
func exposed(t *testing.T, address, pass string) (where string, stop func()) {
	t.Helper()
	srv, err := ircd.New(ircd.Config{Name: "irc.test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	h, err := srv.StartHandoff(ircd.HandoffConfig{Control: "tcp:" + address, Pass: pass})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	return h.Address(), func() { srv.Close() }
}

func TestSecretOverPlainTCPIsProven(t *testing.T) {
	a, stop := exposed(t, "127.0.0.1:0", "sesame")
	b, _ := exposed(t, "127.0.0.1:0", "sesame")
	handoffs := map[string]string{"a": a, "b": b}
	secret := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mellon\n")
	found := backend.Probe(t.Context(), withSecret(testConfig(t, handoffs), secret))
	if len(found) != 2 || found[0].Severity != config.SeverityError || !strings.Contains(found[0].Text, "the secret in "+secret+" is not that of its configuration") {
		t.Errorf("check says %v", found)
	}
	found = backend.Probe(t.Context(), testConfig(t, handoffs))
	if len(found) != 2 || found[0].Severity != config.SeverityError {
		t.Errorf("check without a secret says %v", found)
	}
	write("sesame\n")
	for _, f := range backend.Probe(t.Context(), withSecret(testConfig(t, handoffs), secret)) {
		if f.Severity != config.SeverityOK {
			t.Errorf("check says %v", f)
		}
	}
	d := startTestDaemon(t, withSecret(testConfig(t, handoffs), secret))
	alice := ircclient.TestUser(t, d.address(t), "alice")
	if r := drain(t, d, "a", "b"); r.State != handoff.StateDone || r.Moved != 1 {
		t.Errorf("%+v", r)
	}
	alice.Ask("PING there")

	// a ends, and somebody else takes its port: he is told no secret, and not believed, whatever he says.
	stop()
	l, err := net.Listen("tcp", strings.TrimPrefix(a, "tcp:"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var lie atomic.Value
	said := make(chan string, 1000)
	lie.Store("ERROR code=denied\n")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				n, _ := conn.Read(buf)
				said <- string(buf[:n])
				io.WriteString(conn, lie.Load().(string))
			}()
		}
	}()
	for _, text := range []string{"ERROR code=denied\n", "HELLO v=1 software=x version=1 name=irc.test epoch=x stream=127.0.0.1:1 skey=00 feat=open\n",
		"CHALLENGE nonce=00112233445566778899aabbccddeeff proof=00\n"} {
		lie.Store(text)
		at, _ := d.backends.Backend("main/a")
		if _, _, err := at.DialControl(t.Context(), "test"); err == nil {
			t.Errorf("%q is believed", text)
		}
		if got := <-said; strings.Contains(got, "sesame") {
			t.Errorf("the impostor was told %q", got)
		}
	}
}

func TestTCPWithoutASecretIsWarnedOf(t *testing.T) {
	a, _ := exposed(t, "127.0.0.1:0", "")
	found := backend.Probe(t.Context(), testConfig(t, map[string]string{"a": a}))
	if len(found) != 2 || found[0].Severity != config.SeverityWarning || !strings.Contains(found[0].Text, "is believed without a secret") {
		t.Errorf("check says %v", found)
	}
}
