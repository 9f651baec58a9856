//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// secured is a second listener of the daemon, ircs, with TLS: an ECDSA certificate for irc.test, which is the default, and an RSA one for
// rsa.test, both of one authority.
type secured struct {
	root *certtest.Pair
	ca   string // file of the authority
	port int
	text string // for the configuration, as startFerry takes it
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	dir := shortDir(t)
	s := &secured{root: certtest.NewAuthority(t, "test root"), port: freePort(t)}
	s.ca, _ = s.root.Write(t, dir, "ca")
	certs := ""
	for _, o := range []certtest.Options{{Names: []string{"irc.test", "127.0.0.1", "localhost"}}, {Names: []string{"rsa.test"}, RSA: true}} {
		cert, key := s.root.Issue(t, o).Write(t, dir, o.Names[0])
		certs += fmt.Sprintf("{cert: %q, key: %q}, ", cert, key)
	}
	s.text = fmt.Sprintf(`  - name: ircs
    address: "127.0.0.1:%d"
    pool: main
    limits: {connections: 1000, per_ip: 0, per_ip_rate: 0, registration: 20s}
    tls: {certs: [%s]}`, s.port, strings.TrimSuffix(certs, ", "))
	return s
}

func (s *secured) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// config is that of a client that trusts the authority.
func (s *secured) config(more ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: s.root.Roots(), ServerName: "irc.test", Certificates: more}
}

// login registers a client over TLS.
func (s *secured) login(t *testing.T, nick string, more ...tls.Certificate) *irc {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr(), s.config(more...))
	if err != nil {
		t.Fatalf("dial over TLS: %v", err)
	}
	c := &irc{t: t, conn: conn}
	t.Cleanup(func() { _ = conn.Close() })
	go c.read()
	c.register(nick)
	return c
}

// startMeasured is startFerry with metrics; measure asks for them.
func startMeasured(t *testing.T, listener string, backends ...string) (f *ferry, measure func() metrics) {
	t.Helper()
	return startMeasuredWith(t, func(config string) string { return config }, listener, backends...)
}

// startMeasuredWith is startMeasured with a configuration that was changed.
func startMeasuredWith(t *testing.T, change func(string) string, listener string, backends ...string) (f *ferry, measure func() metrics) {
	t.Helper()
	f = newFerry(t, listener, backends...)
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	f.writeConfig(change(strings.Replace(readFile(f.configFile()), `http: {address: ""}`, fmt.Sprintf("http: {address: %q}", address), 1)))
	f.run(nil)
	return f, func() metrics { t.Helper(); return metricsAt(t, address) }
}

// metricsAt asks a daemon's http address.
func metricsAt(t *testing.T, address string) metrics {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return readMetrics(t, res.Body)
}

// secureSession is what the daemon shows of a session.
type secureSession struct{ TLS, CertFP string }

func (f *ferry) sessions() []secureSession {
	f.t.Helper()
	out, _ := f.ctl("-o", "json", "show", "sessions")
	var page struct{ Sessions []secureSession }
	if err := json.Unmarshal([]byte(out), &page); err != nil {
		f.t.Fatalf("show sessions: %v in %q", err, out)
	}
	return page.Sessions
}

// hasSecure fails unless that many sessions use TLS and have shown a certificate.
func (f *ferry) hasSecure(want int) {
	f.t.Helper()
	all, n := f.sessions(), 0
	for _, s := range all {
		if s.TLS != "" && s.CertFP != "" {
			n++
		}
	}
	if n != want {
		f.t.Errorf("%d of %v use TLS with a certificate, want %d", n, all, want)
	}
}

// metrics are the values of all series, by name and labels as they are written.
type metrics map[string]float64

func readMetrics(t *testing.T, r io.Reader) metrics {
	t.Helper()
	m := metrics{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		series, value, ok := cutLast(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil && series[0] != '#' {
			m[series] = n
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return m
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// of is a series of the listener ircs with one more label.
func (m metrics) of(name, label, value string) float64 {
	labels := fmt.Sprintf(`listener="ircs",%s="%s"`, label, value)
	if label < "listener" {
		labels = fmt.Sprintf(`%s="%s",listener="ircs"`, label, value)
	}
	return m["ircferry_"+name+"{"+labels+"}"]
}

// writeCert is certificate and key of a client in one file and in two.
func writeCert(t *testing.T, dir string, p *certtest.Pair) (both, cert, key string) {
	t.Helper()
	cert, key = p.Write(t, dir, "client")
	both = filepath.Join(dir, "client.both")
	writeFile(t, both, readFile(cert)+readFile(key))
	return both, cert, key
}
