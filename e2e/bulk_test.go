//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// visitor is a kind of client: what it speaks and shows.
type visitor struct {
	name   string
	by     func(t *testing.T, v *visit)
	server string // of the names of the listener: which certificate it gets
	suite  string // as show session says it
	cert   bool   // it shows one of its own
	args   []string
	retry  bool // it guesses a group that we do not have: HelloRetryRequest
}

// The clients that there are in the world, each by both versions, with and without a certificate; together they speak all suites.
var visitors = []visitor{
	{"openssl", byOpenSSL, "irc.test", "TLSv1.3/TLS_AES_128_GCM_SHA256", false, []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256", "-record_padding", "777"}, false},
	{"openssl", byOpenSSL, "rsa.test", "TLSv1.3/TLS_CHACHA20_POLY1305_SHA256", true,
		[]string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", "-groups", "X448:P-521"}, true},
	{"openssl", byOpenSSL, "irc.test", "TLSv1.2/ECDHE-ECDSA-AES256-GCM-SHA384", false, []string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"}, false},
	{"openssl", byOpenSSL, "rsa.test", "TLSv1.2/ECDHE-RSA-CHACHA20-POLY1305", true, []string{"-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305", "-max_send_frag", "512"}, false},
	{"gnutls", byGnuTLS, "rsa.test", "TLSv1.3/TLS_AES_256_GCM_SHA384", false,
		[]string{"NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM:-GROUP-ALL:+GROUP-X448:+GROUP-SECP384R1", "--single-key-share"}, true},
	{"gnutls", byGnuTLS, "irc.test", "TLSv1.3/TLS_AES_128_GCM_SHA256", true, []string{"NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM"}, false},
	{"gnutls", byGnuTLS, "irc.test", "TLSv1.2/ECDHE-ECDSA-AES128-GCM-SHA256", false, []string{"NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-GCM"}, false},
	{"gnutls", byGnuTLS, "rsa.test", "TLSv1.2/ECDHE-RSA-AES256-GCM-SHA384", true, []string{"NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-GCM"}, false},
	{"go", byGo, "rsa.test", "TLSv1.3/TLS_AES_128_GCM_SHA256", false, nil, false},
	{"go", byGo, "irc.test", "TLSv1.3/TLS_AES_128_GCM_SHA256", true, nil, false},
	{"go", byGo, "irc.test", "TLSv1.2/ECDHE-ECDSA-CHACHA20-POLY1305", false, nil, false},
	{"go", byGo, "rsa.test", "TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256", true, nil, false},
}

// visit is one connection of a visitor.
type visit struct {
	*visitor
	nick    string
	b       *bulkIRCd
	f       *ferry
	s       *secured
	dir     string // of all its visits
	resumes bool
	pair    *certtest.Pair
	got     *arrival
	cache   tls.ClientSessionCache
}

// TestTLSClientsSendAndReceive: other implementations of TLS send 20 MB and receive 20 MB at the same time, in full and resumed sessions, and
// change keys in between.
func TestTLSClientsSendAndReceive(t *testing.T) {
	t.Parallel() // many of the others wait most of the time
	b, s := newBulkIRCd(t, nil), newSecured(t)
	f, measure := startMeasured(t, s.text, relay(b.port, ""))
	backendUp(t, measure)
	begin, visits := time.Now(), atomic.Int32{}
	t.Run("clients", func(t *testing.T) {
		for i := range visitors {
			r := &visitors[i]
			t.Run(fmt.Sprintf("%s %s %s cert=%t", r.name, r.suite, r.server, r.cert), func(t *testing.T) {
				t.Parallel()
				v := visit{visitor: r, b: b, f: f, s: s, dir: shortDir(t), cache: tls.NewLRUClientSessionCache(0)}
				if r.cert {
					v.pair = certtest.SelfSigned(t, certtest.Options{CN: "client", RSA: i%4 == 1})
				}
				for _, v.resumes = range []bool{false, true} {
					v.nick = fmt.Sprintf("v%d%.1t", i, v.resumes)
					v.got = newArrival(append(fmt.Appendf(nil, bulkWelcome, v.nick), b.down...))
					v.by(t, &v)
					visits.Add(1)
				}
			})
		}
	})
	t.Logf("%d visits of %d MB each way in %.1f s", visits.Load(), bulkSize/1_000_000, time.Since(begin).Seconds())
	if t.Failed() {
		return
	}
	eventually(t, 10*time.Second, "all sessions are over", func() bool {
		return measure().of("sessions_ended_total", "reason", "client_closed") >= float64(visits.Load())
	})
	m := measure()
	if m["ircferry_arena_slots"] != 0 || m["ircferry_arena_chunks"] != 0 {
		t.Errorf("%v slots and %v chunks are left", m["ircferry_arena_slots"], m["ircferry_arena_chunks"])
	}
	for series, n := range m {
		if strings.Contains(series, `"null_connection"`) {
			continue // ours, when we wait for a port to answer
		}
		if n != 0 && (strings.HasPrefix(series, "ircferry_sessions_ended_total") && !strings.Contains(series, "client_closed") ||
			strings.HasPrefix(series, "ircferry_tls_records_refused_total")) {
			t.Errorf("%s is %v", series, n)
		}
	}
	if n := m.of("tls_handshakes_total", "outcome", "resumed"); n != float64(visits.Load()/2) {
		t.Errorf("%v resumed handshakes, want %d", n, visits.Load()/2)
	}
}

// known fails unless the daemon shows a session with the suite and the certificate of this one.
func (v *visit) known(t *testing.T) {
	t.Helper()
	want := ""
	if v.pair != nil {
		want = v.pair.Fingerprint()
	}
	all := v.f.sessions()
	if !slices.Contains(all, secureSession{v.suite, want}) {
		t.Errorf("no session with %s and certificate %q among %v", v.suite, want, all)
	}
}

// TestTLSOnBothSides: the same over a backend with TLS, by both versions.
func TestTLSOnBothSides(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := newSecured(t)
			server := s.root.Issue(t, certtest.Options{Names: []string{"ircd.test"}})
			b := newBulkIRCd(t, &tls.Config{Certificates: []tls.Certificate{server.Cert}, MinVersion: version, MaxVersion: version})
			f, measure := startMeasured(t, s.text, relay(b.port, fmt.Sprintf(", tls: {ca: %q, server_name: ircd.test}", s.ca)))
			backendUp(t, measure)
			for i := range visitors {
				if r := &visitors[i]; r.name == "go" && !r.cert {
					v := visit{visitor: r, b: b, f: f, s: s, nick: fmt.Sprintf("v%d", i), cache: tls.NewLRUClientSessionCache(0)}
					v.got = newArrival(append(fmt.Appendf(nil, bulkWelcome, v.nick), b.down...))
					v.by(t, &v)
				}
			}
			eventually(t, 10*time.Second, "nothing stays", func() bool { m := measure(); return m["ircferry_arena_slots"] == 0 && m["ircferry_arena_chunks"] == 0 })
		})
	}
}

func backendUp(t *testing.T, measure func() metrics) {
	t.Helper()
	eventually(t, 10*time.Second, "the backend is up", func() bool { return measure()[`ircferry_backend_up{backend="c",pool="main"}`] == 1 })
}
