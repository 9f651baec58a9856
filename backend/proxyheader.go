package backend

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/ircferry/ircferry/internal/config"
)

// proxyHeader is the PROXY header for the backend's identity, nil for one that has none. Without a client it is the header that says
// that the proxy speaks for itself: LOCAL, in version 1 UNKNOWN.
func proxyHeader(conf config.Backend, c Client) ([]byte, error) {
	var version byte
	switch conf.Identity {
	case config.IdentityProxyV1:
		version = 1
	case config.IdentityProxyV2:
		version = 2
	default:
		return nil, nil
	}
	h := &proxyproto.Header{Version: version, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	if c.Addr.IsValid() {
		src, dst := sameFamily(c.Addr, c.Local)
		h = proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(src), net.TCPAddrFromAddrPort(dst))
	}
	if version == 2 && c.TLS != nil {
		if err := addTLVs(h, conf.ProxyTLVs, *c.TLS); err != nil {
			return nil, fmt.Errorf("write PROXY header: %w", err)
		}
	}
	out, err := h.Format()
	if err != nil {
		return nil, fmt.Errorf("write PROXY header: %w", err)
	}
	return out, nil
}

const (
	// typeCertFP is the type in which InspIRCd 4 takes a fingerprint, as hex digits (src/modules/m_haproxy.cpp, PP2_TYPE_CERTFP).
	typeCertFP = proxyproto.PP2_TYPE_MIN_CUSTOM
	// notVerified is X509_V_ERR_UNSPECIFIED: there is no certificate, or one that nobody vouches for.
	notVerified = 1
	// maxTLV bounds what a client chose itself, so that the header fits in what any reader takes. Longer names are no names.
	maxTLV = 255
)

// addTLVs says what conf wants to be said of a client with TLS (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2).
func addTLVs(h *proxyproto.Header, want []config.ProxyTLV, f TLSFacts) error {
	var tlvs, last []proxyproto.TLV
	for _, w := range want {
		switch w {
		case config.TLVSSL:
			ssl, err := sslTLV(f)
			if err != nil {
				return err
			}
			tlvs = append(tlvs, ssl)
		case config.TLVAuthority:
			tlvs = appendTLV(tlvs, proxyproto.PP2_TYPE_AUTHORITY, f.SNI)
		case config.TLVALPN:
			tlvs = appendTLV(tlvs, proxyproto.PP2_TYPE_ALPN, f.ALPN)
		case config.TLVCertFP:
			last = appendTLV(last, typeCertFP, f.CertFP) // InspIRCd 4 forgets it again unless PP2_TYPE_SSL came before
		}
	}
	return h.SetTLVs(append(tlvs, last...))
}

// appendTLV leaves out what is not there, and what is too long.
func appendTLV(tlvs []proxyproto.TLV, typ proxyproto.PP2Type, value string) []proxyproto.TLV {
	if value == "" || len(value) > maxTLV {
		return tlvs
	}
	return append(tlvs, proxyproto.TLV{Type: typ, Value: []byte(value)})
}

func sslTLV(f TLSFacts) (proxyproto.TLV, error) {
	ssl := tlvparse.PP2SSL{Client: tlvparse.PP2_BITFIELD_CLIENT_SSL, Verify: notVerified}
	if f.CertFP != "" {
		ssl.Client |= tlvparse.PP2_BITFIELD_CLIENT_CERT_SESS
		if !f.Resumed {
			ssl.Client |= tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN
		}
	}
	ssl.TLV = appendTLV(ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_VERSION, f.Version)
	ssl.TLV = appendTLV(ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_CIPHER, f.Cipher)
	ssl.TLV = appendTLV(ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_CN, strings.ToValidUTF8(f.CertCN, "\ufffd"))
	return ssl.Marshal()
}

// sameFamily unmaps both ends. A header has one family for both; the client's counts, and a local end that is none of it is left open.
func sameFamily(src, dst netip.AddrPort) (netip.AddrPort, netip.AddrPort) {
	src = netip.AddrPortFrom(src.Addr().Unmap().WithZone(""), src.Port())
	local := dst.Addr().Unmap().WithZone("")
	if local.BitLen() != src.Addr().BitLen() {
		local = netip.IPv4Unspecified()
		if src.Addr().Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	return src, netip.AddrPortFrom(local, dst.Port())
}
