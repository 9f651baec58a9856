package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxBody bounds a request's body. The longest that makes sense has a few names and flags.
const maxBody = 64 << 10

// Duration is a time.Duration that is written with its unit in JSON ("60s").
type Duration time.Duration

func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration %s is not a string with a unit, like \"60s\"", b)
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("duration %q is not one like \"60s\" or \"1m30s\"", s)
	}
	*d = Duration(v)
	return nil
}

// DrainRequest asks to move the users of a backend to another.
type DrainRequest struct {
	Backend      string   `json:"backend"` // "pool/name"
	To           string   `json:"to,omitempty"`
	Strict       bool     `json:"strict,omitempty"`
	AllowVisible bool     `json:"allow_visible,omitempty"`
	Timeout      Duration `json:"timeout,omitempty"`
	DryRun       bool     `json:"dry_run,omitempty"`
	Close        bool     `json:"close,omitempty"`       // without a driver: close the sessions
	CloseAfter   Duration `json:"close_after,omitempty"` // spread over this time
	Notice       string   `json:"notice,omitempty"`
}

// HoldRequest asks to pull and park the users of a backend.
type HoldRequest struct {
	Backend      string   `json:"backend"`
	Restart      bool     `json:"restart,omitempty"` // a restart follows: the move goes on when the backend is back with a new epoch
	AllowVisible bool     `json:"allow_visible,omitempty"`
	Timeout      Duration `json:"timeout,omitempty"`
	Close        bool     `json:"close,omitempty"` // without a driver, as for a drain; new clients of the pool wait until the release
	CloseAfter   Duration `json:"close_after,omitempty"`
	Notice       string   `json:"notice,omitempty"`
}

// PauseRequest asks to hold the clients of a backend for a time, and to pull nobody.
type PauseRequest struct {
	Backend string   `json:"backend"`
	For     Duration `json:"for,omitempty"` // 0: 30 s, or moves.park if that is less
}

// ReleaseRequest asks to push the parked users of a backend.
type ReleaseRequest struct {
	Backend string `json:"backend"`
	To      string `json:"to,omitempty"`   // name within the pool; "": where they came from
	Pace    int    `json:"pace,omitempty"` // without a driver: clients a second that are let in; 0: 20
}

// BackendRequest names the backend of resume, undrain, maint and ready.
type BackendRequest struct {
	Backend string `json:"backend"`
}

// CancelRequest names a move.
type CancelRequest struct {
	Move string `json:"move"`
}

// ReloadRequest has no arguments.
type ReloadRequest struct{}

// What a command is about, and with which arguments, for the audit line.

func (r DrainRequest) object() string   { return r.Backend }
func (r HoldRequest) object() string    { return r.Backend }
func (r PauseRequest) object() string   { return r.Backend }
func (r ReleaseRequest) object() string { return r.Backend }
func (r BackendRequest) object() string { return r.Backend }
func (r CancelRequest) object() string  { return r.Move }
func (r ReloadRequest) object() string  { return "" }

func (r DrainRequest) arguments() string {
	return words(option("to", r.To), flag("strict", r.Strict), flag("allow_visible", r.AllowVisible),
		flag("dry_run", r.DryRun), span("timeout", r.Timeout), flag("close", r.Close), span("close_after", r.CloseAfter))
}

func (r HoldRequest) arguments() string {
	return words(flag("restart", r.Restart), flag("allow_visible", r.AllowVisible), span("timeout", r.Timeout), flag("close", r.Close),
		span("close_after", r.CloseAfter))
}

func (r PauseRequest) arguments() string   { return span("for", r.For) }
func (r ReleaseRequest) arguments() string { return words(option("to", r.To)) }
func (r BackendRequest) arguments() string { return "" }
func (r CancelRequest) arguments() string  { return "" }
func (r ReloadRequest) arguments() string  { return "" }

func option(name, value string) string {
	if value == "" {
		return ""
	}
	return name + "=" + value
}

func flag(name string, on bool) string {
	if !on {
		return ""
	}
	return name
}

func span(name string, d Duration) string {
	if d == 0 {
		return ""
	}
	return option(name, time.Duration(d).String())
}

func words(parts ...string) string {
	kept := parts[:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, " ")
}

// decode reads one JSON document and nothing else; unknown keys are errors. An empty body is the empty document.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	if err != nil {
		return fail(CodeBadRequest, "see admin/API.md for the keys of "+r.URL.Path, "read the request's body: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fail(CodeBadRequest, "send one JSON document", "the request's body goes on after its document")
	}
	return nil
}
