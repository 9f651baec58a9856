package protocol

import (
	"errors"
	"strings"
)

// Code is the fixed word of an ERROR line. The table with what each means and what a coordinator does then is in HANDOFF.md.
type Code string

const (
	// The line or the connection.
	CodeBadLine         Code = "bad-line"         // not a line of the grammar
	CodeLineTooLong     Code = "line-too-long"    // over 64 KiB, or over the first line's limit on a stream
	CodeUnknownVerb     Code = "unknown-verb"     //
	CodeWrongConnection Code = "wrong-connection" // a stream's verb on control, or the reverse
	CodeBadValue        Code = "bad-value"        // a key is missing, or its value makes no sense
	CodeHelloFirst      Code = "hello-first"      // control begins with HELLO
	CodeVersion         Code = "version"          // another major version
	CodeDenied          Code = "denied"           // wrong pass, skey or tok

	// The transaction.
	CodeUnknownTx Code = "unknown-tx" // RELEASE, COMMIT, PREPARE, ATTACH of a tx that was never opened here
	CodeState     Code = "state"      // the tx is in no state for this verb
	CodeBusy      Code = "busy"       // one EXPORT and one IMPORT at a time
	CodeResumed   Code = "resumed"    // RELEASE after the world went on
	CodeReleased  Code = "released"   // RESUME after RELEASE
	CodeCommitted Code = "committed"  // ABORT after COMMIT
	CodeAborted   Code = "aborted"    // COMMIT or PREPARE after ABORT or the end of the lease

	// Source.
	CodeBehind    Code = "behind"     // u: its input did not come up to in within the time
	CodeNotLinked Code = "not-linked" // a selected link, or one of the records, is not up

	// Destination.
	CodeBadRecord   Code = "bad-record"   // a record that makes no sense by itself or with those before it
	CodeLimit       Code = "limit"        // over an announced limit
	CodeCount       Code = "count"        // records= does not fit
	CodeSum         Code = "sum"          // sum= does not fit
	CodeConflict    Code = "conflict"     // COMMIT although PREPARED told conflicts
	CodeNotAttached Code = "not-attached" // u: COMMIT without its stream
	CodeAttached    Code = "attached"     // u: a second ATTACH
	CodeUInUse      Code = "u-in-use"     // u: OPEN of a stream id that is there already
	CodeRefused     Code = "refused"      // the ircd takes no new clients now
	CodeUnknownLink Code = "unknown-link" // GREET: the configuration has no such link
	CodeLinked      Code = "linked"       // GREET: such a server is linked already

	CodeNotFound Code = "not-found" // FIND
	CodeInternal Code = "internal"  // the ircd could not, for reasons of its own
)

// Error is an ERROR line, received or to be sent. errors.Is against an Error that has only a Code compares the codes.
type Error struct {
	Code Code
	Tx   string
	U    string
	Text string // for people; holds no secret
}

// ErrNotFound is what Control.Find returns if nobody has the nick.
var ErrNotFound = &Error{Code: CodeNotFound}

// ErrBroken is wrapped by every error after which a Control can only be closed: the connection failed, a context ended in the
// middle of a question, or the ircd answered something else than what was asked.
var ErrBroken = errors.New("handoff control connection broken")

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("handoff ")
	b.WriteString(string(e.Code))
	if e.U != "" {
		b.WriteString(" u=" + e.U)
	}
	if e.Text != "" {
		b.WriteString(": " + e.Text)
	}
	return b.String()
}

// Is makes errors.Is(err, &Error{Code: CodeBusy}) true for every such error.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Tx == "" || t.Tx == e.Tx) && (t.U == "" || t.U == e.U)
}

// HasCode reports whether err is or wraps an Error with this code.
func HasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// Message is the ERROR line.
func (e *Error) Message() Message {
	m := NewMessage("ERROR", "code", string(e.Code))
	if e.Tx != "" {
		m.Set("tx", e.Tx)
	}
	if e.U != "" {
		m.Set("u", e.U)
	}
	if e.Text != "" {
		m.Set("text", e.Text)
	}
	return m
}

// ErrorOf reads an ERROR line.
func ErrorOf(m Message) *Error {
	return &Error{Code: Code(m.Get("code")), Tx: m.Get("tx"), U: m.Get("u"), Text: m.Get("text")}
}

// asError turns any error into one that can be sent.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Text: "the ircd could not do it"}
}
