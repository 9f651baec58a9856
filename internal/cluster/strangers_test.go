package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// Whoever is not of the cluster is kept out of the gossip, by packet and by stream, and that is counted and logged with its reason.
func TestStrangersOfTheGossip(t *testing.T) {
	for _, c := range []struct {
		name   string
		why    Reason
		change func(r *rig, k *config.Cluster)
		allow  string
	}{
		{"another key", RefusedKey, func(r *rig, k *config.Cluster) { writeKeys(r.t, k.KeyFile, text(9)) }, ""},
		{"another label", RefusedLabel, func(r *rig, k *config.Cluster) { k.Label = "other" }, ""},
		{"another network", RefusedNetwork, func(*rig, *config.Cluster) {}, "192.0.2.0/24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			k := r.config("a")
			if c.allow != "" {
				k.Allow = []netip.Prefix{netip.MustParsePrefix(c.allow)}
			}
			a := r.start(k)
			k = r.config("b", a)
			c.change(r, &k)
			b := r.start(k)
			await(t, "the stranger's stream is refused", func() bool { return a.Refused()[c.why] > 0 })
			before := a.Refused()[c.why]
			if _, err := b.list.Ping("a", mustUDP(t, a.ours)); err == nil {
				t.Error("a answers a stranger's packet")
			}
			await(t, "the stranger's packet is refused", func() bool { return a.Refused()[c.why] > before })
			if !strings.Contains(a.text.String(), "not let into the cluster") || !strings.Contains(a.text.String(), "reason="+string(c.why)) {
				t.Error("it is not logged")
			}
			if _, ok := a.members.get("b"); ok {
				t.Error("a knows the stranger")
			}
			if _, ok := b.members.get("a"); ok {
				t.Error("the stranger knows a")
			}
			if got := b.Wanted().Missing; len(got) != 1 || got[0] != a.ours.String() {
				t.Errorf("the stranger misses %v", got)
			}
		})
	}
}

func mustUDP(t *testing.T, a netip.AddrPort) net.Addr {
	t.Helper()
	return net.UDPAddrFromAddrPort(a)
}

// Whoever says nothing that is gossip is kept out, too.
func TestNoiseAtTheGossip(t *testing.T) {
	r := newRig(t)
	a := r.start(r.config("a"))
	for _, network := range []string{"udp", "tcp"} {
		conn, err := net.Dial(network, a.ours.String())
		if err != nil {
			t.Fatal(err)
		}
		before := a.Refused()
		if _, err := conn.Write([]byte("NICK mallory\r\nUSER m 0 * :m\r\n")); err != nil {
			t.Fatal(err)
		}
		await(t, network+" noise is refused", func() bool { return a.Refused()[RefusedLabel] > before[RefusedLabel] })
		conn.Close()
	}
}

// With a key and no certificate, or that of another, nobody asks anything; nor with a certificate and no key.
func TestStrangersOfTheRPC(t *testing.T) {
	r := newRig(t)
	a := r.start(r.config("a"))
	r.start(r.config("b", a))
	a.knows("b", Alive)
	of := func(name string, by *certtest.Pair) *tls.Certificate {
		return &by.Issue(t, certtest.Options{Names: []string{name}}).Cert
	}
	foreign := certtest.NewAuthority(t, "foreign")
	for _, c := range []struct {
		name  string
		cert  *tls.Certificate // nil: none
		as    string
		label string
		why   Reason
	}{
		{"no certificate", nil, "b", "test", RefusedCertificate},
		{"a certificate of another authority", of("b", foreign), "b", "test", RefusedCertificate},
		{"a certificate of another name", of("c", r.ca), "b", "test", RefusedName},
		{"a certificate of no member", of("c", r.ca), "c", "test", RefusedMember},
		{"as this proxy itself", of("a", r.ca), "a", "test", RefusedName},
		{"without a name", of("b", r.ca), "", "test", RefusedName},
		{"of another cluster", of("b", r.ca), "b", "other", RefusedLabel},
		{"a member", of("b", r.ca), "b", "test", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := a.Refused()
			status, err := knock(t, a, r.ca.Roots(), c.cert, c.as, c.label)
			if c.why == "" {
				if err != nil || status != http.StatusOK {
					t.Errorf("a member is answered %d, %v", status, err)
				}
				return
			}
			if err == nil && status != http.StatusForbidden {
				t.Errorf("answered %d", status)
			}
			await(t, "it is counted as "+string(c.why), func() bool { return a.Refused()[c.why] > before[c.why] })
			if !strings.Contains(a.text.String(), "reason="+string(c.why)) {
				t.Error("it is not logged")
			}
		})
	}
}

// knock asks a's RPC as somebody.
func knock(t *testing.T, a *member, roots *x509.CertPool, cert *tls.Certificate, as, label string) (status int, err error) {
	t.Helper()
	conf := &tls.Config{RootCAs: roots, ServerName: "a"}
	if cert != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+a.rpcAddr.String()+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set(headerMember, as)
	q.Header.Set(headerLabel, label)
	answer, err := (&http.Client{Transport: transport}).Do(q)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// A server that has a certificate of the authority with another name is not taken for the member, and is asked nothing.
func TestAMemberThatIsAnother(t *testing.T) {
	r := newRig(t)
	a := r.start(r.config("a"))
	b := r.start(r.config("b", a))
	a.knows("b", Alive)
	other := r.ca.Issue(t, certtest.Options{Names: []string{"c"}})
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{other.Cert}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			asked <- err
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		_, err = conn.Read(make([]byte, 1))
		asked <- err
	}()
	a.members.mu.Lock()
	a.members.all["b"].RPC = l.Addr().String()
	a.members.mu.Unlock()
	if err := a.Ask(t.Context(), "b", "/x", nil, nil); err == nil || !strings.Contains(err.Error(), "certificate is valid for c, not b") {
		t.Errorf("a asks %v", err)
	}
	if err := <-asked; err == nil {
		t.Error("the other one was told something")
	}
	_ = b
}

// A question is bounded, and so are those who say nothing.
func TestQuestionsAreBounded(t *testing.T) {
	r := newRig(t)
	a := r.start(r.config("a"))
	b := r.start(r.config("b", a))
	a.knows("b", Alive)
	b.knows("a", Alive)
	err := b.Ask(t.Context(), "a", "/x", strings.Repeat("x", maxQuestion), nil)
	if err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("a question of more than %d bytes: %v", maxQuestion, err)
	}
	for range maxConns + 1 {
		conn, err := net.Dial("tcp", a.rpcAddr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	await(t, "the connection that is too many is refused", func() bool { return a.Refused()[RefusedMany] > 0 })
}
