package keeper

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// take does what a message says. Descriptors that are kept are taken out of s.fds.
func (s *Server) take(p *peer, msg []byte, flags int) {
	verb, seq, body, err := parseHeader(msg)
	switch {
	case err != nil || flags&unix.MSG_TRUNC != 0:
		s.refuse(p, verb, seq, whyGarbled)
	case s.o.unknown[verb]:
		s.say(p, sayUnknown, seq, []byte{verb}, nil)
	case verb == verbHello:
		s.hello(p, seq, body)
	case !p.greeted:
		s.refuse(p, verb, seq, whyGarbled)
	case verb == verbClaim:
		s.say(p, verb|answered, seq, s.claim(p, body), nil)
	case verb == verbPing:
		st := s.status()
		s.say(p, verb|answered, seq, append(st.append(nil), s.o.extra...), nil)
	case verb > verbEnding:
		s.say(p, sayUnknown, seq, []byte{verb}, nil)
	case s.writer != p:
		s.refuse(p, verb, seq, whyFenced)
	default:
		s.write(p, verb, seq, body, flags&unix.MSG_CTRUNC != 0)
	}
}

// write does what only who has the claim may ask for; less: the kernel has not given all descriptors.
func (s *Server) write(p *peer, verb byte, seq uint32, body []byte, less bool) {
	ok := true
	switch verb {
	case verbKeep:
		ok = s.keep(p, body)
	case verbDrop:
		ok = s.dropTags(body)
	case verbMemory:
		if less {
			s.refuse(p, verb, seq, whyEMFILE)
			return
		}
		ok = s.memory(body)
	case verbTake:
		ok = s.give(p, seq, body)
	case verbNames:
		s.giveNames(p, seq)
	case verbClear:
		s.clear()
		s.say(p, verb|answered, seq, nil, nil)
	case verbPass:
		s.say(p, verb|answered, seq, s.pass(p), nil)
	case verbServing:
		s.serving, s.grace = true, s.o.Grace
	case verbEnding:
		p.ending = true
	}
	if !ok {
		s.refuse(p, verb, seq, whyGarbled)
	}
}

func (s *Server) refuse(p *peer, verb byte, seq uint32, why byte) {
	s.say(p, sayRefused, seq, []byte{verb, why}, nil)
}

// hello lets a connection ask for more than that.
func (s *Server) hello(p *peer, seq uint32, body []byte) {
	if len(body) < len(magic)+4 || string(body[:len(magic)]) != magic {
		s.refuse(p, verbHello, seq, whyGarbled)
		return
	}
	body = body[len(magic):]
	p.greeted = agree(int(binary.LittleEndian.Uint16(body)), int(binary.LittleEndian.Uint16(body[2:]))) == nil
	st := s.status()
	s.say(p, verbHello|answered, seq, append(st.append(nil), s.o.extra...), nil)
}

// keep keeps descriptors by their tags. The kernel gives the first of a message and no more when it has no room (MSG_CTRUNC): the others are lost, and told.
func (s *Server) keep(p *peer, body []byte) bool {
	tags, err := parseTags(s.tags[:0], body)
	if err != nil || len(tags) < len(s.fds) {
		return false
	}
	came := len(s.fds)
	for i, tag := range tags[:came] {
		if s.held.n >= s.max && !s.held.has(tag) {
			s.lost(p, whyFull, tags[i:came])
			break
		}
		if before := s.held.put(tag, s.fds[i]); before >= 0 {
			unix.Close(before)
		}
		s.fds[i] = -1
	}
	if came < len(tags) {
		s.lost(p, whyEMFILE, tags[came:])
	}
	return true
}

// lost tells which descriptors are not held.
func (s *Server) lost(p *peer, why byte, tags []Tag) {
	p.owes = !s.say(p, sayLost, 0, appendTags([]byte{why}, tags), nil) || p.owes
}

func (s *Server) dropTags(body []byte) bool {
	tags, err := parseTags(s.tags[:0], body)
	if err != nil {
		return false
	}
	for _, tag := range tags {
		if fd := s.held.remove(tag); fd >= 0 {
			unix.Close(fd)
		}
	}
	return true
}

// memory keeps a descriptor by a name, or closes the one that it has.
func (s *Server) memory(body []byte) bool {
	if len(body) == 0 || len(body) > maxName || len(s.fds) > 1 {
		return false
	}
	i := slices.IndexFunc(s.names, func(m named) bool { return m.name == string(body) })
	switch {
	case i >= 0:
		unix.Close(s.names[i].fd)
		s.names = slices.Delete(s.names, i, i+1)
	case len(s.names) >= maxMemory:
		return false
	}
	if len(s.fds) == 1 {
		s.names = append(s.names, named{string(body), s.fds[0]})
		s.fds[0] = -1
	}
	return true
}

// give sends a batch of what is held, by descriptor from a number on; it stays held.
func (s *Server) give(p *peer, seq uint32, body []byte) bool {
	if len(body) < 4 {
		return false
	}
	tags, fds := s.tags[:0], make([]int, 0, maxBatch)
	fd := int(binary.LittleEndian.Uint32(body))
	for ; fd < len(s.held.tags) && len(fds) < maxBatch; fd++ {
		if tag := s.held.tags[fd]; tag != 0 {
			tags, fds = append(tags, tag), append(fds, fd)
		}
	}
	if fd >= len(s.held.tags) {
		fd = 0
	}
	answer := appendTags(binary.LittleEndian.AppendUint32(nil, uint32(fd)), tags)
	if !s.say(p, verbTake|answered, seq, answer, fds) {
		s.refuse(p, verbTake, seq, whyBusy)
	}
	return true
}

// giveNames sends all memory.
func (s *Server) giveNames(p *peer, seq uint32) {
	var answer []byte
	var fds []int
	for _, m := range s.names {
		answer = append(append(answer, byte(len(m.name))), m.name...)
		fds = append(fds, m.fd)
	}
	if !s.say(p, verbNames|answered, seq, answer, fds) {
		s.refuse(p, verbNames, seq, whyBusy)
	}
}
