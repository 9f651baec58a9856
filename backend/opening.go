package backend

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/pires/go-proxyproto"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// Client is who came in: U is the session's stream id, Addr and Local are the connection's two ends after the PROXY header, as the
// client has them.
type Client struct {
	U     string
	Addr  netip.AddrPort
	Local netip.AddrPort
	TLS   *TLSFacts // nil: plaintext
}

// TLSFacts are what an ircd may hear of a client's TLS connection to us, in the words that ircds use themselves. An empty one was not
// told or is not there.
type TLSFacts struct {
	Version string // "TLSv1.3", "TLSv1.2"
	Cipher  string // OpenSSL's name: "TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"
	SNI     string // the host name that the client asked for
	ALPN    string
	CertFP  string // SHA-256 of the client's certificate, lower-case hex
	CertCN  string // its common name; nobody vouches for it
}

// Opening is how a stream to a backend begins.
type Opening struct {
	Addr        netip.AddrPort // dial this
	Preface     []byte         // write this first: OPEN line, PROXY header, WEBIRC line, or nil. It holds secrets: never log it
	Native      bool           // the first line back is "OPENED u=.." or "ERROR code=..": strip it
	TLS         *tls.Config    // shake hands by it as the client before anything is written; nil: plaintext. Shared: Clone before changing
	HoldForUser bool           // keep the client's lines until USER is among them (2 s at most), then write WebIRC(c, user) before them
}

// Open says how to reach the backend for this client. It never blocks. An error means that the backend is not known well enough yet (no
// HELLO, host name not resolved): the session waits.
func (b *Backend) Open(c Client) (Opening, error) {
	b.mu.Lock()
	pl, addr, skey := b.plan, b.addr, b.hello.SKey
	b.mu.Unlock()
	if !addr.IsValid() {
		return Opening{}, fmt.Errorf("open stream to %s: address %w", b.full, errUnknown)
	}
	o := Opening{Addr: addr, Native: pl.conf.Native()}
	switch {
	case o.Native && skey == "":
		return Opening{}, fmt.Errorf("open stream to %s: HELLO %w", b.full, errUnknown)
	case o.Native:
		o.Preface = protocol.AppendOpen(nil, protocol.Open{SKey: skey, U: c.U, Remote: c.Addr, Local: c.Local})
	case pl.conf.Identity == config.IdentityWebIRC && pl.conf.WebIRCAfter != "":
		o.HoldForUser = true
	case pl.conf.Identity == config.IdentityWebIRC:
		o.Preface = webirc(pl.password, gateway, c.Addr.Addr())
	default:
		header, err := proxyHeader(pl.conf.Identity, c)
		if err != nil {
			return Opening{}, fmt.Errorf("open stream to %s: %w", b.full, err)
		}
		o.Preface = header
	}
	return o, nil
}

// WebIRC returns the line to write before the client's own when Opening.HoldForUser is set. user is the first parameter of the client's
// USER line, "" if none came in time. ngIRCd makes the line's second parameter the user name, without the ~ that it puts before a name
// which no ident server confirmed; so we put it there.
func (b *Backend) WebIRC(c Client, user string) []byte {
	b.mu.Lock()
	password := b.plan.password
	b.mu.Unlock()
	return webirc(password, "~"+userName(user), c.Addr.Addr())
}

// gateway is the second parameter of WEBIRC where it is the name of the gateway.
const gateway = "ircferry"

// webirc is "WEBIRC password gateway hostname ip". We do not look up names, so the hostname is the address.
func webirc(password, name string, client netip.Addr) []byte {
	ip := client.Unmap().WithZone("").String()
	if strings.HasPrefix(ip, ":") {
		ip = "0" + ip // a parameter that begins with a colon would swallow the rest of the line
	}
	return []byte("WEBIRC " + password + " " + name + " " + ip + " " + ip + "\r\n")
}

// maxUserName is longer than any ircd takes, which cut for themselves.
const maxUserName = 64

// userName makes sure that what a client said is one word.
func userName(s string) string {
	if i := strings.IndexAny(s, " \r\n\x00"); i >= 0 {
		s = s[:i]
	}
	if s == "" {
		return "unknown"
	}
	return s[:min(len(s), maxUserName)]
}

// proxyHeader is the PROXY header for the identity, nil for one that has none. Without a client it is the header that says
// that the proxy speaks for itself: LOCAL, in version 1 UNKNOWN.
func proxyHeader(id config.Identity, c Client) ([]byte, error) {
	var version byte
	switch id {
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
	out, err := h.Format()
	if err != nil {
		return nil, fmt.Errorf("write PROXY header: %w", err)
	}
	return out, nil
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
