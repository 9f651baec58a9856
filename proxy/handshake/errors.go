package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
)

// Why a handshake failed: fixed words, for logs and as labels of metrics.
const (
	reasonTimeout   = "timeout"   // End by a deadline
	reasonTruncated = "truncated" // the peer has ended
	reasonEnded     = "ended"     // End for another cause
	reasonHTTP      = "http_request"
	reasonNotTLS    = "not_tls"  // the first bytes are no record of TLS
	reasonOversize  = "oversize" // a record, or the handshake: ErrTooMuch
	reasonBadRecord = "bad_record"
	reasonHello     = "bad_client_hello"
	reasonFinalDot  = "server_name_ends_in_dot" // which crypto/tls refuses
	reasonMessage   = "bad_message"             // a handshake message that is malformed, out of order or not as it was agreed
	reasonVersion   = "no_common_version"
	reasonCipher    = "no_common_cipher"
	reasonALPN      = "no_common_alpn"
	reasonFallback  = "inappropriate_fallback"
	reasonNoCert    = "no_certificate"  // we have none for this client
	reasonPeerCert  = "bad_certificate" // the peer's, or its proof that it has the key
	reasonAuthority = "unknown_authority"
	reasonName      = "wrong_name"
	reasonExpired   = "certificate_expired"
	reasonRefused   = "certificate_refused" // the peer does not like ours
	reasonPeerAlert = "peer_alert"          // any other alert of the peer
	reasonTakeOver  = "takeover"            // a connection of which we are not sure
	reasonInternal  = "internal"
)

// Reasons are all words that Error.Reason may have.
var Reasons = []string{reasonTimeout, reasonTruncated, reasonEnded, reasonHTTP, reasonNotTLS, reasonOversize, reasonBadRecord, reasonHello, reasonFinalDot,
	reasonMessage, reasonVersion, reasonCipher, reasonALPN, reasonFallback, reasonNoCert, reasonPeerCert, reasonAuthority, reasonName,
	reasonExpired, reasonRefused, reasonPeerAlert, reasonTakeOver, reasonInternal}

// ErrTooMuch is for End: the peer has sent more than its handshake may have.
var ErrTooMuch = errors.New("more than a handshake may have")

// errNoCertificate says that GetCertificate has given none.
var errNoCertificate = errors.New("no certificate for this client")

// Error is a handshake that failed. It has no words of the peer and none of crypto/tls, which quotes the peer.
type Error struct {
	Reason string // one of Reasons
	Alert  uint8  // that the peer has sent; 0: none
	Cause  error  // what End gave, or our own error; else nil
}

