package ircd

import "strings"

// caseMapping is what ISUPPORT says: {|}~ are the small letters of [\]^ (RFC 1459 section 2.2, and ~ with ^ as all servers have it).
const caseMapping = "rfc1459"

// fold answers the form under which names are compared.
func fold(name string) string {
	for i := range len(name) {
		if foldByte(name[i]) != name[i] {
			return foldSlow(name)
		}
	}
	return name
}

func foldSlow(name string) string {
	b := []byte(name)
	for i, c := range b {
		b[i] = foldByte(c)
	}
	return string(b)
}

func foldByte(c byte) byte {
	if c >= 'A' && c <= '^' { // A-Z [ \ ] ^ become a-z { | } ~
		return c + 32
	}
	return c
}

const (
	nickLen    = 31
	identLen   = 12
	channelLen = 64
	topicLen   = 390
	kickLen    = 255
	awayLen    = 200
	keyLen     = 32
	realLen    = 128
)

const nickSpecial = "[]\\`_^{|}"

func validNick(nick string) bool {
	if nick == "" || len(nick) > nickLen || nick[0] == '-' || nick[0] >= '0' && nick[0] <= '9' {
		return false
	}
	for i := range len(nick) {
		c := nick[i]
		if !isLetter(c) && !isDigit(c) && c != '-' && strings.IndexByte(nickSpecial, c) < 0 {
			return false
		}
	}
	return true
}

func validChannel(name string) bool {
	return len(name) > 1 && len(name) <= channelLen && name[0] == '#' && !strings.ContainsAny(name, " ,\a\x00\r\n:")
}

func isLetter(c byte) bool { return c|32 >= 'a' && c|32 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// cut shortens s to at most n bytes.
func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// match reports whether text fits mask, where * is any string and ? any byte, in folded form.
func match(mask, text string) bool {
	m, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case m < len(mask) && mask[m] == '*':
			star, mark = m, t
			m++
		case m < len(mask) && (mask[m] == '?' || foldByte(mask[m]) == foldByte(text[t])):
			m++
			t++
		case star >= 0: // let the last star take one byte more
			mark++
			m, t = star+1, mark
		default:
			return false
		}
	}
	for m < len(mask) && mask[m] == '*' {
		m++
	}
	return m == len(mask)
}

// fullMask completes a mask to nick!ident@host.
func fullMask(mask string) string {
	bang, at := strings.IndexByte(mask, '!'), strings.LastIndexByte(mask, '@')
	switch {
	case bang < 0 && at < 0:
		if strings.ContainsAny(mask, ".:") {
			return "*!*@" + mask
		}
		return mask + "!*@*"
	case bang < 0:
		return "*!" + mask
	case at < 0:
		return mask + "@*"
	}
	return mask
}
