package proxy

import (
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/loop"
)

// The TLS handshake towards a backend (relay only), with us as the client, before anything else is said on the stream.

// secureBackend begins it on a stream that has just been connected.
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
	w.within(s, openTime)
	shake.Start()
}

func (w *worker) backendHandshakeBytes(s *session, p []byte) {
	s.reg.shake.feed(p)
}

// backendShaken goes on as if the connect had only now succeeded.
func (w *worker) backendShaken(s *session, res *handshake.Result) {
	shake := s.reg.shake
	s.reg.shake = nil
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
