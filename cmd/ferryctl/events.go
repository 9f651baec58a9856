package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) eventsCmd() *cobra.Command {
	var follow, all bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "What happened: backends, moves, commands, listeners",
		Long: `events prints what the daemon still remembers of what happened, oldest first (the newest 1024 events), and with -f goes on until
Ctrl-C, or the end of the daemon (3). With --all it is what happened at all proxies of the cluster, each event with its proxy in front, and the exit code
is 4 if one could not be read. With -o json it is one document a line. A reader that is too slow loses the oldest and is told how many.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := c.interruptible(cmd.Context())
			defer stop()
			missed := false
			err := c.events(ctx, follow, all, &missed)
			if ctx.Err() != nil && cmd.Context().Err() == nil {
				return coded{exitInterrupted}
			}
			if err == nil && follow {
				fmt.Fprintln(c.err, "ferryctl: the daemon has ended the events: it has stopped, or this reader took nothing for too long")
				return coded{exitUnreachable}
			}
			if err == nil && missed {
				return coded{exitPartly}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "of all proxies of the cluster, as they come")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	return cmd
}

// events reads them of one proxy or of all; missed is set if one could not be read.
func (c *ctl) events(ctx context.Context, follow, all bool, missed *bool) error {
	if !all {
		return c.client.Events(ctx, 0, follow, c.writeEvent)
	}
	return c.client.AllEvents(ctx, follow, func(ev admin.Event) error {
		if ev.Kind == admin.EventMember && ev.Word == "unreachable" {
			*missed = true
			fmt.Fprintf(c.err, "ferryctl: proxy %s: %s\n", clean(ev.Proxy), clean(ev.Text))
		}
		return c.writeEvent(ev)
	})
}

func (c *ctl) writeEvent(ev admin.Event) error {
	if c.output == "json" {
		return json.NewEncoder(c.out).Encode(ev)
	}
	at := ev.Time.Local().Format(time.DateTime)
	if ev.Proxy != "" {
		at += "  " + ev.Proxy
	}
	if ev.Kind == admin.EventDropped {
		_, err := fmt.Fprintf(c.out, "%s  %d events were lost to this reader\n", at, ev.Count)
		return err
	}
	_, err := fmt.Fprintf(c.out, "%s  %-8s %-20s %-10s %s\n", at, ev.Kind, dash(clean(ev.Object)), dash(ev.Word), clean(ev.Text))
	return err
}
