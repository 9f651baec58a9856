package admin

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// UpgradeRequest asks for another process of the program in the place of this one.
type UpgradeRequest struct {
	Binary string `json:"binary,omitempty"` // absolute path; "": where the running program was started from
	DryRun bool   `json:"dry_run,omitempty"`
	// AllowVisible lets server links end that the new program cannot go on with: their networks see a split.
	AllowVisible bool `json:"allow_visible,omitempty"`
}

func (r UpgradeRequest) object() string { return r.Binary }
func (r UpgradeRequest) arguments() string {
	return strings.TrimSpace(flag("dry_run", r.DryRun) + " " + flag("allow_visible", r.AllowVisible))
}

// Upgrade is what an upgrade did or, of a dry run, would do.
type Upgrade struct {
	Time     time.Time      `json:"time"`
	Binary   string         `json:"binary"`
	From     string         `json:"from"` // versions
	To       string         `json:"to"`
	PID      int            `json:"pid"`               // of the new process
	Sessions int            `json:"sessions"`          // that came along
	States   map[string]int `json:"states,omitempty"`  // of these, by state
	Links    int            `json:"links"`             // server links that came along
	Left     map[string]int `json:"left,omitempty"`    // what did not, by why: each was closed
	Taken    int            `json:"descriptors"`       // that went to the new process
	Pause    float64        `json:"pause_ms"`          // in which nothing was relayed
	Moves    []string       `json:"moves,omitempty"`   // under way: their users, parked or paused, came along, and the new process goes on with them
	Awaited  []string       `json:"awaited,omitempty"` // of a dry run: moves that would be waited for
	Refusals []string       `json:"refusals"`          // of a dry run: why it would be refused now
	Actor    string         `json:"actor,omitempty"`
}

// Upgrades is what is known of them since the service began.
type Upgrades struct {
	Done      int       `json:"done"`
	Failed    int       `json:"failed"`
	Last      *Upgrade  `json:"last,omitempty"`
	LastError string    `json:"last_error,omitempty"` // of one that failed since
	FailedAt  time.Time `json:"failed_at,omitzero"`
}

// Binary is the program of the running process.
type Binary struct {
	Path  string    `json:"path"`
	Built time.Time `json:"modified"` // of the file that runs
	Other bool      `json:"other"`    // another file lies at the path now: an upgrade would take it
}

// Upgrader carries upgrades out.
type Upgrader interface {
	// Upgrade answers when the new process has taken over, or with the reason why this one goes on. A refusal is an *Error with CodeRefused.
	Upgrade(ctx context.Context, r UpgradeRequest, actor string) (Upgrade, error)
}

func (s *Server) upgrade(ctx context.Context, a UpgradeRequest, p Peer) (Done, error) {
	if s.opt.Upgrader == nil {
		return Done{}, errUnsupported
	}
	if a.Binary != "" {
		if !filepath.IsAbs(a.Binary) {
			return Done{}, fail(CodeBadRequest, "name it from / on", "binary %q is not an absolute path", a.Binary)
		}
		if p.UID != 0 && int(p.UID) != os.Geteuid() {
			return Done{}, fail(CodeRefused, "install the new binary where the running one lies, and upgrade without --binary",
				"user %d may not say what the daemon's user runs", p.UID)
		}
	}
	u, err := s.opt.Upgrader.Upgrade(ctx, a, p.Actor())
	if err != nil {
		return Done{}, err
	}
	u.Refusals = orEmpty(u.Refusals)
	return Done{Upgrade: &u}, nil
}

// Upgrade asks for it. It takes as long as the new process needs to begin, some seconds at most.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest) (Done, error) {
	return post(ctx, c, "/v1/upgrade", r)
}
