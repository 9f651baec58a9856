package proxy

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/loop"
)

// The TLS handshake towards a backend (relay only), with us as the client, before anything else is said on the stream.

// shakingAtOnce bounds how many are under way from one loop to one backend. An ircd does them one after the other, a millisecond or more each: if
// thousands of clients come at once and each handshake began at once, most would run out of time, and the backend be taken for down.
const shakingAtOnce = 32

// secureBackend begins it on a stream that has just been connected, or has it wait for others.
func (w *worker) secureBackend(s *session) {
	key, fd := s.key(portBackend), s.backendFD
	at := func() *session {
		if s := w.at(key); s != nil && s.state == StateBackendHandshake && s.backendFD == fd && s.reg != nil {
			return s
		}
		return nil
	}
	shake := &shaking{}
	shake.Handshake = handshake.Client(s.reg.stream.TLS, handshake.Options{
		Slots:  w.p.slots,
		Remote: net.TCPAddrFromAddrPort(s.reg.stream.Addr),
		Write: func(p []byte) {
			w.loop.Post(func() {
				s := at()
				if s == nil || s.reg.shake != shake {
					return
				}
				// The socket is new and its buffer larger than any flight of a client.
				if n, _ := loop.Write(int(fd), p); n < len(p) {
					shake.End(io.ErrShortWrite)
				}
			})
		},
		Done: func(res handshake.Result) {
			if !w.loop.Post(func() {
				if s := at(); s != nil && s.reg.shake == shake {
					w.backendShaken(s, &res)
				}
				res.Params.Wipe()
			}) {
				res.Params.Wipe()
			}
		},
	})
	s.reg.shake = shake
	w.enter(s, StateBackendHandshake)
	if p := s.peer; p.shaking >= shakingAtOnce {
		p.waiting = append(p.waiting, key)
		w.until(s, s.reg.since+connectTime)
		return
	}
	w.shakeBackend(s)
}

func (w *worker) shakeBackend(s *session) {
	s.set(shakingBackend)
	s.peer.shaking++
	w.within(s, openTime)
	s.reg.shake.Start()
}

// backendShakingOver lets the next one begin, if the session's handshake was under way.
func (w *worker) backendShakingOver(s *session) {
	if !s.has(shakingBackend) {
		return
	}
	s.unset(shakingBackend)
	p := s.peer
	p.shaking--
	for len(p.waiting) > 0 && p.shaking < shakingAtOnce {
		next := w.at(p.waiting[0])
		p.waiting = p.waiting[1:]
		if next != nil && next.state == StateBackendHandshake && next.peer == p && !next.has(shakingBackend) && next.reg != nil && next.reg.shake != nil {
			w.shakeBackend(next)
		}
	}
}

func (w *worker) backendHandshakeBytes(s *session, p []byte) {
	s.reg.shake.feed(p)
}

// backendShaken goes on as if the connect had only now succeeded.
func (w *worker) backendShaken(s *session, res *handshake.Result) {
	shake := s.reg.shake
	s.reg.shake = nil
	w.backendShakingOver(s)
	if res.Err != nil {
		w.backendHandshakeFailed(s, res.Err)
		return
	}
	id, err := w.shard.NewTLS(&res.Params)
	if err != nil {
		w.outOfMemory(s)
		return
	}
	s.slot.BackendTLS = id
	if err := w.shard.Keep(id, shake.Rest()); err != nil {
		w.outOfMemory(s)
		return
	}
	w.introduce(s)
	if s.state == StateRelay && s.slot.BackendTLS == id {
		w.fromBackendTLS(s, 0)
	}
}

func (w *worker) backendHandshakeTimeOver(s *session) {
	if !s.has(shakingBackend) {
		w.backendHandshakeFailed(s, backend.ErrNotTried)
		return
	}
	w.backendHandshakeFailed(s, os.ErrDeadlineExceeded)
}

func (w *worker) backendHandshakeFailed(s *session, err error) {
	s.peer.b.DialFailed(fmt.Errorf("%w: %w", backend.ErrTLS, err))
	s.reg.refused = false
	w.retry(s)
}

// sayPreface writes what tells the backend who the client is.
func (w *worker) sayPreface(s *session, p []byte) bool {
	if s.slot.BackendTLS != 0 {
		w.sealBackend(s, p)
		return s.state != stateFree
	}
	// The socket is new and its buffer larger than any preface: less than all is a broken connection.
	if sent, _ := loop.Write(int(s.backendFD), p); sent < len(p) {
		w.dialFailed(s, unix.ECONNRESET)
		return false
	}
	return true
}
