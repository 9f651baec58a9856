package proxy

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/loop"
)

// The TLS handshake of a client: crypto/tls on a goroutine, fed from the loop, which keeps the descriptor. What the handshake writes comes
// back as posted work, so that nobody but the loop touches the descriptor.

const (
	// handshakeTime bounds a client's TLS handshake.
	handshakeTime = 15 * time.Second

	// handshakesPerCore compute at a time, so that a storm of reconnects leaves the loops their share.
	handshakesPerCore = 2

	// handshakeRoom is how much of a client is read before its handshake is over: a chain of certificates, and what it says already behind the
	// Finished. It fits into the shard's staging buffer.
	handshakeRoom = 60 << 10
)

// shaking is a TLS handshake under way.
type shaking struct {
	*handshake.Handshake
	fed int
}

// feed takes bytes in. Nothing more is read when they are handshakeRoom; the handshake may still end well, as what is behind the Finished
// counts too, but it is not waited for.
func (k *shaking) feed(p []byte) {
	k.fed += len(p)
	k.Feed(p)
	if k.fed >= handshakeRoom {
		k.End(handshake.ErrTooMuch)
	}
}

// fed is how much the handshake under way has got.
func (r *opening) fed() int {
	if r == nil || r.shake == nil {
		return 0
	}
	return r.shake.fed
}

// handshakeRecord is the first byte of each TLS client (RFC 8446 section 5.1), which begins no line.
const handshakeRecord = 22

// notForTLS is what a TLS client gets to read on a listener without TLS: some show the bytes that they did not understand.
const notForTLS = "This port is not for TLS"

// errOver ends a handshake whose session has ended.
var errOver = errors.New("session is over")

// secure begins the client's handshake, where its listener wants one; else the session goes on.
func (w *worker) secure(s *session) {
	if !s.has(securing) {
		if s.reg != nil && len(s.reg.early) > 0 && s.reg.early[0] == handshakeRecord {
			w.refuse(s, ReasonTLSOnPlaintext, notForTLS) // no backend need hear of it
			return
		}
		w.begin(s)
		return
	}
	if s.reg == nil {
		s.reg = w.newOpening()
	}
	early := s.reg.early
	s.reg.early = nil
	w.enter(s, StateHandshake)
	w.within(s, handshakeTime)
	if len(early) > 0 {
		w.handshakeBytes(s, early)
	}
	if s.state == StateHandshake && s.has(clientMore) {
		w.readClient(s)
	}
}

// handshakeBytes feeds the handshake, if that is what the client has begun.
func (w *worker) handshakeBytes(s *session, p []byte) {
	r := s.reg
	if r.shake == nil {
		switch verdict := firstBytes(p); verdict {
		case reasonNone:
			r.shake = w.newHandshake(s)
		case ReasonHeaderRefused:
			w.refuse(s, verdict, "PROXY header refused: this address is not trusted to send one")
			return
		default:
			s.unset(securing) // it reads plaintext
			w.refuse(s, verdict, "This port is for TLS only, switch TLS (SSL) on or use the plaintext port")
			return
		}
	}
	r.shake.feed(p)
}

// firstBytes tells a TLS client, or what crypto/tls may answer with an alert (reasonNone), from one that talks IRC or sends a PROXY header.
func firstBytes(p []byte) CloseReason {
	if n, verdict := findHeader(p); verdict == headerComplete || verdict == headerMore && len(p) > 4 || n > 0 {
		return ReasonHeaderRefused
	}
	switch c := p[0]; {
	case c >= ' ' && c < 0x7f, c == '\r', c == '\n', c == '\t':
		return ReasonPlaintextOnTLS
	}
	return reasonNone
}

func (w *worker) newHandshake(s *session) *shaking {
	key := s.key(portClient)
	return &shaking{Handshake: handshake.Server(s.lst.tls.Load(), handshake.Options{
		Slots:  w.p.slots,
		Local:  net.TCPAddrFromAddrPort(s.local.addrPort()),
		Remote: net.TCPAddrFromAddrPort(s.client.addrPort()),
		Write: func(p []byte) {
			w.loop.Post(func() {
				if s := w.at(key); s != nil && s.state == StateHandshake {
					w.sendClient(s, p)
				}
			})
		},
		Done: func(res handshake.Result) {
			if !w.loop.Post(func() { w.shaken(key, &res) }) {
				res.Params.Wipe()
			}
		},
	})}
}

// shaken takes the session's TLS state over from its handshake, and wipes res.
func (w *worker) shaken(k loop.Key, res *handshake.Result) {
	s := w.at(k)
	if s == nil || s.state != StateHandshake || s.reg == nil || s.reg.shake == nil {
		res.Params.Wipe()
		return
	}
	shake := s.reg.shake
	s.reg.shake = nil
	w.noDeadline(s)
	s.shook(res)
	if res.Err != nil {
		w.handshakeFailed(s, res.Err)
		return
	}
	id, err := w.shard.NewTLS(&res.Params)
	res.Params.Wipe()
	if err != nil {
		w.outOfMemory(s)
		return
	}
	s.slot.ClientTLS = id
	s.unset(securing)
	if err := w.shard.Keep(id, shake.Rest()); err != nil {
		w.outOfMemory(s)
		return
	}
	s.reg.facts = factsOf(res.Facts)
	s.set(clientMore) // an end that was seen meanwhile is found again
	w.begin(s)
}

func factsOf(f handshake.Facts) *backend.TLSFacts {
	return &backend.TLSFacts{Version: f.Version, Cipher: f.Cipher, SNI: f.SNI, ALPN: f.ALPN, CertFP: f.CertFP, CertCN: f.CertCN, Resumed: f.Resumed}
}

// handshakeFailed ends a session that has no TLS. An alert may be on its way; nothing else can be said.
func (w *worker) handshakeFailed(s *session, err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		w.noteEnd(s, ReasonClientClosed)
	}
	w.refuse(s, ReasonHandshakeFailed, "")
}

// handshakeClientEnded: the client has ended its direction, perhaps behind the last bytes that its handshake needs.
func (w *worker) handshakeClientEnded(s *session) {
	if s.reg.shake == nil {
		w.leftEarly(s)
		return
	}
	s.reg.shake.End(io.EOF)
}