func (e *Error) Error() string {
	s := "tls handshake: " + e.Reason
	if e.Alert != 0 {
		s += " (" + tls.AlertError(e.Alert).Error() + ")"
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap is the cause: errors.Is(err, io.EOF) for a peer that has gone.
func (e *Error) Unwrap() error { return e.Cause }

// explain puts an error of crypto/tls into our words. It goes by types, alerts and the beginnings of texts, never by what a peer may have a part in.
func (g *gate) explain(err error) *Error {
	g.mu.Lock()
	ended := g.starved
	g.mu.Unlock()
	if ended != nil {
		return &Error{Reason: endReason(ended), Cause: ended}
	}
	if errors.Is(err, io.EOF) { // by close_notify
		return &Error{Reason: reasonTruncated, Cause: io.EOF}
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && e.Conn != nil {
		return &Error{Reason: notTLS(e.RecordHeader)}
	}
	if aboutPeerCert(err) {
		return &Error{Reason: reasonPeerCert}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		switch alert := alertOf(op.Err); {
		case op.Op == "remote error":
			return &Error{Reason: g.peerReason(alert), Alert: alert}
		case op.Op == "local error":
			return &Error{Reason: g.ourReason(alert)}
		}
	}
	if errors.Is(err, errNoCertificate) {
		return &Error{Reason: reasonNoCert}
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &Error{Reason: verifyReason(e.Err)}
	}
	return &Error{Reason: g.ourReason(g.seen.alert)}
}

// peerCertErrors begin what crypto/tls says of a certificate that it cannot read (such as one of a curve that the standard library does not
// have: secp256k1, the brainpool ones) or of a proof that is not one. The alerts say less: the same ones come of other messages too, and
// those of TLS 1.3 are sealed. A test holds the texts.
var peerCertErrors = []string{
	"tls: failed to parse client certificate: ", "tls: client sent certificate containing RSA key larger than ",
	"tls: client certificate contains an unsupported public key ", "tls: client certificate used with invalid signature algorithm",
	"tls: invalid signature by the client certificate: ",
	"tls: failed to parse certificate from server: ", "tls: server sent certificate containing RSA key larger than ",
	"tls: server's certificate contains an unsupported type of public key: ", "tls: certificate used with invalid signature algorithm",
	"tls: invalid signature by the server certificate: ",
}

func aboutPeerCert(err error) bool {
	text := err.Error()
	return slices.ContainsFunc(peerCertErrors, func(s string) bool { return strings.HasPrefix(text, s) })
}

func endReason(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return reasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return reasonTruncated
	case errors.Is(err, ErrTooMuch):
		return reasonOversize
	}
	return reasonEnded
}

// notTLS tells a web browser from others by its first five bytes.
func notTLS(p [headerLen]byte) string {
	methods := []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "CONNE", "DELET", "PATCH", "TRACE"}
	if slices.Contains(methods, string(p[:])) {
		return reasonHTTP
	}
	return reasonNotTLS
}

// alertOf is the number of an alert. Its type is crypto/tls's own, its text that of the public AlertError.
func alertOf(err error) uint8 {
	for n := range 256 {
		if e := tls.AlertError(n); err != nil && e.Error() == err.Error() {
			return uint8(n)
		}
	}
	return 0
}

// Alerts: RFC 8446 section 6.
const (
	alertBadRecordMAC       = 20
	alertRecordOverflow     = 22
	alertHandshakeFailure   = 40
	alertBadCertificate     = 42
	alertUnsupportedCert    = 43
	alertCertificateRevoked = 44
	alertCertificateExpired = 45
	alertCertificateUnknown = 46
	alertUnknownCA          = 48
	alertProtocolVersion    = 70
	alertInternalError      = 80
	alertFallback           = 86
	alertUnrecognizedName   = 112
	alertCertRequired       = 116
	alertNoALPN             = 120
)

// peerReason goes by the alert that came. handshake_failure is a server's answer to a hello that it can make nothing of, and, behind its own
// hello, to a client without a certificate.
func (g *gate) peerReason(alert uint8) string {
	switch {
	case alert >= alertBadCertificate && alert <= alertCertificateUnknown, alert == alertUnknownCA, alert == alertCertRequired,
		g.seen.client && alert == alertHandshakeFailure && g.seen.inHello.n > 0:
		return reasonRefused
	case !g.seen.client:
		return reasonPeerAlert
	case alert == alertProtocolVersion:
		return reasonVersion
	case alert == alertHandshakeFailure:
		return reasonCipher
	case alert == alertNoALPN:
		return reasonALPN
	}
	return reasonPeerAlert
}

// ourReason goes by the alert that we sent. 0, because it was sealed, is a message that came late.
func (g *gate) ourReason(alert uint8) string {
	hello := !g.seen.client && g.seen.outHello.n == 0 // we have not answered the client's hello
	switch alert {
	case alertBadRecordMAC:
		return reasonBadRecord
	case alertRecordOverflow:
		return reasonOversize
	case alertHandshakeFailure:
		return reasonCipher
	case alertProtocolVersion:
		return reasonVersion
	case alertFallback:
		return reasonFallback
	case alertUnrecognizedName:
		return reasonNoCert
	case alertNoALPN:
		return reasonALPN
	case alertBadCertificate, alertUnsupportedCert, alertCertificateRevoked, alertCertificateExpired, alertCertificateUnknown, alertUnknownCA,
		alertCertRequired:
		return reasonPeerCert
	case alertInternalError:
		if !hello { // else a message that is too long
			return reasonInternal
		}
	}
	if hello && g.seen.finalDot {
		return reasonFinalDot
	}
	if hello {
		return reasonHello
	}
	return reasonMessage
}

// verifyReason is why the certificate of a server is not to be trusted.
func verifyReason(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return reasonAuthority
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return reasonName
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return reasonExpired
	}
	return reasonPeerCert
}
