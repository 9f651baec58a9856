package proxy

// What we say to a client ourselves goes through say, and the last words before we close through lastWords. Both are lines of their own, between two
// lines of the ircd, and count with all else that the client has not read.

const startTLSRefused = ":ircferry 691 * :STARTTLS failed (TLS is not offered on this port)\r\n"

// sayRoom is how much a client may leave unread and still be answered by us. More is what ircds call SendQ exceeded.
const sayRoom = highWater + highWater/2

// say says lines of ours to the client. In the middle of a line of the ircd it must not be called.
func (s *session) say(lines []byte) {
	if len(lines) == 0 || s.has(dismissed) || s.over() {
		return
	}
	if s.unread()+len(lines) > sayRoom {
		s.sendQExceeded()
		return
	}
	s.toClient(lines)
}

func (s *session) sendQExceeded() { s.fail(ReasonMemory, "SendQ exceeded") }

// refuseSTARTTLS answers STARTTLS: at once, or when the ircd's present line is complete.
func (s *session) refuseSTARTTLS() {
	switch {
	case s.has(dismissed) || s.over():
	case !s.has(midLine):
		s.say([]byte(startTLSRefused))
	case s.unread()+len(startTLSRefused) > sayRoom:
		s.sendQExceeded()
	default:
		s.slot().Owed++
	}
}

// payRefusals says what could not be said in the middle of a line.
func (s *session) payRefusals() {
	for s.slot().Owed > 0 && !s.has(midLine) && !s.over() {
		s.slot().Owed--
		s.toClient([]byte(startTLSRefused))
	}
	if s.client.More() {
		s.again() // it may be read again
	}
}

// lastWords says an ERROR line, on a line of its own.
func (s *session) lastWords(text string) {
	if s.has(securing) {
		return // what it reads is not plaintext
	}
	line := "ERROR :Closing link: (ircferry) " + text + "\r\n"
	if s.has(midLine) {
		line = "\r\n" + line
	}
	s.toClient([]byte(line))
}
