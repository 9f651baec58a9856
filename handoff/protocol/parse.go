package protocol

import (
	"bytes"
	"strings"
)

// classes of bytes, so that the parser asks one table.
const (
	classKey  = 1 << iota // may stand in a key
	classVerb             // may stand in a verb
	classU                // may stand in a stream id
)

var class = func() (t [256]uint8) {
	for c := byte('a'); c <= 'z'; c++ {
		t[c] |= classKey | classU
	}
	for c := byte('A'); c <= 'Z'; c++ {
		t[c] |= classVerb | classU
	}
	for c := byte('0'); c <= '9'; c++ {
		t[c] |= classKey | classVerb | classU
	}
	t['-'] |= classKey | classVerb | classU
	t['.'] |= classKey | classU
	t['_'] |= classKey | classU
	return t
}()

// Parse reads one line, without its LF; one CR at its end is ignored. It copies what it keeps: line may be reused. Errors are
// of type *Error with CodeBadLine and do not repeat the line's bytes, which may be secret.
func Parse(line []byte) (Message, error) {
	if len(line) >= MaxLine {
		return Message{}, errLineLong
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if bytes.IndexByte(line, 0) >= 0 || bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, '\n') >= 0 {
		return Message{}, badLine("raw NUL, CR or LF")
	}
	s := string(line) // one copy; verb, keys and values without escapes are parts of it
	verb, rest, _ := strings.Cut(s, " ")
	if !isVerb(verb) {
		return Message{}, badLine("no verb")
	}
	m := Message{Verb: verb}
	rest = strings.Trim(rest, " ")
	if n := strings.Count(rest, " ") + 1; rest != "" && n <= MaxFields {
		m.Fields = make([]Field, 0, n)
	}
	for rest != "" {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		if word == "" {
			continue // runs of spaces
		}
		f, err := parseField(word)
		if err != nil {
			return Message{}, err
		}
		if len(m.Fields) == MaxFields {
			return Message{}, badLine("too many keys")
		}
		if m.index(f.Key) >= 0 {
			return Message{}, badLine("a key stands twice")
		}
		m.Fields = append(m.Fields, f)
	}
	return m, nil
}

func parseField(word string) (Field, error) {
	n := 0
	for n < len(word) && class[word[n]]&classKey != 0 {
		n++
	}
	switch {
	case n == 0, n < len(word) && word[n] != '=':
		return Field{}, badLine("not a key")
	case n == len(word):
		return Field{Key: word, Bare: true}, nil
	}
	value, ok := unescape(word[n+1:])
	if !ok {
		return Field{}, badLine("unknown escape")
	}
	return Field{Key: word[:n], Value: value}, nil
}

func isVerb(s string) bool {
	if s == "" || len(s) > maxVerb || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if class[s[i]]&classVerb == 0 {
			return false
		}
	}
	return true
}

func isKey(s string) bool {
	for i := 0; i < len(s); i++ {
		if class[s[i]]&classKey == 0 {
			return false
		}
	}
	return s != ""
}

// ValidU reports whether s can be a stream id: 1 to 32 of A-Z a-z 0-9 . - _
func ValidU(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if class[s[i]]&classU == 0 {
			return false
		}
	}
	return true
}

// ValidTx reports whether s can be a transaction's name or its token: 32 lower-case hex digits.
func ValidTx(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// unescape returns s itself if nothing is escaped in it. A backslash before anything unknown, or at the end, is refused: values
// are bytes, and a guess would change them.
func unescape(s string) (string, bool) {
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s, true
	}
	b := make([]byte, i, len(s))
	copy(b, s)
	for ; i < len(s); i++ {
		c := s[i]
		if c != '\\' {
			b = append(b, c)
			continue
		}
		i++
		if i == len(s) {
			return "", false
		}
		switch s[i] {
		case 's':
			b = append(b, ' ')
		case 'r':
			b = append(b, '\r')
		case 'n':
			b = append(b, '\n')
		case '0':
			b = append(b, 0)
		case '\\':
			b = append(b, '\\')
		default:
			return "", false
		}
	}
	return string(b), true
}

// escapes maps a byte to the letter that follows the backslash; 0: it stands for itself.
var escapes = [256]byte{' ': 's', '\r': 'r', '\n': 'n', 0: '0', '\\': '\\'}

func appendEscaped(dst []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		if e := escapes[s[i]]; e != 0 {
			dst = append(dst, s[from:i]...)
			dst = append(dst, '\\', e)
			from = i + 1
		}
	}
	return append(dst, s[from:]...)
}

// escapedLen is how many bytes appendEscaped appends.
func escapedLen(s string) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		if escapes[s[i]] != 0 {
			n++
		}
	}
	return n
}

// Append appends the message as one line with its LF. It does not look at lengths: use AppendRecord for records, whose values
// may be long, and Check for verbs whose keys come from elsewhere.
func (m Message) Append(dst []byte) []byte {
	dst = append(dst, m.Verb...)
	for _, f := range m.Fields {
		dst = append(dst, ' ')
		dst = append(dst, f.Key...)
		if !f.Bare {
			dst = append(dst, '=')
			dst = appendEscaped(dst, f.Value)
		}
	}
	return append(dst, '\n')
}

// Check reports what in a message could not be written as a line: a bad verb or key, a key twice, too many keys.
func (m Message) Check() error {
	if !isVerb(m.Verb) {
		return badLine("no verb")
	}
	if len(m.Fields) > MaxFields {
		return badLine("too many keys")
	}
	for i, f := range m.Fields {
		if !isKey(f.Key) {
			return badLine("not a key")
		}
		if f.Bare && f.Value != "" {
			return badLine("a bare key has a value")
		}
		if m.index(f.Key) != i {
			return badLine("a key stands twice")
		}
	}
	return nil
}

// lineLen is the length of Append's line, its LF counted in.
func (m Message) lineLen() int {
	n := len(m.Verb) + 1
	for _, f := range m.Fields {
		n += 1 + len(f.Key)
		if !f.Bare {
			n += 1 + escapedLen(f.Value)
		}
	}
	return n
}

var errLineLong = &Error{Code: CodeLineTooLong, Text: "a line is over the limit"}

func badLine(text string) *Error { return &Error{Code: CodeBadLine, Text: text} }
