package backend

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

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
	Resumed bool   // the certificate was shown at the session's first handshake, not at this one
}

// Opening is how a stream to a backend begins.
type Opening struct {
	Addr        netip.AddrPort // dial this
	Preface     []byte         // write this first: OPEN line, PROXY header, WEBIRC line, or nil. It holds secrets: never log it
	Proof       string         // Native: what that line must have as proof, or nobody is there to whom the client may be sent; "": an older ircd
	Native      bool           // the first line back is "OPENED u=.." or "ERROR code=..": strip it
	TLS         *tls.Config    // shake hands by it as the client before anything is written; nil: plaintext. Shared: Clone before changing
	HoldForUser bool           // keep the client's lines until USER is among them (2 s at most), then write WebIRC(c, user) before them
}

// errUnknown is why Open cannot answer yet.
var errUnknown = errors.New("not known yet")

// Open says how to reach the backend for this client. It never blocks. An error means that the backend is not known well enough yet (no
// HELLO, host name not resolved): the session waits.
func (b *Backend) Open(c Client) (Opening, error) {
	b.mu.Lock()
	pl, addr, skey, proves := b.plan, b.addr, b.hello.SKey, b.hello.Can(protocol.FeatProof)
	b.mu.Unlock()
	if !addr.IsValid() {
		return Opening{}, fmt.Errorf("open stream to %s: address %w", b.full, errUnknown)
	}
	o := Opening{Addr: addr, Native: pl.conf.Native(), TLS: pl.streamTLS()}
	switch {
	case o.Native && skey == "":
		return Opening{}, fmt.Errorf("open stream to %s: HELLO %w", b.full, errUnknown)
	case o.Native:
		open := openOf(skey, c)
		if proves {
			open.Nonce = protocol.NewSecret()
			o.Proof = protocol.OpenedProof(open)
		}
		o.Preface = protocol.AppendOpen(nil, open)
	case pl.conf.Identity == config.IdentityWebIRC && pl.conf.WebIRCAfter != "":
		o.HoldForUser = true
	case pl.conf.Identity == config.IdentityWebIRC:
		o.Preface = webirc(pl, gateway, c)
	default:
		header, err := proxyHeader(pl.conf, c)
		if err != nil {
			return Opening{}, fmt.Errorf("open stream to %s: %w", b.full, err)
		}
		o.Preface = header
	}
	return o, nil
}

// openOf is what an ircd with the driver hears of the client.
func openOf(skey string, c Client) protocol.Open {
	o := protocol.Open{SKey: skey, U: c.U, Remote: c.Addr, Local: c.Local}
	if c.TLS != nil {
		o.TLS, o.CertFP = c.TLS.Version, c.TLS.CertFP
		if c.TLS.Cipher != "" {
			o.TLS += "/" + c.TLS.Cipher
		}
	}
	return o
}

// WebIRC returns the line to write before the client's own when Opening.HoldForUser is set. user is the first parameter of the client's
// USER line, "" if none came in time. ngIRCd makes the line's second parameter the user name, without the ~ that it puts before a name
// which no ident server confirmed; so we put it there.
func (b *Backend) WebIRC(c Client, user string) []byte {
	b.mu.Lock()
	pl := b.plan
	b.mu.Unlock()
	return webirc(pl, "~"+userName(user), c)
}
