package config

import (
	"fmt"
	"slices"
	"strings"
)

// hears says, for each pool, what its ircds cannot be told of clients' TLS and would have wrong: what is shown in WHOIS and checked for
// oper blocks, channels and classes that are for TLS only, and the fingerprints that users log in by. Backends with handoff hear all of it.
func (c *checker) hears(cfg Config) {
	for i, l := range cfg.Listeners {
		key := fmt.Sprintf("listeners[%d]", i)
		p := cfg.Pools[l.Pool]
		if l.TLS == nil {
			c.looksSecure(key, l.Pool, p)
			continue
		}
		c.looksPlain(key+".tls", l.Pool, p)
		if l.TLS.ClientCert != ClientCertNone {
			c.fingerprints(key+".tls.client_cert", l.Pool, p)
		}
	}
}

// looksSecure: over a TLS hop ircds take everybody for a user of TLS who is not said to be none.
func (c *checker) looksSecure(key, pool string, p Pool) {
	if names := those(pool, p, func(b Backend) bool { return b.TLS != nil && !b.tellsTLS() }); names != "" {
		c.warnf(key, "its clients have no TLS, but over the TLS to %s they look as if they had; with identity webirc write webirc_flags: [secure], and for "+
			"ircds that read none a pool without tls", names)
	}
}

// looksPlain: over a plaintext hop nobody looks as if he used TLS who is not said to.
func (c *checker) looksPlain(key, pool string, p Pool) {
	if names := those(pool, p, func(b Backend) bool { return b.TLS == nil && !b.tellsTLS() }); names != "" {
		c.warnf(key, "its clients look as if they had no TLS at %s, which are not told of it; give them tls, or with identity webirc "+
			"webirc_flags: [secure], or with proxy-v2 proxy_tlvs: [ssl]", names)
	}
	believed := func(b Backend) bool { return b.TLS == nil && slices.Contains(b.WebIRCFlags, WebIRCSecure) }
	if names := those(pool, p, believed); names != "" {
		c.warnf(key, "%s are told of it by webirc_flags, but only Ergo believes that without tls", names)
	}
}

// fingerprints: a client that shows a certificate expects to be known by it.
func (c *checker) fingerprints(key, pool string, p Pool) {
	if names := those(pool, p, func(b Backend) bool { return !b.tellsCertFP() }); names != "" {
		c.warnf(key, "request, but %s cannot be told the fingerprint of a client's certificate. InspIRCd can: identity webirc over tls with "+
			"webirc_flags: [secure, certfp], from version 4 on proxy-v2 with proxy_tlvs: [ssl, certfp]. Else write client_cert: none", names)
	}
}

// those names the backends without handoff of which f holds, "" for none.
func those(pool string, p Pool, f func(Backend) bool) string {
	var names []string
	for _, b := range p.Backends {
		if !b.Native() && f(b) {
			names = append(names, pool+"/"+b.Name)
		}
	}
	return strings.Join(names, ", ")
}

// tellsTLS reports whether an ircd without the driver hears of each client whether it uses TLS.
func (b Backend) tellsTLS() bool {
	return slices.Contains(b.WebIRCFlags, WebIRCSecure) || slices.Contains(b.ProxyTLVs, TLVSSL) && b.TLS == nil
}

// tellsCertFP reports whether an ircd without the driver hears a client's fingerprint in a way that one of the field believes.
func (b Backend) tellsCertFP() bool {
	return slices.Contains(b.WebIRCFlags, WebIRCCertFP) && b.TLS != nil || slices.Contains(b.ProxyTLVs, TLVCertFP)
}
