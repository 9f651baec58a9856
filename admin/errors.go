package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/ircferry/ircferry/handoff"
)

// Code is the kind of an error, for programs; the words are part of the API.
type Code string

const (
	CodeBadRequest  Code = "bad-request" // the request cannot mean anything: unknown key, bad duration, no such path
	CodeNotFound    Code = "not-found"   // no such pool, backend, session, nick or move
	CodeRefused     Code = "refused"     // a guard said no; nothing was changed, and Hint says what to do instead
	CodeTooLarge    Code = "too-large"   // the body is over maxBody
	CodeBusy        Code = "busy"        // too many of these at a time
	CodeUnsupported Code = "unsupported" // this daemon cannot do it
	CodeFailed      Code = "failed"      // it was tried and went wrong; Error says how
)

func (c Code) httpStatus() int {
	switch c {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeNotFound:
		return http.StatusNotFound
	case CodeRefused:
		return http.StatusConflict
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeBusy:
		return http.StatusTooManyRequests
	case CodeUnsupported:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

// Error is the answer to a request that was not carried out.
type Error struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"` // what to do instead
	Code    Code   `json:"code"`
	Retry   bool   `json:"retry,omitempty"` // the same may be asked again in a moment: an upgrade is under way
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

func fail(code Code, hint, format string, args ...any) *Error {
	return &Error{Code: code, Hint: hint, Message: fmt.Sprintf(format, args...)}
}

// asError gives an error of the daemon its code.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var r *handoff.Refused
	if errors.As(err, &r) {
		return &Error{Code: CodeRefused, Message: r.Reason, Hint: r.Hint}
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return fail(CodeTooLarge, "", "the request's body is over %d bytes", large.Limit)
	}
	return &Error{Code: CodeFailed, Message: err.Error()}
}

func writeError(w http.ResponseWriter, err error) {
	e := asError(err)
	writeJSON(w, e.Code.httpStatus(), e)
}

func writeJSON(w http.ResponseWriter, status int, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON","code":"failed"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) //nolint:errcheck // the peer may be gone, and nobody else would want to know
}
