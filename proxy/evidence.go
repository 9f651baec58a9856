package proxy

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
)

// Streams asks the kernel whether the ircd's ends of streams are still open; nothing is read. It is one poll for each loop's sessions.
func (p *Proxy) Streams(ctx context.Context, us []string, next bool) backend.Streams {
	wanted := make(map[string]bool, len(us))
	for _, u := range us {
		wanted[u] = true
	}
	var mu sync.Mutex
	var all backend.Streams
	err := p.onAll(ctx, func(w *worker) {
		mine := w.streamsOf(wanted, next)
		mu.Lock()
		defer mu.Unlock()
		all.Ended += mine.Ended
		all.Open += mine.Open
	})
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		return backend.Streams{} // a part is no evidence
	}
	return all
}

func (w *worker) streamsOf(wanted map[string]bool, next bool) (found backend.Streams) {
	var fds []unix.PollFd
	w.each(func(s *session) {
		if !wanted[s.id()] {
			return
		}
		fd, ended := s.backend.FD(), s.backend.Ended()
		if next {
			fd, ended = -1, false
			if s.mv != nil {
				fd, ended = s.mv.attached.FD(), s.mv.attached.state == attachLost
			}
		}
		switch {
		case ended:
			found.Ended++
		case fd >= 0:
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP})
		}
	})
	if len(fds) == 0 {
		return found
	}
	for {
		_, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		break
	}
	for _, f := range fds {
		if f.Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0 {
			found.Ended++
		} else {
			found.Open++
		}
	}
	return found
}
