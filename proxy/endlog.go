package proxy

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"
)

// endLogRoom is how many lines may wait for the log's writer before they are dropped and counted.
const endLogRoom = 4096

// ended is one session's line in the log.
type ended struct {
	u, listener, backend string
	client               netip.AddrPort
	reason               CloseReason
	tlsWhy               tlsWhy
	registered           bool
	lasted               time.Duration
	in, out              uint64
}

// level is where the line of a session with this reason belongs: checks that come and go each second would hide all else.
func (r CloseReason) level() slog.Level {
	if r == ReasonNull {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// note is another line of a loop's.
type note struct {
	level slog.Level
	text  string
	args  []any
}

// endLog writes what the loops have to log, a line for each session that ends above all, without ever holding one up.
type endLog struct {
	log   *slog.Logger
	lines chan ended
	notes chan note
	drops atomic.Uint64
}

func newEndLog(log *slog.Logger) *endLog {
	return &endLog{log: log, lines: make(chan ended, endLogRoom), notes: make(chan note, 256)}
}

// say is for loops: it logs a line, or drops and counts it when the log does not keep up.
func (l *endLog) say(level slog.Level, text string, args ...any) {
	select {
	case l.notes <- note{level, text, args}:
	default:
		l.drops.Add(1)
	}
}

// add is called by the loops.
func (l *endLog) add(s *session) {
	if !l.log.Enabled(context.Background(), s.reason().level()) {
		return
	}
	e := ended{u: s.id(), client: s.remote(), reason: s.reason(), tlsWhy: s.tlsWhy(), registered: s.registered(), lasted: s.w.loop.Now() - s.started(),
		in: s.slot().ClientIn, out: s.slot().ClientOut, listener: s.lst().Name(), backend: s.w.p.names.of(s.slot().Last)}
	select {
	case l.lines <- e:
	default:
		l.drops.Add(1)
	}
}

// write is the writer's goroutine, until stop.
func (l *endLog) write() {
	lines, notes := l.lines, l.notes
	for lines != nil || notes != nil {
		select {
		case e, ok := <-lines:
			if !ok {
				lines = nil
				continue
			}
			l.writeEnded(e)
		case n, ok := <-notes:
			if !ok {
				notes = nil
				continue
			}
			l.log.Log(context.Background(), n.level, n.text, n.args...)
		}
	}
}

func (l *endLog) writeEnded(e ended) {
	attrs := []slog.Attr{slog.String("session", e.u), slog.String("client", e.client.String()), slog.String("listener", e.listener),
		slog.String("backend", e.backend), slog.String("reason", e.reason.String()), slog.Bool("registered", e.registered),
		slog.Duration("lasted", e.lasted), slog.Uint64("bytes_in", e.in), slog.Uint64("bytes_out", e.out)}
	if e.tlsWhy != 0 {
		attrs = append(attrs, slog.String("tls", e.tlsWhy.String()))
	}
	l.log.LogAttrs(context.Background(), e.reason.level(), "session ended", attrs...)
}

// stop ends write behind the lines that wait. No loop runs any more.
func (l *endLog) stop() {
	close(l.lines)
	close(l.notes)
}
