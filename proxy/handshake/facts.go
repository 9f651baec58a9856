package handshake

import (
	"crypto/tls"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ircferry/ircferry/proxy/wire"
)

// Facts are what an ircd may hear of a connection's TLS.
type Facts struct {
	Version string // "TLSv1.3", "TLSv1.2"
	Cipher  string // "TLS_AES_128_GCM_SHA256"; in TLS 1.2 as OpenSSL names it: "ECDHE-RSA-AES128-GCM-SHA256"
	SNI     string // the name that the client has asked for, lower-case; "" if none, or if it is no host name
	ALPN    string
	CertFP  string // SHA-256 of the peer's certificate in lower-case hex; "" if it showed none
	CertCN  string // its common name, printable characters only
	Resumed bool
}

const (
	longestName = 253 // of a host: RFC 1035
	longestCN   = 128 // bytes; RFC 5280 says 64 characters
)

func factsOf(state *tls.ConnectionState, p *wire.TLSParams) Facts {
	f := Facts{SNI: hostName(state.ServerName), ALPN: state.NegotiatedProtocol, Resumed: state.DidResume}
	f.Version, f.Cipher = Words(state.Version, state.CipherSuite)
	if p.HasCert {
		f.CertFP = hex.EncodeToString(p.CertFP[:])
		f.CertCN = printable(state.PeerCertificates[0].Subject.CommonName)
	}
	return f
}

// Words are version and cipher suite as ircds and clients show them.
func Words(version, id uint16) (v, cipher string) {
	switch version {
	case tls.VersionTLS13:
		v = "TLSv1.3"
	case tls.VersionTLS12:
		v = "TLSv1.2"
	default:
		v = "0x" + strconv.FormatUint(uint64(version), 16)
	}
	if su := suites[id]; su != nil {
		return v, su.name
	}
	return v, "0x" + strconv.FormatUint(uint64(id), 16)
}

// hostName is what may go into log lines and protocol lines: crypto/tls takes any bytes for a server name.
func hostName(s string) string {
	if len(s) > longestName {
		return ""
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return ""
		}
	}
	return strings.ToLower(s)
}

// printable keeps what a certificate calls its owner from being anything but one line of text.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	for len(s) > longestCN {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
