package admin

import (
	"errors"
	"strings"
	"testing"
	"time"
)

type fakeCerts []Certificate

func (f fakeCerts) Certificates() []Certificate { return f }

// ends is a certificate that is valid for that long from now.
func ends(in time.Duration, names ...string) Certificate {
	now := time.Now()
	return Certificate{Listener: "ircs", Names: names, Issuer: "R11", Algorithm: "ECDSA P-256", NotBefore: now.Add(-90 * 24 * time.Hour),
		NotAfter: now.Add(in), Fingerprint: strings.Repeat("9f", 32), CertFile: "/etc/tls/" + names[0] + ".pem", KeyFile: "/etc/tls/secret.key", Loaded: now}
}

const days = 24 * time.Hour

func TestCertificates(t *testing.T) {
	broken := ends(20*days, "broken.test")
	since := time.Now()
	broken.Broken, broken.BrokenSince = "certificate /etc/tls/broken.test.pem with key /etc/tls/secret.key: private key does not match public key", &since
	future := ends(90*days, "future.test")
	future.NotBefore = time.Now().Add(days)
	certs := fakeCerts{ends(60*days+time.Hour, "irc.test", "a.test", "b.test", "c.test"), ends(5*days+time.Hour, "soon.test"), ends(-days, "<b>past.test"), broken, future}
	certs[0].Default = true
	r := newRig(t, func(o *Options) { o.Certs = certs })
	ShowCertificates(r.registry, certs)

	got, err := r.client.Certs(t.Context())
	if err != nil || len(got) != len(certs) || got[0].CertFile != "/etc/tls/irc.test.pem" || got[3].Broken != broken.Broken || !got[0].Default || got[1].Default {
		t.Errorf("got %+v, %v", got, err)
	}
	st, err := r.client.Status(t.Context())
	if err != nil || len(st.Certificates) != len(certs) {
		t.Errorf("got %+v, %v", st.Certificates, err)
	}
	text := strings.Join(st.Warnings, "\n")
	for _, want := range []string{
		"certificate of listener ircs (soon.test) expires in 5 days",
		"certificate of listener ircs (<b>past.test) has expired on",
		"certificate of listener ircs (broken.test): the files cannot be used, the one that was read before goes on: certificate /etc/tls",
		"certificate of listener ircs (future.test) is not valid before",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no warning %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "irc.test and") {
		t.Errorf("a warning of a good one in\n%s", text)
	}

	page := ask(t, Public{Status: r.server.Status, Gatherer: r.registry}, "GET", "/").body
	for _, want := range []string{"irc.test and 3 more", "in 60 days", `<span class="bad">in 5 days`, `<span class="bad">expired`, "cannot be used", "&lt;b&gt;past.test", `<span class="bad">not valid yet`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	metrics := ask(t, Public{Status: r.server.Status, Gatherer: r.registry}, "GET", "/metrics").body
	for _, want := range []string{
		`ircferry_certificate_expiry_seconds{file="/etc/tls/irc.test.pem",listener="ircs",names="irc.test and 3 more"} `,
		`ircferry_certificate_broken{file="/etc/tls/irc.test.pem",listener="ircs",names="irc.test and 3 more"} 0`,
		`ircferry_certificate_broken{file="/etc/tls/broken.test.pem",listener="ircs",names="broken.test"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestWithoutCertificates(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Certs = fakeCerts(nil) })
	if code, body := r.raw(t, "GET", "/v1/certs", ""); code != 200 || strings.TrimSpace(body) != "[]" {
		t.Errorf("got %d %s", code, body)
	}
	if page := ask(t, Public{Status: r.server.Status, Gatherer: r.registry}, "GET", "/").body; strings.Contains(page, "Certificates") {
		t.Error("the page has a table of none")
	}
	r = newRig(t)
	var e *Error
	if _, err := r.client.Certs(t.Context()); !errors.As(err, &e) || e.Code != CodeUnsupported {
		t.Errorf("got %v", err)
	}
}
