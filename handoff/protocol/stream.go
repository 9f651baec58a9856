package protocol

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/netip"
	"strconv"
)

// MaxFirstLine bounds the first line of a stream in both directions, its LF counted in.
const MaxFirstLine = 2048

// The verbs of streams.
const (
	VerbOpen     = "OPEN"
	VerbAttach   = "ATTACH"
	VerbOpened   = "OPENED"
	VerbAttached = "ATTACHED"
	VerbLive     = "LIVE"
	VerbError    = "ERROR"
)

// Open is the first line of a new client's stream.
type Open struct {
	SKey   string // the ircd's stream secret
	Nonce  string // 32 hex digits, new for each stream: SKey is proven and not said; "": said, to an ircd without FeatProof
	Proof  string // as it was read; AppendOpen makes it of SKey and Nonce
	U      string
	Remote netip.AddrPort // the client
	Local  netip.AddrPort // the listener that it reached
	TLS    string         // "TLSv1.3/TLS_AES_128_GCM_SHA256"; "": plaintext
	CertFP string         // lower-case hex of the SHA-256 of the client's certificate; "": none
}

// AppendOpen appends the OPEN line.
func AppendOpen(dst []byte, o Open) []byte {
	m := NewMessage(VerbOpen)
	if o.Nonce == "" {
		m.Set("k", o.SKey)
	} else {
		setProof(&m, o.Nonce, cmp.Or(o.Proof, proofOf(o.SKey, VerbOpen, o.Nonce, o.U)))
	}
	for _, f := range [...]Field{{Key: "u", Value: o.U}, {Key: "addr", Value: o.Remote.Addr().Unmap().WithZone("").String()},
		{Key: "port", Value: strconv.Itoa(int(o.Remote.Port()))}, {Key: "laddr", Value: o.Local.Addr().Unmap().WithZone("").String()},
		{Key: "lport", Value: strconv.Itoa(int(o.Local.Port()))}} {
		m.Set(f.Key, f.Value)
	}
	if o.TLS != "" {
		m.Set("tls", o.TLS)
	}
	if o.CertFP != "" {
		m.Set("certfp", o.CertFP)
	}
	return m.Append(dst)
}

// OpenOf reads an OPEN line.
func OpenOf(m Message) (Open, error) {
	o := Open{SKey: m.Get("k"), Nonce: m.Get("nonce"), Proof: m.Get("proof"), U: m.Get("u"), TLS: m.Get("tls"), CertFP: m.Get("certfp")}
	if !ValidU(o.U) {
		return Open{}, &Error{Code: CodeBadValue, Text: "OPEN u: not a stream id"}
	}
	if !isWord(o.TLS) || !isFingerprint(o.CertFP) {
		return Open{}, &Error{Code: CodeBadValue, U: o.U, Text: "OPEN tls or certfp: not one word, or not lower-case hex"}
	}
	var err error
	if o.Remote, err = addrPort(m, "addr", "port"); err != nil {
		return Open{}, err
	}
	if o.Local, err = addrPort(m, "laddr", "lport"); err != nil {
		return Open{}, err
	}
	return o, nil
}

func addrPort(m Message, addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(m.Get(addr))
	if err != nil || a.Zone() != "" {
		return netip.AddrPort{}, &Error{Code: CodeBadValue, U: m.Get("u"), Text: m.Verb + " " + addr + ": not an address"}
	}
	p, err := strconv.ParseUint(m.Get(port), 10, 16)
	if err != nil {
		return netip.AddrPort{}, &Error{Code: CodeBadValue, U: m.Get("u"), Text: m.Verb + " " + port + ": not a port"}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), nil
}

// Attach is the first line of a stream for a user who is moved in.
type Attach struct {
	SKey string
	Tx   string
	U    string
	Tok  string // the transaction's secret

	Nonce string // as in Open; with it neither SKey nor Tok is said
	Proof string // as it was read
}

// AppendAttach appends the ATTACH line.
func AppendAttach(dst []byte, a Attach) []byte {
	if a.Nonce == "" {
		return NewMessage(VerbAttach, "k", a.SKey, "tx", a.Tx, "u", a.U, "tok", a.Tok).Append(dst)
	}
	m := NewMessage(VerbAttach)
	setProof(&m, a.Nonce, cmp.Or(a.Proof, proofOf(a.SKey, VerbAttach, a.Nonce, a.U, a.Tx, a.Tok)))
	m.Set("tx", a.Tx)
	m.Set("u", a.U)
	return m.Append(dst)
}

// AttachOf reads an ATTACH line.
func AttachOf(m Message) (Attach, error) {
	a := Attach{SKey: m.Get("k"), Tx: m.Get("tx"), U: m.Get("u"), Tok: m.Get("tok"), Nonce: m.Get("nonce"), Proof: m.Get("proof")}
	if !ValidU(a.U) || !ValidTx(a.Tx) {
		return Attach{}, &Error{Code: CodeBadValue, Text: "ATTACH: u or tx make no sense"}
	}
	return a, nil
}

// AppendOpened, AppendAttached and AppendLive append the ircd's lines on a stream.
func AppendOpened(dst []byte, u string) []byte   { return appendU(dst, VerbOpened, u) }
func AppendAttached(dst []byte, u string) []byte { return appendU(dst, VerbAttached, u) }
func AppendLive(dst []byte, u string) []byte     { return appendU(dst, VerbLive, u) }

func appendU(dst []byte, verb, u string) []byte {
	dst = append(dst, verb...)
	dst = append(dst, " u="...)
	dst = append(dst, u...)
	return append(dst, '\n')
}

func setProof(m *Message, nonce, proof string) {
	m.Set("nonce", nonce)
	m.Set("proof", proof)
}

// ErrUnproven is an answer on a stream from somebody who has not shown that he knows the ircd's skey.
var ErrUnproven = errors.New("the stream was answered without the proof that it is the ircd: somebody else may have its port")

// ParseStreamAnswer reads the ircd's line on a stream, without its LF, that must be want (VerbOpened, VerbAttached or VerbLive) for
// this u. proof is OpenedProof or AttachedProof, or "" if the ircd was not asked for one; an answer without it is ErrUnproven.
// An ERROR line is returned as *Error, anything else as one with CodeBadLine.
func ParseStreamAnswer(line []byte, want, u, proof string) error {
	m, err := Parse(line)
	switch {
	case err != nil:
		return err
	case m.Verb == VerbError:
		return ErrorOf(m)
	case m.Verb != want || m.Get("u") != u:
		return &Error{Code: CodeBadLine, U: u, Text: "the stream was answered with something else than " + want}
	case proof != "" && !EqualSecret(m.Get("proof"), proof):
		return ErrUnproven
	}
	return nil
}

// EqualSecret compares two secrets in a time that tells nothing of where, or whether in length, they differ. An empty want equals
// nothing.
func EqualSecret(got, want string) bool {
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1 && want != ""
}
