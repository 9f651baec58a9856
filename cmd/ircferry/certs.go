package main

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/certs"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/handshake"
)

// listenerTLS makes how each listener with TLS shakes hands, by its name. The certificates of set are asked for at each handshake, so new
// files need no new listeners.
func listenerTLS(ls []config.Listener, set *certs.Set, tickets *handshake.Tickets) map[string]*tls.Config {
	versions := map[config.TLSVersion]uint16{config.TLS12: tls.VersionTLS12, config.TLS13: tls.VersionTLS13}
	all := map[string]*tls.Config{}
	for _, l := range ls {
		if l.TLS != nil {
			all[l.Name] = handshake.ServerConfig(handshake.ServerOptions{GetCertificate: set.GetCertificate(l.Name), MinVersion: versions[l.TLS.MinVersion],
				RequestCert: l.TLS.ClientCert != config.ClientCertNone, Tickets: tickets})
		}
	}
	return all
}

// setListeners makes ls the listeners, with their certificates in set, or changes nothing. renewed: files of before have new certificates.
func (d *daemon) setListeners(ls []config.Listener, set *certs.Set) (renewed bool, err error) {
	before, were := d.certs.Use(set), d.proxy.Addrs()
	if err := d.proxy.SetListeners(ls, listenerTLS(ls, set, d.tickets)); err != nil {
		d.certs.Use(before)
		return false, err
	}
	are := d.proxy.Addrs()
	d.tellListeners("closed", were, are)
	d.tellListeners("listening", are, were)
	return set.Renewed(before), nil
}

// tellListeners tells the log and those who follow the events of the listeners that are in these and not in others.
func (d *daemon) tellListeners(word string, these, others map[string][]net.Addr) {
	for _, name := range slices.Sorted(maps.Keys(these)) {
		if address := these[name][0].String(); len(others[name]) == 0 || address != others[name][0].String() {
			d.log.Info(word, "listener", name, "address", address)
			d.events.Publish(admin.Event{Time: time.Now(), Kind: admin.EventListener, Object: name, Word: word, Text: address})
		}
	}
}

// watchCerts follows the certificates' files until the returned function is called.
func (d *daemon) watchCerts() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.certs.Run(ctx)
	}()
	return func() { cancel(); <-ended }
}

// certNotice tells the log and those who follow the events what happened to a certificate.
func (d *daemon) certNotice(n certs.Notice) {
	log := d.log.Info
	switch n.Word {
	case certs.Broken:
		log = d.log.Error
	case certs.Expiring:
		log = d.log.Warn
	}
	listeners := strings.Join(n.Listeners, " ")
	log("certificate "+string(n.Word), "component", "certs", "listener", listeners, "cert", n.Files.Cert, "key", n.Files.Key, "text", n.Text)
	text := "listener " + listeners
	if n.Text != "" {
		text += ": " + n.Text
	}
	d.events.Publish(admin.Event{Time: n.Time, Kind: admin.EventCert, Object: n.Files.Cert, Word: string(n.Word), Text: text})
}

// Certificates implements admin.Certs.
func (p pictures) Certificates() []admin.Certificate {
	var all []admin.Certificate
	for _, s := range p.d.certs.States() {
		c := admin.Certificate{Listener: s.Listener, Default: s.Default, Names: s.Names, Issuer: s.Issuer, Algorithm: s.Key, NotBefore: s.NotBefore,
			NotAfter: s.NotAfter, Fingerprint: s.Fingerprint, CertFile: s.Files.Cert, KeyFile: s.Files.Key, Loaded: s.Read.Round(time.Millisecond), Broken: s.Broken}
		if s.Broken != "" {
			c.BrokenSince = &s.Since
		}
		all = append(all, c)
	}
	return all
}
