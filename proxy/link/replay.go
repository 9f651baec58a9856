package link

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/ircferry/ircferry/backend"
)

// replay plays the link into the process at the other end of s, which is the link's from here on; done is called when its last fence is answered.
func (l *link) replay(s *side, r backend.Replay, done func(error)) {
	if l.state != Cut {
		s.close()
		done(fmt.Errorf("it is %s", l.state))
		return
	}
	l.ircd, l.fresh, l.lost = s, memory{}, nil
	l.waiter, l.wanted, l.to = done, r.Tx, r.To
	next, stop := iter.Pull(l.again(r.Burst))
	l.stop = stop
	l.enter(Replaying)
	l.ircd.pass(r.Open)
	l.ask(func() {
		if !l.same() {
			l.unplay(errors.New("it did not say which server it is"))
			return
		}
		l.pace(pieces(next), func() {
			l.ircd.pass(r.Close)
			l.ask(l.replayed)
		})
	})
	if s.tls != nil { // it may have spoken with the end of its handshake
		l.hearIrcd(nil)
	}
}

// replayed is the last fence's answer: from here on the marker is waited for.
func (l *link) replayed() {
	l.endPlay()
	l.enter(Swallowing)
	l.answer(nil)
}

// endPlay ends the walk through the burst.
func (l *link) endPlay() {
	if l.stop != nil {
		l.stop()
		l.stop = nil
	}
}

// pieces puts lines together, up to n bytes or one line.
func pieces(next func() (string, bool)) func(n int) []byte {
	ahead, more := next()
	return func(n int) (piece []byte) {
		for more && (len(piece) == 0 || len(piece)+len(ahead) <= n) {
			piece = append(piece, ahead...)
			ahead, more = next()
		}
		return piece
	}
}

// again gives the lines of a replay: the burst, and what is remembered behind its servers.
func (l *link) again(burst iter.Seq[string]) iter.Seq[string] {
	return func(yield func(string) bool) {
		servers, told := map[string]bool{l.peer.who.sid: true}, false
		tell := func() bool {
			told = true
			for line := range l.memory.of(servers) {
				if !yield(strings.TrimRight(line, "\r\n") + "\n") {
					return false
				}
			}
			return true
		}
		for line := range burst {
			if m := parse([]byte(line)); !told && m.is("SERVER") {
				servers[introduced(m)] = true
			} else if !told && !tell() {
				return
			}
			if !yield(line + "\n") {
				return
			}
		}
		if !told {
			tell()
		}
	}
}

// introduced is the id of a server in the line by which another one tells of it.
func introduced(m message) string {
	for i, p := range m.params(5) {
		if i > 0 && isSID(p) {
			return p
		}
	}
	return ""
}

// swallow is what is done with a line of a process that a link is replayed into.
func (l *link) swallow(m message, line []byte) {
	if l.ircd.who.hear(m); l.ircd.who.sid != "" && !l.same() {
		l.unplay(fmt.Errorf("it is server %s with the id %s, and the link knows %s with %s", l.ircd.who.name, l.ircd.who.sid, l.us.name, l.us.sid))
		return
	}
	if m.from(l.us.sid) {
		l.fresh.note(m, line)
	}
	if pong, ok := l.dialect().ircdPong(m); ok {
		l.ircd.pass([]byte(pong))
	}
}

// same reports whether the process has the identity of the one before.
func (l *link) same() bool {
	return l.ircd.who.sid == l.us.sid && strings.EqualFold(l.ircd.who.name, l.us.name)
}

// unplay closes a replayed side; the peer is held on.
func (l *link) unplay(why error) {
	if l.state != Replaying && l.state != Swallowing {
		return
	}
	l.endPlay()
	l.ircd.finish()
	l.ircd, l.fence, l.wanted, l.marked, l.paused, l.lost = nil, fence{}, "", "", false, why
	l.enter(Cut)
	l.answer(why)
}

// replayEnded is the end of the connection of a replay.
func (l *link) replayEnded() {
	err := errors.New("the ircd closed the connection; its log says why")
	if cause := l.ircd.err(); cause != nil {
		err = fmt.Errorf("the connection to the ircd broke: %w", cause)
	}
	l.unplay(err)
}
