package proxy

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/loop"
)

// The TLS handshake of a client: crypto/tls on a goroutine, fed from the loop, which keeps the descriptor. What the handshake writes comes
// back as posted work, so that nobody but the loop touches the descriptor.

// handshakeTime bounds a client's TLS handshake.
const handshakeTime = 15 * time.Second

// shakingHands feeds the client's handshake.
type shakingHands struct{ early }

// handshakeRecord is the first byte of each TLS client (RFC 8446 section 5.1), which begins no line.
const handshakeRecord = 22

// notForTLS is what a TLS client gets to read on a listener without TLS: some show the bytes that they did not understand.
const notForTLS = "This port is not for TLS"

// secure begins the client's handshake, where its listener wants one; else the session goes on.
func (s *session) secure() {
	if !s.has(securing) {
		if s.reg != nil && len(s.reg.early) > 0 && s.reg.early[0] == handshakeRecord {
			s.refuse(ReasonTLSOnPlaintext, notForTLS) // no backend need hear of it
			return
		}
		s.begin()
		return
	}
	s.beginOpening()
	early := s.reg.early
	s.reg.early = nil
	s.enter(StateHandshake)
	s.within(handshakeTime)
	if len(early) > 0 {
		s.phase().fromClient(s, early)
	}
	s.pullClient()
}

// clientRoom: while another process is about to take over, no handshake begins that would have to stay behind.
func (shakingHands) clientRoom(s *session) int {
	if s.w.quiet && !s.reg.shaking() {
		return 0
	}
	return handshakeRoom - s.reg.fed()
}

// fromClient feeds the handshake, if that is what the client has begun.
func (shakingHands) fromClient(s *session, p []byte) {
	r := s.reg
	if r.shake == nil {
		switch verdict := firstBytes(p); verdict {
		case reasonNone:
			r.shake = s.newHandshake()
		case ReasonHeaderRefused:
			s.refuse(verdict, "PROXY header refused: this address is not trusted to send one")
			return
		default:
			s.unset(securing) // it reads plaintext
			s.refuse(verdict, "This port is for TLS only, switch TLS (SSL) on or use the plaintext port")
			return
		}
	}
	r.shake.feed(p)
}

// clientEnded: the client has ended its direction, perhaps behind the last bytes that its handshake needs.
func (shakingHands) clientEnded(s *session) {
	if s.reg.shake == nil {
		s.finish()
		return
	}
	s.reg.shake.End(io.EOF)
}

func (shakingHands) timeOver(s *session) { s.refuse(ReasonHandshakeTimeout, "") }

// firstBytes tells a TLS client, or what crypto/tls may answer with an alert (reasonNone), from one that talks IRC or sends a PROXY header.
func firstBytes(p []byte) CloseReason {
	if admit.BeginsHeader(p) {
		return ReasonHeaderRefused
	}
	switch c := p[0]; {
	case c >= ' ' && c < 0x7f, c == '\r', c == '\n', c == '\t':
		return ReasonPlaintextOnTLS
	}
	return reasonNone
}

func (s *session) newHandshake() *shaking {
	w, key := s.w, s.key(portClient)
	at := func() *session {
		if s := w.at(key); s != nil && s.state == StateHandshake && s.reg != nil && s.reg.shake != nil {
			return s
		}
		return nil
	}
	return &shaking{Handshake: handshake.Server(s.lst().TLS(), handshake.Options{
		Slots:  w.p.slots,
		Local:  net.TCPAddrFromAddrPort(s.local()),
		Remote: net.TCPAddrFromAddrPort(s.remote()),
		Write: func(p []byte) {
			w.postFor(key, func() {
				if s := at(); s != nil {
					s.reg.shake.spoke, s.reg.shake.first = true, nil
					s.toldClient(s.client.Raw(w.legs, p))
				}
			})
		},
		Done: func(res handshake.Result) { w.postResult(key, &res, at, (*session).shaken) },
	})}
}

// postResult has f take a handshake's result on the loop, if at still answers its session; the secrets are wiped in any case.
func (w *worker) postResult(key loop.Key, res *handshake.Result, at func() *session, f func(*session, *handshake.Result)) {
	if !w.postFor(key, func() {
		defer res.Params.Wipe()
		if s := at(); s != nil {
			f(s, res)
		}
	}) {
		res.Params.Wipe()
	}
}

// shaken takes the client's TLS state over from its handshake.
func (s *session) shaken(res *handshake.Result) {
	shake := s.reg.shake
	s.reg.shake = nil
	s.noDeadline()
	s.shook(res)
	if res.Err != nil {
		s.handshakeFailed(res.Err)
		return
	}
	if err := s.client.Secure(s.w.legs, &res.Params, shake.Rest()); err != nil {
		s.outOfMemory(err)
		return
	}
	s.unset(securing | keepsBytes)
	s.client.Begin(s.w.legs, 0)
	s.reg.facts = factsOf(res.Facts)
	s.begin()
}

func factsOf(f handshake.Facts) *backend.TLSFacts {
	return &backend.TLSFacts{Version: f.Version, Cipher: f.Cipher, SNI: f.SNI, ALPN: f.ALPN, CertFP: f.CertFP, CertCN: f.CertCN, Resumed: f.Resumed}
}

// handshakeFailed ends a session that has no TLS. An alert may be on its way; nothing else can be said.
func (s *session) handshakeFailed(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.noteEnd(ReasonClientClosed)
	}
	s.refuse(ReasonHandshakeFailed, "")
}
