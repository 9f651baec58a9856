package link

import "fmt"

// What a link makes of what its sides say, and of their ends. All here is for its loop, and is the same whenever it hears the same: see journal.

// peerSaid works off what the peer has said; ok is false at its end.
func (l *link) peerSaid(b []byte, ok bool) {
	if !ok {
		l.peer.over()
		l.peerEnded()
		return
	}
	defer l.peer.took()
	l.note(sidePeer, b)
	l.hearPeer(b)
}

func (l *link) hearPeer(b []byte) {
	l.peer.last = !l.peer.take(b)
	for l.state != Down {
		line, ok := l.peer.line()
		if !ok {
			break
		}
		if len(line) > maxLine {
			l.end(EndLine, errLongLine("the peer"))
			return
		}
		l.peerLine(line)
	}
	if l.state != Down && l.peer.tooLong() {
		l.end(EndLine, errLongLine("the peer"))
	}
	if l.state != Down && l.peer.last {
		l.peer.over()
		l.peerEnded()
	}
}

// ircdSaid is the same for the ircd.
func (l *link) ircdSaid(b []byte, ok bool) {
	if !ok {
		l.ircd.over()
		l.ircdEnded()
		return
	}
	defer l.ircd.took()
	l.note(sideIrcd, b)
	l.hearIrcd(b)
}

func (l *link) hearIrcd(b []byte) {
	l.ircd.last = !l.ircd.take(b)
	l.work()
}

// work works off the whole lines of the ircd, up to a marker, and its end behind the last one.
func (l *link) work() {
	for l.state != Down && l.ircd != nil && !l.paused {
		line, ok := l.ircd.line()
		switch {
		case ok && len(line) <= maxLine:
			l.ircdLine(line)
		case ok || l.ircd.tooLong():
			l.end(EndLine, errLongLine("the ircd"))
		case l.ircd.last && !l.ircd.ended:
			l.ircd.over()
			l.ircdEnded()
		default:
			return
		}
	}
}

func errLongLine(who string) error {
	return fmt.Errorf("%s said a line of more than %d bytes, which no server protocol has that we know", who, maxLine)
}

func (l *link) peerLine(line []byte) {
	m := parse(line)
	if !l.peer.who.burst {
		l.peer.who.hear(m)
		if l.misnamed() {
			return
		}
		l.linked()
	}
	l.memory.note(m, line)
	switch {
	case l.passing():
		l.ircd.pass(line)
	case !l.ponged(line):
		l.keep(line)
	}
}

func (l *link) ircdLine(line []byte) {
	m := parse(line)
	if l.answered(m) {
		return
	}
	if tx, ok := l.dialect().marker(m); ok {
		l.mark(tx)
		return
	}
	switch l.state {
	case Replaying, Swallowing:
		l.swallow(m, line)
		return
	case Holding, Flushing:
		if pong, ok := l.dialect().ircdPong(m); ok { // the peer's own would stand behind all that is kept
			l.ircd.pass([]byte(pong))
			return
		}
	}
	l.peer.pass(line)
	l.us.hear(m)
	if m.from(l.us.sid) {
		l.own.note(m, line)
	}
	l.linked()
}

// peerEnded is the end of what the peer says.
func (l *link) peerEnded() {
	switch {
	case l.passing():
		l.end(EndPeer, l.peer.err())
	case l.state.held():
		err := errLeft
		if cause := l.peer.err(); cause != nil {
			err = fmt.Errorf("%w: %w", errLeft, cause)
		}
		l.leave(err)
	}
}

// ircdEnded is the end of what the ircd says.
func (l *link) ircdEnded() {
	switch l.state {
	case Replaying, Swallowing:
		l.replayEnded()
	default:
		l.end(EndIrcd, l.ircd.err())
	}
}

// end closes all sides, each behind what it was to be told, half a line of the other one included.
func (l *link) end(why End, err error) {
	if why == EndPeer && l.passing() {
		l.ircd.pass(l.peer.buf)
	}
	if why == EndIrcd {
		l.peer.pass(l.ircd.buf)
	}
	up := l.state != Linking
	l.flush()
	if l.holder != nil {
		if err == nil {
			err = fmt.Errorf("%w (%s)", errEnded, why)
		}
		l.holder.over(l, err, true)
		l.holder = nil
	}
	l.port.set.ended(l, why, err, up)
	for _, s := range []*side{l.peer, l.ircd, l.old} {
		if s != nil {
			s.finish()
		}
	}
	l.endPlay()
	l.late.Stop()
	l.enter(Down)
	l.answer(errEnded)
}
