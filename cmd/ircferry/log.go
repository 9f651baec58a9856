package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/ircferry/ircferry/internal/config"
)

// switchHandler is a slog.Handler whose level and format a reload can change under all loggers that were made from it.
type switchHandler struct {
	to   io.Writer
	root *switchHandler // nil: this is the root
	now  atomic.Pointer[slog.Handler]
	wrap func(slog.Handler) slog.Handler // what With and WithGroup added
}

func (h *switchHandler) set(c config.Log) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return fmt.Errorf("log.level %q: %w", c.Level, errUnknownLog)
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: durationsWithUnit}
	var handler slog.Handler
	switch c.Format {
	case "text":
		handler = slog.NewTextHandler(h.to, options)
	case "json":
		handler = slog.NewJSONHandler(h.to, options)
	default:
		return fmt.Errorf("log.format %q: %w", c.Format, errUnknownLog)
	}
	h.now.Store(&handler)
	return nil
}

// durationsWithUnit: the JSON form would be a bare number of nanoseconds.
func durationsWithUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func (h *switchHandler) base() slog.Handler {
	if h.root != nil {
		return *h.root.now.Load()
	}
	return *h.now.Load()
}

func (h *switchHandler) handler() slog.Handler {
	if h.wrap != nil {
		return h.wrap(h.base())
	}
	return h.base()
}

func (h *switchHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.base().Enabled(ctx, l)
}

func (h *switchHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.handler().Handle(ctx, r)
}

func (h *switchHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(base slog.Handler) slog.Handler { return base.WithAttrs(attrs) })
}

func (h *switchHandler) WithGroup(name string) slog.Handler {
	return h.with(func(base slog.Handler) slog.Handler { return base.WithGroup(name) })
}

func (h *switchHandler) with(f func(slog.Handler) slog.Handler) slog.Handler {
	root := h
	if h.root != nil {
		root = h.root
	}
	before := h.wrap
	return &switchHandler{root: root, wrap: func(base slog.Handler) slog.Handler {
		if before != nil {
			base = before(base)
		}
		return f(base)
	}}
}

// everyLevel lets the lines of a handler out whatever log.level says: who changed what must be found also where only warnings are kept.
type everyLevel struct{ slog.Handler }

func (everyLevel) Enabled(context.Context, slog.Level) bool { return true }

func (h everyLevel) WithAttrs(attrs []slog.Attr) slog.Handler {
	return everyLevel{h.Handler.WithAttrs(attrs)}
}

func (h everyLevel) WithGroup(name string) slog.Handler { return everyLevel{h.Handler.WithGroup(name)} }
