package protocol

import (
	"fmt"
	"hash/crc32"
	"strconv"
)

// MaxRecord bounds one record with all its DATA lines: 1 MiB of sq, escaped at worst to the double, and the rest with room.
const MaxRecord = 4 << 20

// MaxRecords bounds all records of one transaction together.
const MaxRecords = 256 << 20

// The verbs of records. DATA lines continue the record line before them.
const (
	VerbChan = "CHAN"
	VerbList = "LIST"
	VerbUser = "USER"
	VerbMemb = "MEMB"
	VerbData = "DATA"
)

// IsRecord reports whether the verb is a record's or that of a DATA line.
func IsRecord(verb string) bool {
	switch verb {
	case VerbChan, VerbList, VerbUser, VerbMemb, VerbLink, VerbBurst, VerbRemote, VerbData:
		return true
	}
	return false
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Tally is the count and checksum of a run of records: CRC-32C over the bytes of each record line and DATA line as they are on
// the wire, LF included, in order. DATA lines are in the sum but not in the counts.
type Tally struct {
	Records  int // all but DATA lines
	Channels int // of them CHAN
	Users    int // of them USER
	Links    int // of them LINK
	Sum      uint32
}

// Add counts one line (raw with its LF).
func (t *Tally) Add(verb string, raw []byte) {
	t.Sum = crc32.Update(t.Sum, castagnoli, raw)
	switch verb {
	case VerbData:
		return
	case VerbChan:
		t.Channels++
	case VerbUser:
		t.Users++
	case VerbLink:
		t.Links++
	}
	t.Records++
}

// FormatSum writes a checksum as the standard wants it: 8 lower-case hex digits.
func FormatSum(sum uint32) string { return fmt.Sprintf("%08x", sum) }

func parseSum(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 16, 32)
	return uint32(n), err == nil && len(s) == 8
}

// AppendRecord appends a record as one line, and what does not fit in maxLine bytes as DATA lines behind it; t, if not nil, counts
// what was appended. A maxLine of 0 is MaxLine. A record that Check refuses, over MaxRecord, or whose keys alone fill a line, is an
// error and nothing is appended.
func AppendRecord(dst []byte, m Message, maxLine int, t *Tally) ([]byte, error) {
	if maxLine <= 0 || maxLine > MaxLine {
		maxLine = MaxLine
	}
	if m.line != "" && len(m.line) < maxLine { // as it came: it was checked then
		start := len(dst)
		dst = append(append(dst, m.line...), '\n')
		if t != nil {
			t.Add(m.Verb, dst[start:])
		}
		return dst, nil
	}
	if err := m.Check(); err != nil {
		return dst, err
	}
	start := len(dst)
	size := m.lineLen()
	if size > MaxRecord {
		return dst, &Error{Code: CodeLimit, U: m.Get("u"), Text: "a record is over the limit"}
	}
	if size <= maxLine {
		dst = m.Append(dst)
		if t != nil {
			t.Add(m.Verb, dst[start:])
		}
		return dst, nil
	}
	return appendLong(dst, m, size, maxLine, t)
}

// appendLong moves the longest values into DATA lines until the record's own line fits.
func appendLong(dst []byte, m Message, size, maxLine int, t *Tally) ([]byte, error) {
	start := len(dst)
	line := m.Clone()
	line.line = ""
	moved := []Field{}
	for size > maxLine {
		longest, n := -1, 0
		for i, f := range line.Fields {
			if l := escapedLen(f.Value); l > n && f.Key != "u" && f.Key != "c" && f.Key != "n" {
				longest, n = i, l
			}
		}
		if longest < 0 {
			return dst, &Error{Code: CodeLineTooLong, U: m.Get("u"), Text: "a record's keys fill more than a line"}
		}
		moved = append(moved, line.Fields[longest])
		line.Fields[longest].Value = ""
		size -= n
	}
	dst = line.Append(dst)
	if t != nil {
		t.Add(m.Verb, dst[start:])
	}
	for _, f := range moved {
		var err error
		if dst, err = appendData(dst, m, f, maxLine, t); err != nil {
			return dst[:start], err
		}
	}
	return dst, nil
}

// appendData writes one long value as DATA lines. An escape is never split: each line's d is a value of its own.
func appendData(dst []byte, m Message, f Field, maxLine int, t *Tally) ([]byte, error) {
	head := Message{Verb: VerbData}
	if u, ok := m.Lookup("u"); ok {
		head.Set("u", u)
	}
	head.Set("k", f.Key)
	room := maxLine - head.lineLen() - len(" d=")
	if room < 2 {
		return dst, &Error{Code: CodeLineTooLong, U: m.Get("u"), Text: "no room for a value in a line"}
	}
	for rest := f.Value; rest != ""; {
		n, used := 0, 0
		for n < len(rest) {
			w := 1
			if escapes[rest[n]] != 0 {
				w = 2
			}
			if used+w > room {
				break
			}
			used += w
			n++
		}
		at := len(dst)
		part := head.Clone()
		part.Set("d", rest[:n])
		dst = part.Append(dst)
		if t != nil {
			t.Add(VerbData, dst[at:])
		}
		rest = rest[n:]
	}
	return dst, nil
}

// Joiner puts records and their DATA lines together again: the other end of AppendRecord. Its memory is bounded by MaxRecord.
// The zero value is ready.
type Joiner struct {
	open bool
	rec  Message
	size int
	long map[string][]byte // values that DATA lines continue
}

// Add takes the next line. If it begins a new record, the one before it is complete and is returned with done true.
func (j *Joiner) Add(m Message, rawLen int) (rec Message, done bool, err error) {
	if m.Verb == VerbData {
		return Message{}, false, j.data(m, rawLen)
	}
	rec, done = j.Flush()
	j.rec, j.open, j.size = m, true, rawLen
	return rec, done, nil
}

// Flush returns the last record, if there is one.
func (j *Joiner) Flush() (rec Message, done bool) {
	if !j.open {
		return Message{}, false
	}
	for key, value := range j.long {
		j.rec.Set(key, string(value))
	}
	rec = j.rec
	*j = Joiner{}
	return rec, true
}

func (j *Joiner) data(m Message, rawLen int) error {
	key := m.Get("k")
	switch {
	case !j.open:
		return badRecord(m, "DATA without a record before it")
	case !isKey(key) || key == "u" || key == "c" || key == "n":
		return badRecord(m, "DATA of a key that it cannot continue")
	case m.Has("u") && m.Get("u") != j.rec.Get("u"):
		return badRecord(m, "DATA of another record than the one before it")
	case j.size+rawLen > MaxRecord:
		return &Error{Code: CodeLimit, U: j.rec.Get("u"), Text: "a record is over the limit"}
	}
	j.size += rawLen
	if j.long == nil {
		j.long = make(map[string][]byte)
	}
	value, ok := j.long[key]
	if !ok {
		if i := j.rec.index(key); i >= 0 {
			if j.rec.Fields[i].Bare {
				return badRecord(m, "DATA of a key without a value")
			}
			value = []byte(j.rec.Fields[i].Value)
		} else if len(j.rec.Fields) == MaxFields {
			return badRecord(m, "too many keys")
		} else {
			j.rec.Set(key, "")
		}
	}
	j.long[key] = append(value, m.Get("d")...)
	return nil
}

func badRecord(m Message, text string) *Error {
	return &Error{Code: CodeBadRecord, U: m.Get("u"), Text: text}
}
