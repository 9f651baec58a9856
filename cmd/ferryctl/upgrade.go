package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

// upgradeTime bounds what the daemon takes for it: moves have 20 s to end or rest, the new process 40 s to stand ready, handshakes 3 s to end.
const upgradeTime = 80 * time.Second

func (c *ctl) upgradeCmd() *cobra.Command {
	var r admin.UpgradeRequest
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Put a new process of the daemon in the place of the running one, with all its connections",
		Long: `upgrade starts the daemon's program anew, as it lies on disk now, and hands it the listeners, all connections, server links included, and
what is known of them. Clients, ircds and linked servers notice a pause of some tenths of a second and nothing else; clients that are just connecting wait in the listeners' queues. The
new process reads the configuration as it is now.

Only when the new process stands ready does the old one go. If it fails, hangs, is killed, does not take the configuration, or cannot read what the
running one has in memory, the running one goes on and the reason is told (1). It is refused (5), and nothing is begun, while sessions are being closed by
an operator, while another upgrade runs, and if servers are linked through ircferry and the new program cannot go on with these links, unless
--allow-visible says that they may split and link anew.

Users who are parked (by a hold, a restart, or because their ircd is away) or paused go along, and the new process goes on with their move: it answers
their PINGs, counts their time on, and takes release, resume and cancel. Another move under way is waited for, 15 s at most; then the upgrade is
refused, as it is for a move that holds server links.

A client whose TLS handshake is in its midst gets three seconds to end it, and is closed after that. --dry-run tells how many sessions would come along,
which not and why, and whether the new program starts and takes the configuration.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), upgradeTime)
			defer cancel()
			ctx, stop := c.interruptible(ctx)
			defer stop()
			done, err := c.client.Upgrade(ctx, r)
			if err != nil {
				return err
			}
			u := done.Upgrade
			if err := c.print(u, func(w io.Writer) { writeUpgrade(w, u, r.DryRun) }); err != nil {
				return err
			}
			if len(u.Refusals) > 0 {
				return coded{exitRefused}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&r.DryRun, "dry-run", false, "tell what would come along, and change nothing")
	cmd.Flags().BoolVar(&r.AllowVisible, "allow-visible", false, "go on although the new program cannot keep server links: users see a netsplit")
	cmd.Flags().StringVar(&r.Binary, "binary", "", "absolute path of the new program, for root and the daemon's user; by default where the running one was started from")
	return cmd
}

func writeUpgrade(w io.Writer, u *admin.Upgrade, dry bool) {
	verb := "came along"
	if dry {
		verb = "would come along"
	}
	if dry {
		fmt.Fprintf(w, "%s: %s to %s, not carried out\n", clean(u.Binary), clean(u.From), clean(u.To))
	} else {
		fmt.Fprintf(w, "upgraded from %s to %s, pid %d\n", clean(u.From), clean(u.To), u.PID)
	}
	fmt.Fprintf(w, "sessions that %s: %d%s\n", verb, u.Sessions, states(admin.Counts{States: u.States}))
	if u.Links > 0 {
		fmt.Fprintf(w, "server links that %s: %d\n", verb, u.Links)
	}
	for _, why := range slices.Sorted(maps.Keys(u.Left)) {
		fmt.Fprintf(w, "closed, %s: %d\n", clean(why), u.Left[why])
	}
	fmt.Fprintf(w, "descriptors: %d\n", u.Taken)
	if !dry {
		fmt.Fprintf(w, "pause: %.0f ms\n", u.Pause)
	}
	for _, text := range u.Moves {
		fmt.Fprintf(w, "goes on in the new process: %s\n", clean(text))
	}
	for _, text := range u.Awaited {
		fmt.Fprintf(w, "waited for: %s\n", clean(text))
	}
	for _, text := range u.Refusals {
		fmt.Fprintln(w, "refused now: "+clean(text))
	}
}

// writeBinary is what runs since when, and whether there is something newer.
func writeBinary(w io.Writer, st admin.Status) {
	var words []string
	if b := st.Binary; b.Path != "" {
		words = append(words, fmt.Sprintf("binary %s of %s", clean(b.Path), b.Built.UTC().Format(time.DateTime)))
		if b.Other {
			words = append(words, "another one lies there now: ferryctl upgrade takes it")
		}
	}
	if u := st.Upgrades.Last; u != nil {
		words = append(words, fmt.Sprintf("%d upgrades, the last %s with %d sessions in %.0f ms", st.Upgrades.Done, u.Time.UTC().Format(time.DateTime), u.Sessions, u.Pause))
	}
	if len(words) > 0 {
		fmt.Fprintln(w, strings.Join(words, "; "))
	}
}
