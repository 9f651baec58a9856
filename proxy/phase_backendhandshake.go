package proxy

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/handshake"
)

// shakingAtOnce bounds how many are under way from one loop to one backend. An ircd does them one after the other, a millisecond or more each: if
// thousands of clients come at once and each handshake began at once, most would run out of time, and the backend be taken for down.
const shakingAtOnce = 32

// backendShaking is the TLS handshake towards a backend (relay only), with us as the client, before anything else is said on the stream.
type backendShaking struct{ early }

func (backendShaking) backendRoom(s *session) int { return handshakeRoom - s.reg.fed() }

func (backendShaking) fromBackend(s *session, p []byte) { s.reg.shake.feed(p) }

func (backendShaking) backendEnded(s *session) {
	if s.reg.shake != nil {
		s.reg.shake.End(io.EOF)
	}
}

func (backendShaking) timeOver(s *session) {
	if !s.has(shakingBackend) {
		s.backendHandshakeFailed(backend.ErrNotTried)
		return
	}
	s.backendHandshakeFailed(os.ErrDeadlineExceeded)
}

// secureBackend begins it on a stream that has just been connected, or has it wait for others.
func (s *session) secureBackend() {
	w, key, fd := s.w, s.key(portBackend), s.backend.FD()
	shake := &shaking{}
	at := func() *session {
		if s := w.at(key); s != nil && s.state == StateBackendHandshake && s.backend.FD() == fd && s.reg != nil && s.reg.shake == shake {
			return s
		}
		return nil
	}
	shake.Handshake = handshake.Client(s.reg.stream.TLS, handshake.Options{
		Slots:  w.p.slots,
		Remote: net.TCPAddrFromAddrPort(s.reg.stream.Addr),
		Write: func(p []byte) {
			w.postFor(key, func() {
				if s := at(); s != nil && !s.backend.Tell(w.legs, p) { // its buffer is larger than any flight of a client
					shake.End(io.ErrShortWrite)
				}
			})
		},
		Done: func(res handshake.Result) { w.postResult(key, &res, at, (*session).backendShaken) },
	})
	s.reg.shake = shake
	s.enter(StateBackendHandshake)
	if p := s.peer; p.shaking >= shakingAtOnce {
		p.waiting = append(p.waiting, key)
		s.until(s.reg.since + connectTime)
		return
	}
	s.shakeBackend()
}

func (s *session) shakeBackend() {
	s.set(shakingBackend)
	s.peer.shaking++
	s.within(openTime)
	s.reg.shake.Start()
}

// backendShaken goes on as if the connect had only now succeeded.
func (s *session) backendShaken(res *handshake.Result) {
	shake := s.reg.shake
	s.reg.shake = nil
	s.backendShakingOver()
	if res.Err != nil {
		s.backendHandshakeFailed(res.Err)
		return
	}
	if err := s.backend.Secure(s.w.legs, &res.Params, shake.Rest()); err != nil {
		s.outOfMemory(err)
		return
	}
	s.baseline(0)
	s.introduce()
	s.pullBackend()
}

func (s *session) backendHandshakeFailed(err error) {
	s.dialFailed(fmt.Errorf("%w: %w", backend.ErrTLS, err))
}

// endBackendsHandshake ends a handshake that is under way, if any, because its stream is left.
func (s *session) endBackendsHandshake() {
	if s.state == StateBackendHandshake && s.reg != nil && s.reg.shake != nil {
		s.reg.shake.End(errOver)
		s.reg.shake = nil
	}
	s.backendShakingOver()
}

// backendShakingOver lets the next one begin, if the session's handshake was under way.
func (s *session) backendShakingOver() {
	if !s.has(shakingBackend) {
		return
	}
	s.unset(shakingBackend)
	p := s.peer
	p.shaking--
	for len(p.waiting) > 0 && p.shaking < shakingAtOnce {
		next := s.w.at(p.waiting[0])
		p.waiting = p.waiting[1:]
		if next != nil && next.state == StateBackendHandshake && next.peer == p && !next.has(shakingBackend) && next.reg != nil && next.reg.shake != nil {
			next.shakeBackend()
		}
	}
}
