package admin

import (
	"context"
	"log/slog"
	"time"

	"github.com/ircferry/ircferry/handoff"
)

// Result is how a changing command ended, for the audit line and the metric label alike.
type Result string

const (
	ResultOK      Result = "ok"      // done
	ResultStarted Result = "started" // a move runs; its own line follows at its end
	ResultRefused Result = "refused" // a guard said no
	ResultInvalid Result = "invalid" // the request could not mean anything, or names what does not exist
	ResultFailed  Result = "failed"  // it was tried and went wrong
)

func resultOf(err error) Result {
	switch asError(err).Code {
	case CodeRefused:
		return ResultRefused
	case CodeBadRequest, CodeNotFound, CodeTooLarge:
		return ResultInvalid
	}
	return ResultFailed
}

// audit writes one line for each changing command, and one for the end of each move that a command began.
type audit struct {
	log     *slog.Logger
	metrics *Metrics
	events  *Events
}

// entry is one changing command.
type entry struct {
	peer      Peer
	verb      string
	object    string
	arguments string
	move      string
	began     time.Time
	err       error
}

func (a audit) command(e entry) {
	result := ResultOK
	switch {
	case e.err != nil:
		result = resultOf(e.err)
	case e.move != "" && e.verb != "cancel":
		result = ResultStarted
	}
	attrs := []any{"uid", e.peer.UID, "gid", e.peer.GID, "pid", e.peer.PID, "verb", e.verb, "object", e.object,
		"args", e.arguments, "result", string(result), "duration", time.Since(e.began)}
	if e.move != "" {
		attrs = append(attrs, "move", e.move)
	}
	if e.err != nil {
		attrs = append(attrs, "error", e.err)
	}
	a.log.Info("command", attrs...)
	a.metrics.command(e.verb, result)
	a.events.Publish(Event{Kind: EventCommand, Object: e.object, Word: e.verb, Text: words(e.arguments, string(result), e.move, "by", e.peer.Actor())})
}

func (a audit) moveEnded(r handoff.Report) {
	attrs := []any{"move", r.ID, "actor", r.Actor, "verb", string(r.Kind), "object", r.Pool + "/" + r.From, "to", r.To,
		"result", string(r.State), "attempted", r.Attempted, "moved", r.Moved, "reverted", r.Reverted, "failed", r.Failed,
		"left", r.Left, "reopened", r.Reopened, "pause_p50_ms", r.Pause.P50, "pause_p99_ms", r.Pause.P99, "pause_max_ms", r.Pause.Max,
		"held_lines", r.HeldLines, "warnings", len(r.Warnings), "duration", r.Ended.Sub(r.Started)}
	for _, l := range r.Links {
		attrs = append(attrs, "link."+l.Link, words(string(l.State), l.Cause))
	}
	if r.Undone() {
		attrs = append(attrs, "cancelled", true)
	}
	level := slog.LevelInfo
	if r.Error != "" {
		attrs = append(attrs, "step", string(r.Step), "error", r.Error)
		level = slog.LevelWarn
	}
	if r.Journal != "" {
		attrs = append(attrs, "journal", r.Journal)
	}
	a.log.Log(context.Background(), level, "move ended", attrs...)
}
