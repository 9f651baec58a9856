package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// withTLS gives the daemon of a file a second listener, with the certificate in dir/irc.pem, and reloads it.
func (f *fileDaemon) withTLS(dir string, first *certtest.Pair) {
	f.t.Helper()
	cert, key := first.Write(f.t, dir, "irc")
	f.change("per_ip_rate: 0}}]", fmt.Sprintf(`per_ip_rate: 0}}, {name: ircs, address: "127.0.0.2:0", pool: main,
  tls: {certs: [{cert: %q, key: %q}]}}]`, cert, key))
	f.must("listeners", "")
}

// certificate is what the API shows of the only one.
func (f *fileDaemon) certificate() admin.Certificate {
	f.t.Helper()
	all := pictures{f.daemon}.Certificates()
	if len(all) != 1 {
		f.t.Fatalf("%d certificates", len(all))
	}
	return all[0]
}

// awaitEvent answers the first event of the certificates behind the number seq.
func (f *fileDaemon) awaitEvent(seq uint64) admin.Event {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	var found admin.Event
	stop := errors.New("found")
	err := f.events.Follow(ctx, seq, true, func(e admin.Event) error {
		if e.Kind != admin.EventCert {
			return nil
		}
		found = e
		return stop
	})
	if !errors.Is(err, stop) {
		f.t.Fatalf("no event of a certificate: %v", err)
	}
	return found
}

func TestCertificatesAreReloaded(t *testing.T) {
	t.Parallel() // most of it is waiting for the next look
	f, dir := newFileDaemon(t), t.TempDir()
	first, second, third := certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{}), certtest.SelfSigned(t, certtest.Options{})
	f.withTLS(dir, first)
	if c := f.certificate(); c.Fingerprint != first.Fingerprint() || c.Listener != "ircs" || !c.Default || c.Names[0] != "irc.test" {
		t.Errorf("got %+v", c)
	}
	second.Write(t, dir, "irc")
	f.must("certificates", "")
	e := f.awaitEvent(0)
	if e.Word != "reloaded" || e.Object != filepath.Join(dir, "irc.pem") || !strings.HasPrefix(e.Text, "listener ircs: valid until") {
		t.Errorf("event %+v", e)
	}
	if got := f.certificate().Fingerprint; got != second.Fingerprint() {
		t.Errorf("the certificate is not the second: %s", got)
	}

	// A broken one refuses the whole reload, and is told at once.
	if err := os.WriteFile(filepath.Join(dir, "irc.key"), third.KeyPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	f.change("park: 5m", "park: 6m")
	if _, err := f.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "listener ircs: certificate ") || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("reload: %v", err)
	}
	if f.limits().Park != 5*time.Minute {
		t.Error("a refused reload changed something")
	}
	e = f.awaitEvent(e.Seq)
	if c := f.certificate(); e.Word != "broken" || c.Broken == "" || c.BrokenSince == nil || c.Fingerprint != second.Fingerprint() {
		t.Errorf("event %+v, certificate %+v", e, c)
	}

	// Its other half comes, and nobody asks for a reload.
	third.Write(t, dir, "irc")
	if e = f.awaitEvent(e.Seq); e.Word != "reloaded" {
		t.Errorf("event %+v", e)
	}
	if c := f.certificate(); c.Broken != "" || c.BrokenSince != nil || c.Fingerprint != third.Fingerprint() {
		t.Errorf("got %+v", c)
	}
	f.must("moves", "")
}

// A reload that fails after the certificates were read leaves those in use that were.
func TestAFailedReloadLeavesTheCertificates(t *testing.T) {
	f := newFileDaemon(t)
	f.withTLS(t.TempDir(), certtest.SelfSigned(t, certtest.Options{}))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	f.change("name: ircs, address: \"127.0.0.2:0\"", fmt.Sprintf("name: other, address: %q", taken.Addr()))
	if _, err := f.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "listener other: ") {
		t.Errorf("reload: %v", err)
	}
	if c := f.certificate(); c.Listener != "ircs" {
		t.Errorf("got %+v", c)
	}
}

func TestAStartWithABrokenCertificateIsRefused(t *testing.T) {
	dir := t.TempDir()
	cert, key := certtest.SelfSigned(t, certtest.Options{}).Write(t, dir, "irc")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t, nil)
	cfg.Listeners[0].TLS = &config.ListenerTLS{Certs: []config.Cert{{Cert: cert, Key: key}}}
	if _, err := startDaemon(daemonOptions{config: &cfg, log: testLog(t)}); err == nil || !strings.Contains(err.Error(), "listener irc: read key: open "+key) {
		t.Errorf("got %v", err)
	}
}

func TestListenerTLS(t *testing.T) {
	f, dir := newFileDaemon(t), t.TempDir()
	cert, key := certtest.SelfSigned(t, certtest.Options{}).Write(t, dir, "irc")
	certs := []config.Cert{{Cert: cert, Key: key}}
	ls := []config.Listener{{Name: "plain"}, {Name: "a", TLS: &config.ListenerTLS{Certs: certs, MinVersion: config.TLS12, ClientCert: config.ClientCertRequest}},
		{Name: "b", TLS: &config.ListenerTLS{Certs: certs, MinVersion: config.TLS13, ClientCert: config.ClientCertNone}}}
	set, err := f.certs.Load(ls)
	if err != nil {
		t.Fatal(err)
	}
	got := listenerTLS(ls, set, f.tickets)
	if len(got) != 2 || got["a"] == nil || got["b"] == nil {
		t.Fatalf("got %v", got)
	}
	if got["a"].MinVersion != tls.VersionTLS12 || got["b"].MinVersion != tls.VersionTLS13 {
		t.Errorf("versions %x %x", got["a"].MinVersion, got["b"].MinVersion)
	}
	if got["a"].ClientAuth != tls.RequestClientCert || got["b"].ClientAuth != tls.NoClientCert {
		t.Errorf("certificates of clients %v %v", got["a"].ClientAuth, got["b"].ClientAuth)
	}
	if c, err := got["b"].GetCertificate(&tls.ClientHelloInfo{}); err != nil || c == nil {
		t.Errorf("certificate %v, %v", c, err)
	}
}

func TestCheckReadsCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := certtest.SelfSigned(t, certtest.Options{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}).Write(t, dir, "irc")
	text := fmt.Sprintf("listeners: [{name: ircs, address: ':0', pool: p, tls: {certs: [{cert: %q, key: %q}]}}]\n"+
		"pools: {p: {backends: [{name: a, handoff: 'unix:/x'}]}}\nstate: %s\nadmin: {socket: %s/s}\nhttp: {address: ''}\n", cert, key, dir, dir)
	path := filepath.Join(dir, "ircferry.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := check(t.Context(), &out, checking{path: path, strict: false, offline: true}); err != nil || !strings.Contains(out.String(), "warning: listeners[0].tls.certs[0]: "+cert+" has expired on") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := check(t.Context(), &out, checking{path: path, strict: false, offline: true}); err == nil || !strings.Contains(out.String(), "error: listeners[0].tls.certs[0]: read key: open") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
