package track

import (
	"bytes"
	"slices"
)

// half is a line whose end has not come yet. One that does not matter is not kept.
type half struct{ text *[]byte }

var skipped []byte

// FromIRCd takes bytes that the ircd has said to the client.
func (r *Record) FromIRCd(p []byte) { r.each(&r.down, p, r.heardMatters, r.hear) }

// FromClient takes bytes that the client has said, and that go on to the ircd.
func (r *Record) FromClient(p []byte) { r.each(&r.up, p, saidMatters, r.say) }

// each gives the lines that matter to take, whole, without their ends.
func (r *Record) each(h *half, p []byte, matters func([]byte) bool, take func(string)) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			r.keep(h, p, matters)
			return
		}
		line := p[:i]
		p = p[i+1:]
		if h.text != nil {
			r.keep(h, line, matters)
			if line = h.end(); line == nil {
				continue
			}
			defer clear(line) // it may be a password
		}
		if len(line) > maxHalf {
			r.tooLong(line, matters)
			continue
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if matters(line) {
			take(string(line))
		}
	}
}

// keep has the begin of a line wait for its end, if it may matter.
func (r *Record) keep(h *half, p []byte, matters func([]byte) bool) {
	switch {
	case h.text == &skipped:
	case h.text == nil && verbIsWhole(p) && !matters(p):
		h.text = &skipped
	case h.text == nil && len(p) <= maxHalf:
		text := bytes.Clone(p)
		h.text = &text
	case h.text != nil && len(*h.text)+len(p) <= maxHalf:
		*h.text = append(*h.text, p...)
	default:
		if h.text != nil {
			old := *h.text
			p = slices.Concat(old, p[:maxHalf+1-len(old)])
			clear(old)
			defer clear(p)
		}
		r.tooLong(p, matters)
		h.text = &skipped
	}
}

// tooLong is told the begin of a line that no protocol has, of more than maxHalf bytes. It is not looked at, in however many pieces it comes.
func (r *Record) tooLong(begin []byte, matters func([]byte) bool) {
	if matters(begin[:maxHalf]) {
		r.flags |= overflow
	}
}

// verbIsWhole reports whether more of a line cannot change which verb it has, and of whom.
func verbIsWhole(begin []byte) bool {
	_, _, rest := verbOf(begin)
	return rest != nil
}

// end is the whole line; nil: it does not matter.
func (h *half) end() []byte {
	text := h.text
	h.text = nil
	if text == &skipped {
		return nil
	}
	return *text
}

// word cuts the first word off, and the blanks behind it.
func word(p []byte) (first, rest []byte) {
	i := bytes.IndexByte(p, ' ')
	if i < 0 {
		return p, nil
	}
	first, rest = p[:i], p[i:]
	for len(rest) > 0 && rest[0] == ' ' {
		rest = rest[1:]
	}
	return first, rest
}

// verbOf is the source, without its colon, and the verb of a line.
func verbOf(line []byte) (source, verb, rest []byte) {
	if len(line) > 0 && line[0] == '@' {
		_, line = word(line)
	}
	if len(line) > 0 && line[0] == ':' {
		source, line = word(line)
		source = source[1:]
	}
	verb, rest = word(line)
	return source, verb, rest
}

// numerics that change a record.
var numerics = func() (set [1000]bool) {
	for _, n := range [...]int{1, 5, 221, 305, 306, 329, 331, 332, 333, 353, 381, 734, 900, 901, 903} {
		set[n] = true
	}
	return set
}()

// heardMatters is the first look at a line of the ircd. What others do to themselves is nearly all of what comes beside talk.
func (r *Record) heardMatters(line []byte) bool {
	source, verb, _ := verbOf(line)
	switch string(verb) {
	case "PRIVMSG", "NOTICE", "TAGMSG", "QUIT", "PING", "PONG":
		return false
	case "JOIN", "PART", "NICK", "ACCOUNT":
		return r.isMe(source)
	case "MODE", "KICK", "TOPIC", "CAP":
		return true
	}
	if len(verb) != 3 {
		return false
	}
	n := 0
	for _, c := range verb {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return numerics[n]
}

// isMe reports whether a source is the user of the record.
func (r *Record) isMe(source []byte) bool {
	if i := bytes.IndexByte(source, '!'); i >= 0 {
		source = source[:i]
	}
	return len(source) == len(r.nick) && r.net.same(string(source), r.nick) // compared where it lies: no copy is made
}

// saidMatters is the first look at a line of the client, whose verb may be in small letters.
func saidMatters(line []byte) bool {
	_, verb, _ := verbOf(line)
	if len(verb) < 4 || len(verb) > 12 {
		return false
	}
	for _, v := range said {
		if len(v) == len(verb) && bytes.EqualFold(verb, v) {
			return true
		}
	}
	return false
}

var said = [...][]byte{[]byte("USER"), []byte("AWAY"), []byte("PASS"), []byte("MONITOR"), []byte("WATCH"), []byte("SILENCE"), []byte("ACCEPT")}
