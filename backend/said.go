package backend

import (
	"net/netip"
	"strings"
)

// said is one line of an ircd, as far as a check must understand it (RFC 1459 2.3.1, IRCv3 message-tags).
type said struct {
	verb   string // in capitals
	params []string
}

func parseSaid(line string) said {
	line = strings.TrimRight(line, "\r\n")
	for strings.HasPrefix(line, "@") || strings.HasPrefix(line, ":") { // tags, source
		_, rest, _ := strings.Cut(line, " ")
		line = strings.TrimLeft(rest, " ")
	}
	head, last, trailing := strings.Cut(" "+line, " :")
	s := said{params: strings.Fields(head)}
	if len(s.params) > 0 {
		s.verb, s.params = strings.ToUpper(s.params[0]), s.params[1:]
	}
	if trailing {
		s.params = append(s.params, last)
	}
	return s
}

// param is the nth parameter, "" if there is none.
func (s said) param(n int) string {
	if n >= len(s.params) {
		return ""
	}
	return s.params[n]
}

func (s said) last() string { return s.param(max(len(s.params)-1, 0)) }

func (s said) numeric() bool {
	return len(s.verb) == 3 && strings.Trim(s.verb, "0123456789") == ""
}

// refuses reports whether the line turns a client away: ERROR, or one of the numerics that come before it. 464 is not among them: an ircd may
// say it and go on.
func (s said) refuses() bool {
	switch s.verb {
	case "ERROR", "463", "465", "466": // ERR_NOPERMFORHOST, ERR_YOUREBANNEDCREEP, ERR_YOUWILLBEBANNED
		return true
	}
	return false
}

// words is the line for a person: what it says, without who it is said to or about. It may be shown to everybody.
func (s said) words() string {
	text := s.verb + " "
	if !s.numeric() {
		text += ":"
	}
	return printable([]byte(text + anonymous(s.last())))
}

// anonymous takes addresses and user@host out of a text.
func anonymous(text string) string {
	fields := strings.Split(text, " ")
	for i, f := range fields {
		bare := strings.Trim(f, "()[]{}<>,;.!\"'")
		if bare == "" {
			continue
		}
		_, err := netip.ParseAddr(bare)
		if err == nil || strings.Contains(bare, "@") {
			fields[i] = strings.Replace(f, bare, "*", 1)
		}
	}
	return strings.Join(fields, " ")
}

// addressesIn are the IP addresses that stand in a text.
func addressesIn(text string) (all []netip.Addr) {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" @!()[]<>,;=+", r) }) {
		if ip, err := netip.ParseAddr(word); err == nil {
			all = append(all, ip.Unmap())
		}
	}
	return all
}
