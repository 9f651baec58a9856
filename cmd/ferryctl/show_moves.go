package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) showMovesCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "moves",
		Short: "Moves under way and ended, newest first",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				moves, err := c.client.Moves(ctx)
				if err != nil {
					return err
				}
				return c.print(moves, func(w io.Writer) { writeMoves(w, moves) })
			})
		},
	}
}

func writeMoves(w io.Writer, moves []admin.Move) {
	var g grid
	g.add("MOVE", "KIND", "FROM", "TO", "STATE", "STARTED", "SESSIONS", "MOVED", "REVERTED", "FAILED", "LEFT", "PAUSE P50/P99/MAX")
	for _, m := range moves {
		state := string(m.State)
		if m.State == "running" {
			state += " (" + string(m.Step) + ")"
		}
		g.add(m.ID, string(m.Kind), m.Pool+"/"+m.From, dash(m.To), state, m.Started.Local().Format(time.DateTime), strconv.Itoa(m.Attempted),
			strconv.Itoa(m.Moved), strconv.Itoa(m.Reverted), strconv.Itoa(m.Failed), strconv.Itoa(m.Left),
			fmt.Sprintf("%s/%s/%s", millis(m.Pause.P50), millis(m.Pause.P99), millis(m.Pause.Max)))
	}
	g.write(w)
}
