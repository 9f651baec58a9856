package proxy

// closing waits for a client that has had its last words: until it has read them and closed, at most two seconds. It is read and what it says is
// forgotten (discardClient).
type closing struct{ early }

func (closing) clientLeft(s *session) { s.finish() }

func (closing) timeOver(s *session) { s.finish() }
