package config

import (
	"net"
	"os"
	"slices"
)

// backendTLS says what cannot be of a backend's tls, its files included, and where plaintext leaves this machine.
func (c *checker) backendTLS(key string, b Backend) {
	t := b.TLS
	switch {
	case t == nil:
		return
	case b.Native() && (t.Cert == "" || t.Key == ""):
		c.errorf(key+".tls", "a control connection wants to know both ends; name cert and key too: a certificate that the ircd knows")
		return
	case !b.Native() && t.Cert+t.Key != "":
		c.errorf(key+".tls.cert", "an ircd takes a certificate on this connection for the client's: all users would have it; leave cert and key out")
		return
	}
	host, _, _ := net.SplitHostPort(b.Address)
	if _, err := t.ClientConfig(host); err != nil {
		c.errorf(key, "%v", err)
		return
	}
	if t.Key == "" {
		return
	}
	if info, err := os.Stat(t.Key); err == nil && info.Mode().Perm()&0o007 != 0 {
		c.warnf(key+".tls.key", "%s can be used by everybody (%04o); chmod 0600 is enough", t.Key, info.Mode().Perm())
	}
}

// controlAddress says what cannot be of the way to a native backend.
func (c *checker) controlAddress(key string, b Backend) {
	network, address, err := ParseHandoff(b.Handoff)
	switch {
	case err != nil:
		c.errorf(key+".handoff", "%v", err)
	case network == "unix" && b.TLS != nil:
		c.errorf(key+".tls", "a unix socket has no TLS; leave it out")
	case network == "unix" || IsLoopback(address):
		c.backendTLS(key, b)
	case b.TLS == nil:
		c.errorf(key+".handoff", "%s would leave this machine in plain text; give it tls, or use a unix socket or a loopback address", b.Handoff)
	default:
		c.backendTLS(key, b)
		c.warnf(key+".handoff", "tls is for the control connection; the clients' streams go to that machine in plain text, as the standard "+
			"wants it: let them take a network that you trust or encrypt")
	}
}

// flags says what cannot be of webirc_flags and proxy_tlvs.
func (c *checker) flags(key string, b Backend) {
	if len(b.WebIRCFlags) > 0 {
		switch {
		case b.Identity != IdentityWebIRC:
			c.errorf(key+".webirc_flags", "identity is not webirc")
		case b.WebIRCAfter != "":
			c.errorf(key+".webirc_flags", "ngIRCd, which webirc_after is for, knows none; leave one of the two out")
		case slices.Contains(b.WebIRCFlags, WebIRCCertFP) && !slices.Contains(b.WebIRCFlags, WebIRCSecure):
			c.errorf(key+".webirc_flags", "certfp is not read of a client that is not secure; write [secure, certfp]")
		case slices.Contains(b.WebIRCFlags, WebIRCCertFP) && b.TLS == nil:
			c.warnf(key+".webirc_flags", "certfp is believed over TLS only, and this backend has no tls")
		}
	}
	if len(b.ProxyTLVs) > 0 {
		switch {
		case b.Identity != IdentityProxyV2:
			c.errorf(key+".proxy_tlvs", "identity is not proxy-v2")
		case slices.Contains(b.ProxyTLVs, TLVCertFP) && !slices.Contains(b.ProxyTLVs, TLVSSL):
			c.errorf(key+".proxy_tlvs", "certfp is not read without ssl; write [ssl, certfp]")
		}
	}
	c.twice(key+".webirc_flags", words(b.WebIRCFlags))
	c.twice(key+".proxy_tlvs", words(b.ProxyTLVs))
}

func words[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = string(w)
	}
	return out
}

func (c *checker) twice(key string, list []string) {
	for i, w := range list {
		if slices.Contains(list[:i], w) {
			c.errorf(key, "%s stands twice", w)
		}
	}
}
