package proxy

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
)

// A host that vanishes says nothing, and its sessions would wait five minutes for the kernel to notice (loop.Watchful). When checks hear nothing
// either, the kernel is asked to look closer: who lives behind a listener that is overrun answers its probes and stays.

// watchSilent tells the streams of each loop what the checks hear of their backends.
func (p *Proxy) watchSilent() {
	ctx, cancel := context.WithTimeout(context.Background(), lagBound)
	defer cancel()
	_ = p.onAll(ctx, func(w *worker) {
		for _, p := range w.peers {
			if silent := p.b.Silent(); silent != p.silent {
				p.silent = silent
				w.each(func(s *session) {
					if s.peer == p {
						s.watchBackend()
					}
				})
			}
		}
	})
}

// watchBackend has the kernel watch the stream of a session as closely as its backend needs. That of our own host is not watched at all.
func (s *session) watchBackend() {
	fd := s.backend.FD()
	if !s.backend.IsOpen() {
		return
	}
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE); err != nil || on == 0 {
		return
	}
	options := loop.Watchful[:]
	if s.peer.silent {
		options = loop.Doubtful[:]
	}
	for _, o := range options {
		loop.SetOption(fd, o.Level, o.Name, o.Value)
	}
}
