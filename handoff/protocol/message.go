package protocol

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is the protocol version that this package speaks; peers of another major are refused at HELLO.
const Version = "1"

// Limits of the line format.
const (
	MaxLine   = 64 << 10 // bytes of one line, its LF counted in
	MaxFields = 1024     // keys of one line: the check that each stands once stays cheap
	maxVerb   = 32
)

// Field is one key of a Message. Values are bytes, not text: nothing may assume UTF-8.
type Field struct {
	Key   string
	Value string // unescaped
	Bare  bool   // the key stood without "=": it is true, and Value is empty
}

// Message is one line: a verb and its keys in order. The zero value is no valid message. A Message that Parse returned may be
// kept; copies share Fields, so Clone before changing a copy.
type Message struct {
	Verb   string
	Fields []Field

	line string // a record as it was read, without its end, as long as nothing of it was changed; see AppendRecord
}

// NewMessage makes a message of pairs of key and value.
func NewMessage(verb string, pairs ...string) Message {
	m := Message{Verb: verb, Fields: make([]Field, 0, len(pairs)/2)}
	for i := 0; i+1 < len(pairs); i += 2 {
		m.Fields = append(m.Fields, Field{Key: pairs[i], Value: pairs[i+1]})
	}
	return m
}

// Lookup returns a key's value and whether the key is there. A bare key has the value "".
func (m Message) Lookup(key string) (string, bool) {
	if i := m.index(key); i >= 0 {
		return m.Fields[i].Value, true
	}
	return "", false
}

// Get returns a key's value, or "" without it.
func (m Message) Get(key string) string {
	v, _ := m.Lookup(key)
	return v
}

// Has reports whether the key is there.
func (m Message) Has(key string) bool { return m.index(key) >= 0 }

// Int returns a key's decimal value. Without the key it is 0; a value that is no number, or out of range, is an Error with
// CodeBadValue.
func (m Message) Int(key string) (int64, error) {
	v, ok := m.Lookup(key)
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, m.badValue(key)
	}
	return n, nil
}

// Uint is Int for counts that cannot be negative.
func (m Message) Uint(key string) (uint64, error) {
	v, ok := m.Lookup(key)
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0, m.badValue(key)
	}
	return n, nil
}

// List returns a key's value split at spaces; nil if nothing is in it.
func (m Message) List(key string) []string {
	if list := strings.Fields(m.Get(key)); len(list) > 0 {
		return list
	}
	return nil
}

// Set gives a key a value: in place, or at the end if it is new.
func (m *Message) Set(key, value string) {
	m.put(Field{Key: key, Value: value})
}

// Add is Set for a key that is not there yet, which is the caller's to know: who makes a record of many keys need not look for each.
func (m *Message) Add(key, value string) {
	m.line = ""
	m.Fields = append(m.Fields, Field{Key: key, Value: value})
}

// SetInt is Set with a decimal number.
func (m *Message) SetInt(key string, n int64) { m.Set(key, strconv.FormatInt(n, 10)) }

// SetList is Set with the elements joined by spaces; without elements the key is left out.
func (m *Message) SetList(key string, list []string) {
	if len(list) == 0 {
		m.Del(key)
		return
	}
	m.Set(key, strings.Join(list, " "))
}

// SetBare puts the key without a value: true.
func (m *Message) SetBare(key string) { m.put(Field{Key: key, Bare: true}) }

// Del takes keys out, if there.
func (m *Message) Del(keys ...string) {
	for _, key := range keys {
		if i := m.index(key); i >= 0 {
			m.Fields = append(m.Fields[:i], m.Fields[i+1:]...)
		}
	}
	m.line = lineWithout(m.line, keys)
}

// lineWithout takes keys out of a line.
func lineWithout(line string, keys []string) string {
	if line == "" {
		return ""
	}
	var b strings.Builder
	b.Grow(len(line))
	verb, rest, _ := strings.Cut(line, " ")
	b.WriteString(verb)
	for rest != "" {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		if key, _, _ := strings.Cut(word, "="); word == "" || slices.Contains(keys, key) {
			continue
		}
		b.WriteByte(' ')
		b.WriteString(word)
	}
	return b.String()
}

// Clone returns a message that shares no Fields with m.
func (m Message) Clone() Message {
	return Message{Verb: m.Verb, Fields: append([]Field(nil), m.Fields...), line: m.line}
}

// String names the verb, the keys and what identifies the message, and never any other value: chat, keys, tokens and queues are
// in messages, and what prints one may be a log.
func (m Message) String() string {
	var b strings.Builder
	b.WriteString(m.Verb)
	for _, f := range m.Fields {
		b.WriteByte(' ')
		b.WriteString(f.Key)
		switch f.Key {
		case "tx", "u", "code", "records", "users", "sum", "in", "out":
			fmt.Fprintf(&b, "=%.64q", f.Value)
		}
	}
	return b.String()
}

func (m Message) index(key string) int {
	for i := range m.Fields {
		if m.Fields[i].Key == key {
			return i
		}
	}
	return -1
}

func (m *Message) put(f Field) {
	m.line = ""
	if i := m.index(f.Key); i >= 0 {
		m.Fields[i] = f
		return
	}
	m.Fields = append(m.Fields, f)
}

func (m Message) badValue(key string) error {
	return &Error{Code: CodeBadValue, Tx: m.Get("tx"), U: m.Get("u"), Text: m.Verb + " " + key + ": not a number in range"}
}
