package admin

import (
	"context"
	"slices"

	"github.com/ircferry/ircferry/handoff"
)

// Coordinator is the Moves of a running coordinator.
func Coordinator(c *handoff.Coordinator) Moves { return coordinator{c} }

type coordinator struct{ c *handoff.Coordinator }

func (a coordinator) Drain(r handoff.Request) (string, error) { return idOf(a.c.Drain(r)) }
func (a coordinator) Hold(r handoff.Request) (string, error)  { return idOf(a.c.Hold(r)) }

func (a coordinator) Release(pool, name, to, actor string) (string, error) {
	return idOf(a.c.Release(pool, name, to, actor))
}

func (a coordinator) Cancel(id string) error { return a.c.Cancel(id) }

func (a coordinator) DryRun(ctx context.Context, r handoff.Request) (handoff.Plan, error) {
	return a.c.DryRun(ctx, r)
}

func (a coordinator) Moves() []handoff.Report {
	reports := a.c.Moves()
	slices.Reverse(reports)
	return reports
}

func (a coordinator) Watch(id string) (handoff.Report, <-chan struct{}, bool) { return a.c.Watch(id) }

func idOf(m *handoff.Move, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return m.ID(), nil
}
