package proxy

import (
	"sync/atomic"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/track"
	"github.com/ircferry/ircferry/proxy/wire"
)

// peer is a backend as one worker knows it. The counts are written by the worker's goroutine only.
type peer struct {
	b            *backend.Backend
	name         string // "pool/name"
	mark         uint32 // of the name, see names
	pool         string
	live         atomic.Int64 // sessions with a stream here, or dialling one
	unregistered atomic.Int64 // of these, without 001
	typing       atomic.Int64 // of these, those whose client has to say more: see the flag
	onRegistered []func()     // called once, when registering is 0

	network *track.Network // what is known of the ircd whose users' streams are listened to; nil: they are not

	silent  bool       // as the checks say; see silent.go
	shaking int        // TLS handshakes under way
	waiting []loop.Key // sessions that are connected and wait for theirs; some may have gone
}

func (w *worker) peerOf(b *backend.Backend) *peer {
	p := w.peers[b]
	if p == nil {
		p = &peer{b: b, name: b.FullName(), mark: w.p.names.mark(b.FullName()), pool: b.Pool().Name()}
		w.mu.Lock()
		w.peers[b] = p
		w.mu.Unlock()
	}
	return p
}

// forgetPeers forgets backends that a reload has removed, when nobody is there any more.
func (w *worker) forgetPeers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for b, p := range w.peers {
		if p.live.Load() > 0 || len(p.onRegistered) > 0 {
			continue
		}
		if now, ok := w.p.backends.Backend(p.name); !ok || now != b {
			delete(w.peers, b)
		}
	}
}

// id is what slots say of the peer; 0 for none.
func (p *peer) id() uint32 {
	if p == nil {
		return 0
	}
	return p.mark
}

// setPeer notes whose stream the session has; nil: none.
func (s *session) setPeer(to *peer) {
	from := s.peer
	if from == to {
		return
	}
	s.peer = to
	s.slot().Peer = to.id()
	if s.has(typing) && to != nil {
		to.typing.Add(1)
	}
	if s.has(typing) && from != nil {
		from.typing.Add(-1)
	}
	if to != nil {
		to.listen()
		s.slot().Last = to.mark
		to.b.SessionDelta(1)
		to.live.Add(1)
		if !s.registered() {
			to.unregistered.Add(1)
		}
	}
	if from != nil {
		from.b.SessionDelta(-1)
		from.live.Add(-1)
		if !s.registered() {
			from.unregistered.Add(-1)
			from.tellRegistered()
		}
	}
}

func (s *session) setRegistered() {
	if s.registered() {
		return
	}
	s.clientSpoke()
	s.slot().Flags |= wire.Registered
	if s.peer != nil {
		s.peer.unregistered.Add(-1)
		s.peer.tellRegistered()
	}
}

// awaitClient notes that the registration does not go on before its client has said something.
func (s *session) awaitClient() {
	if s.has(typing) || s.registered() {
		return
	}
	s.set(typing)
	if s.peer != nil {
		s.peer.typing.Add(1)
		s.peer.tellRegistered()
	}
}

// clientSpoke notes that it has.
func (s *session) clientSpoke() {
	if !s.has(typing) {
		return
	}
	s.unset(typing)
	if s.peer != nil {
		s.peer.typing.Add(-1)
	}
}

// registering is how many are about to be registered.
func (p *peer) registering() int64 { return p.unregistered.Load() - p.typing.Load() }

func (p *peer) tellRegistered() {
	if p.registering() > 0 || len(p.onRegistered) == 0 {
		return
	}
	fs := p.onRegistered
	p.onRegistered = nil
	for _, f := range fs {
		f()
	}
}
