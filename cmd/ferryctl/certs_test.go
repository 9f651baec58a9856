package main

import (
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// certificates are a good one, a broken one that ends soon, and one that has ended.
func certificates() []admin.Certificate {
	now := time.Now()
	c := func(listener string, end time.Time, names ...string) admin.Certificate {
		return admin.Certificate{Listener: listener, Names: names, Issuer: "R11", Algorithm: "ECDSA P-256", NotBefore: now.Add(-90 * 24 * time.Hour), NotAfter: end,
			Fingerprint: strings.Repeat("9f", 32), CertFile: "/etc/ircferry/tls/" + names[0] + ".pem", KeyFile: "/etc/ircferry/tls/" + names[0] + ".key", Loaded: now}
	}
	all := []admin.Certificate{c("ircs", now.Add(60*24*time.Hour+time.Hour), "irc.example", "a.example", "b.example", "c.example"),
		c("ircs", now.Add(30*time.Hour+time.Minute), "net.example"), c("old", time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), "old\x1b[31m.example")}
	since := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	all[0].Default, all[2].Default = true, true
	all[1].Broken, all[1].BrokenSince = "certificate /etc/ircferry/tls/net.example.pem with key /etc/ircferry/tls/net.example.key: private key does not match public key", &since
	return all
}

func TestShowCerts(t *testing.T) {
	d := newDaemon(t)
	a := d.call(t, "show", "certs")
	a.want(t, 0, []string{"no listener has TLS"}, nil)
	d.certs = certificates()
	a = d.call(t, "show", "certs")
	a.want(t, 0, nil, nil)
	got := a.out
	for i, stands := range []string{"2027-01-19 12:00:00", "2026-11-21 18:00:00"} {
		got = strings.ReplaceAll(got, d.certs[i].NotAfter.UTC().Format(time.DateTime), stands)
	}
	golden(t, "certs", got)
	d.call(t, "status").want(t, 0, []string{"warning: certificate of listener ircs (net.example): the files cannot be used", "(old?[31m.example) has expired on 2026-11-01"}, nil)
	d.call(t, "show", "certs", "irc.example").want(t, 2, nil, []string{"irc.example"})
}

func TestShowCertsIsCompleted(t *testing.T) {
	d := newDaemon(t)
	d.call(t, "__complete", "show", "c").want(t, 0, []string{"certs\tThe certificates of the listeners"}, nil)
}
