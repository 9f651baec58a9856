package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) showSessionsCmd() *cobra.Command {
	var q admin.SessionQuery
	var all bool
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Clients, with filters",
		Long: `show sessions lists clients in the order of their arrival, at most --limit of them; --all asks page by page for the rest.
A nick is known to the ircds alone: --nick asks the native ones.

In a cluster --all is all of all proxies, with the proxy in front, and exits with 4 if one does not answer.`,
		Example: `  ferryctl show sessions --backend main/a --limit 20
  ferryctl show sessions --state parked --all -o json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Limit < 1 {
				return usagef("--limit %d is not possible: 1 or more", q.Limit)
			}
			return c.ask(cmd, func(ctx context.Context) error {
				if all {
					if done, err := c.sessionsOfAll(ctx, q); done {
						return err
					}
				}
				page, err := c.pages(ctx, q, all)
				if err != nil {
					return err
				}
				if q.Nick != "" && page.Matched == 0 {
					fmt.Fprintf(c.err, "ferryctl: no backend with a driver has a user %q; users of the others are not known by nick\n", clean(q.Nick))
				}
				return c.print(page, func(w io.Writer) { writeSessions(w, page) })
			})
		},
	}
	cmd.Flags().StringVar(&q.Backend, "backend", "", "only those at POOL/BACKEND")
	c.completeFlag(cmd, "backend", c.backendNames)
	cmd.Flags().StringVar(&q.Nick, "nick", "", "only the user with this nick")
	cmd.Flags().StringVar(&q.State, "state", "", "only those in this state (relay, waiting, frozen, parked, ...)")
	cmd.Flags().IntVar(&q.Limit, "limit", 100, "how many at most")
	cmd.Flags().BoolVar(&all, "all", false, "all of them, in a cluster of all proxies")
	return cmd
}

func (c *ctl) pages(ctx context.Context, q admin.SessionQuery, all bool) (admin.SessionPage, error) {
	if all {
		q.Limit = 1000
	}
	page, err := c.client.Sessions(ctx, q)
	for err == nil && all && page.Next != "" {
		var more admin.SessionPage
		q.After = page.Next
		more, err = c.client.Sessions(ctx, q)
		page.Sessions, page.Next = append(page.Sessions, more.Sessions...), more.Next
	}
	return page, err
}

func writeSessions(w io.Writer, page admin.SessionPage) {
	var g grid
	g.add("SESSION", "CLIENT", "LISTENER", "BACKEND", "STATE", "REGISTERED", "AGE", "IN", "OUT", "HELD")
	for _, s := range page.Sessions {
		g.add(s.ID, s.Client, s.Listener, dash(s.Backend), s.State, yes(s.Registered), span(time.Since(s.Started)),
			size(s.BytesIn), size(s.BytesOut), size(uint64(max(s.HeldBytes, 0))))
	}
	g.write(w)
	if page.Next != "" {
		fmt.Fprintf(w, "%d of %d; --all shows the rest\n", len(page.Sessions), page.Matched)
	}
}
