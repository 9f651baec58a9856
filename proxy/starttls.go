package proxy

import (
	"bytes"

	"github.com/ircferry/ircferry/proxy/wire"
)

// STARTTLS (IRCv3 tls) never reaches an ircd: one that took it would begin a handshake in the middle of our stream. It is refused here, before
// registration (register.go) and after it.

const startTLSRefused = ":ircferry 691 * :STARTTLS failed (TLS is not offered on this port)\r\n"

// withoutSTARTTLS takes STARTTLS lines out of what a registered client has said, in place. It is on the way of every line, so a look at
// a line's first byte is nearly always all.
func (w *worker) withoutSTARTTLS(s *session, p []byte) []byte {
	if s.slot.ToBackend.Half > 0 {
		p = w.finishHalf(s, p)
	}
	return w.linesWithoutSTARTTLS(s, p)
}

func (w *worker) linesWithoutSTARTTLS(s *session, p []byte) []byte {
	if !anySTARTTLS(p) {
		return p
	}
	kept := p[:0]
	for line := range wire.Lines(p) {
		if isSTARTTLS(line) {
			w.refuseSTARTTLS(s)
			continue
		}
		kept = append(kept, line...) // never behind line, so nothing unread is written over
	}
	return append(kept, p[wire.Cut(p):]...)
}

// finishHalf looks at the line that began in what is queued and ends in p, and answers what of p is left.
func (w *worker) finishHalf(s *session, p []byte) []byte {
	i := bytes.IndexByte(p, '\n') + 1
	if i == 0 {
		return p
	}
	line := append(w.shard.AppendHalf(nil, &s.slot.ToBackend), p[:i]...)
	if !isSTARTTLS(line) {
		return p
	}
	if err := w.shard.DropHalf(&s.slot.ToBackend); err != nil {
		w.outOfMemory(s)
		return nil
	}
	w.refuseSTARTTLS(s)
	return p[i:]
}

func anySTARTTLS(p []byte) bool {
	for len(p) > 0 {
		switch p[0] {
		case 's', 'S', '@', ':', ' ':
			if isSTARTTLS(p) {
				return true
			}
		}
		i := bytes.IndexByte(p, '\n') + 1
		if i == 0 {
			return false
		}
		p = p[i:]
	}
	return false
}

// isSTARTTLS looks at the first line of p. Only a whole line is one.
func isSTARTTLS(p []byte) bool {
	i := bytes.IndexByte(p, '\n') + 1
	return i > 0 && parseLine(p[:i]).is("STARTTLS")
}

// refuseSTARTTLS answers between two lines of the ircd: at once, or when the present one is complete.
func (w *worker) refuseSTARTTLS(s *session) {
	if s.has(midLine) {
		s.set(owesRefusal)
		return
	}
	w.toClient(s, []byte(startTLSRefused))
}

func (w *worker) payRefusal(s *session) {
	if !s.has(midLine) {
		s.unset(owesRefusal)
		w.toClient(s, []byte(startTLSRefused))
	}
}
