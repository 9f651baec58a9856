package handshake

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/proxy/wire"
)

const (
	messageTicket   = 4
	messageFinished = 20
	finishedLen     = 4 + 12 // of TLS 1.2, with its header
)

// What the take-over refuses. None of it happens with crypto/tls as it is and peers that it accepts.
var (
	errNotABoundary = errors.New("input does not end with a record")
	errCapture      = errors.New("captured records are not whole")
	errNoSecrets    = errors.New("secrets of the connection are not known")
	errNoRandoms    = errors.New("randoms of the connection are not known")
	errOurs         = errors.New("a record of ours does not open")
	errOursIs       = errors.New("a record of ours is not what it should be")
	errTheirs       = errors.New("the peer's Finished does not open")
	errBehind       = errors.New("more than a Finished behind the peer's ChangeCipherSpec")
)

// takeOver makes the connection's parameters out of what crypto/tls has told and written, and proves them by opening what was
// captured.
func (h *Handshake) takeOver(state *tls.ConnectionState) (p wire.TLSParams, err error) {
	su := suites[state.CipherSuite]
	switch {
	case su == nil || su.version != state.Version:
		return p, fmt.Errorf("version %#04x with suite %#04x", state.Version, state.CipherSuite)
	case !h.gate.atBoundary():
		return p, errNotABoundary
	case h.gate.seen.broken:
		return p, errCapture
	}
	p = wire.TLSParams{Version: state.Version, Suite: state.CipherSuite, Client: h.client}
	defer func() {
		if err != nil {
			p.Wipe()
		}
	}()
	if su.is13() {
		err = h.takeOver13(su, &p)
	} else {
		err = h.takeOver12(su, &p)
	}
	if err != nil {
		return p, err
	}
	if certs := state.PeerCertificates; len(certs) > 0 {
		p.CertFP, p.HasCert = sha256.Sum256(certs[0].Raw), true
	}
	p.Exporter, p.HasExporter = exporter(state)
	return p, nil
}

// exporter is the channel binding of RFC 9266. A connection of TLS 1.2 without extended master secret has none.
func exporter(state *tls.ConnectionState) (b [32]byte, ok bool) {
	e, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, len(b))
	if err != nil {
		return b, false
	}
	defer clear(e)
	return b, copy(b[:], e) == len(b)
}

// takeOver13: the peer's Finished was the last record under its handshake keys, so what it sends next has number 0. We may have sent
// tickets already.
func (h *Handshake) takeOver13(su *suite, p *wire.TLSParams) error {
	in, out, ours := &h.secrets.clientTraffic, &h.secrets.serverTraffic, &h.secrets.serverHandshake
	if h.client {
		in, out, ours = out, in, &h.secrets.clientHandshake
	}
	if in.n != su.hashLen || out.n != su.hashLen || ours.n != su.hashLen {
		return errNoSecrets
	}
	seq, err := su.countTickets(ours.bytes(), out.bytes(), h.gate.seen.outSealed)
	if err != nil {
		return err
	}
	p.In.Secret = append([]byte(nil), in.bytes()...)
	p.Out.Secret = append([]byte(nil), out.bytes()...)
	p.Out.Seq = seq
	return nil
}

// countTickets opens all that we sealed: a flight under the handshake secret, then nothing but tickets under the application
// secret. It answers how many these are.
func (su *suite) countTickets(handshakeSecret, trafficSecret []byte, records [][]byte) (uint64, error) {
	for len(records) > 0 && records[0][0] != typeData { // a ServerHello behind the ChangeCipherSpec of a HelloRetryRequest
		records = records[1:]
	}
	flight, err := su.opener13(handshakeSecret)
	if err != nil {
		return 0, err
	}
	defer flight.wipe()
	n := 0
	for ; n < len(records); n++ {
		kind, _, ok := flight.open(records[n])
		if !ok {
			break
		}
		if kind != typeHandshake {
			return 0, errOursIs
		}
	}
	if n == 0 {
		return 0, errOurs
	}
	if n == len(records) {
		return 0, nil
	}
	tickets, err := su.opener13(trafficSecret)
	if err != nil {
		return 0, err
	}
	defer tickets.wipe()
	left := 0
	for _, rec := range records[n:] {
		kind, content, ok := tickets.open(rec)
		if !ok {
			return 0, errOurs
		}
		if kind != typeHandshake || !ticketPiece(content, &left) {
			return 0, errOursIs
		}
	}
	if left > 0 {
		return 0, errOursIs
	}
	return tickets.seq, nil
}

// ticketPiece reports whether a record holds a ticket, or the next piece of one of which left bytes were to come: it has the client's chain of
// certificates, which may be longer than a record. The beginning of a message is that of a record.
func ticketPiece(content []byte, left *int) bool {
	if *left == 0 {
		if len(content) < 4 || content[0] != messageTicket {
			return false
		}
		*left = 4 + int(content[1])<<16 + int(content[2])<<8 + int(content[3])
	}
	*left -= len(content)
	return len(content) > 0 && *left >= 0
}

// takeOver12: each side has sealed its Finished.
func (h *Handshake) takeOver12(su *suite, p *wire.TLSParams) error {
	seen := &h.gate.seen
	cr, sr := seen.clientRandom(), seen.serverRandom()
	switch {
	case h.secrets.master.n != 48:
		return errNoSecrets
	case cr == nil || sr == nil:
		return errNoRandoms
	}
	block := su.keyBlock(h.secrets.master.bytes(), cr, sr)
	client, server := &p.In, &p.Out
	if h.client {
		client, server = server, client
	}
	k, s := su.keyLen, su.salt
	client.Key, server.Key = block[:k:k], block[k:2*k:2*k]
	client.IV, server.IV = block[2*k:2*k+s:2*k+s], block[2*k+s:]
	return su.proveFinished(p, seen)
}

// proveFinished opens both Finished. Ours must be one record whose nonce is its number, as package wire goes on counting; a peer may
// have cut its own in pieces.
func (su *suite) proveFinished(p *wire.TLSParams, seen *capture) error {
	out, err := su.opener(p.Out.Key, p.Out.IV)
	if err != nil {
		return err
	}
	defer out.wipe()
	if len(seen.outSealed) != 1 {
		return errOursIs
	}
	rec := seen.outSealed[0]
	if _, content, ok := out.open(rec); !ok {
		return errOurs
	} else if rec[0] != typeHandshake || len(content) != finishedLen || content[0] != messageFinished || out.explicit > 0 && explicitNonce(rec) != 0 {
		return errOursIs
	}

	in, err := su.opener(p.In.Key, p.In.IV)
	if err != nil {
		return err
	}
	defer in.wipe()
	if seen.inBytes > mostIn {
		return errBehind
	}
	n := 0
	for _, rec := range seen.inSealed {
		kind, content, ok := in.open(rec)
		if !ok {
			return errTheirs
		}
		if kind == typeHandshake {
			n += len(content)
		}
	}
	if n != finishedLen {
		return errBehind
	}
	p.In.Seq, p.Out.Seq = in.seq, out.seq
	return nil
}
