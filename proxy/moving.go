package proxy

import (
	"github.com/ircferry/ircferry/proxy/loop"
	"golang.org/x/sys/unix"
)

type moving struct{}

func (w *worker) attachedEvent(s *session, ev loop.Events) {}
func (w *worker) mayReadParked(s *session) bool            { return false }
func (w *worker) parkedBytes(s *session, p []byte)         {}
func (w *worker) flushPaced(s *session)                    {}
func (w *worker) paceOn(s *session)                        {}
func (w *worker) frozenRoom(s *session, n int) int         { return n }
func (w *worker) frozenLost(s *session)                    {}
func (w *worker) frozenTimeOver(s *session)                {}
func (w *worker) dropAttached(s *session)                  {}
func (w *worker) leaveMove(s *session)                     {}
func (w *worker) reopenFailed(s *session)                  {}
func (w *worker) reopenRetry(s *session)                   {}
func (w *worker) reopenConnected(s *session)               {}
func (w *worker) reopenBytes(s *session, p []byte)         {}
func descriptors() (used, limit int) {
	var r unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &r)
	return 0, int(r.Cur)
}
