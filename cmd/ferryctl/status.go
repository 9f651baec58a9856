package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) statusCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "One screen: listeners, pools, backends, sessions, moves",
		Long: `status shows the whole daemon on one screen, its warnings first. A backend has two states, as in HAProxy: what
the operator wants (ready, drain, maint) and what the checks say (up, down).

In a cluster it lists the other proxies, as this one knows them; --all asks each of them, and exits with 4 if one does not answer within 2 s.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				if all {
					return c.statusOfAll(ctx)
				}
				st, err := c.client.Status(ctx)
				if err != nil {
					return err
				}
				return c.print(st, func(w io.Writer) { c.writeStatus(w, st) })
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "ask all proxies of the cluster")
	return cmd
}

func (c *ctl) writeStatus(w io.Writer, st admin.Status) {
	fmt.Fprintf(w, "%s %s, %s, up %s, pid %d, descriptors %d of %d\n", c.color(bold, "ircferry"), st.Version.Version, st.State,
		span(time.Duration(st.UptimeSeconds*float64(time.Second))), st.PID, st.Descriptors.Used, st.Descriptors.Limit)
	writeBinary(w, st)
	c.writeKeeper(w, st.Keeper)
	writeRecovery(w, st.Recovered)
	for _, warning := range st.Warnings {
		fmt.Fprintln(w, c.color(bad, "warning: "+clean(warning)))
	}
	fmt.Fprintln(w)
	writeListeners(w, st.Listeners)
	fmt.Fprintln(w)
	writePools(w, st.Pools)
	writeServerLinks(w, st.Pools)
	fmt.Fprintln(w)
	fmt.Fprintf(w, "SESSIONS  %d%s\n", st.Sessions.Total, states(st.Sessions))
	c.writeCluster(w, st.Cluster)
	if len(st.Moves) > 0 {
		fmt.Fprintln(w)
		writeMoves(w, st.Moves)
	}
}

// writeRecovery says what came along from a daemon that was killed or restarted.
func writeRecovery(w io.Writer, r *admin.Recovery) {
	if r == nil {
		return
	}
	ended := 0
	for _, n := range r.Ended {
		ended += n
	}
	fmt.Fprintf(w, "behind a %s at %s: %d sessions went on, %d ended, %.0f ms\n", r.Cause, r.Time.UTC().Format(time.DateTime), r.Sessions, ended, r.Pause)
	if r.Links+len(r.LostLinks) > 0 {
		fmt.Fprintf(w, "server links behind it: %d went on, %d lost\n", r.Links, len(r.LostLinks))
	}
	for _, name := range slices.Sorted(maps.Keys(r.LostLinks)) {
		fmt.Fprintf(w, "lost link %s: %s\n", clean(name), clean(r.LostLinks[name]))
	}
}

// writeKeeper says who holds the connections while the daemon is restarted; nothing if nobody is to.
func (c *ctl) writeKeeper(w io.Writer, k *admin.Keeper) {
	switch {
	case k == nil:
	case !k.Up:
		fmt.Fprintf(w, "keeper %s: %s\n", clean(k.Socket), c.color(bad, "none: "+clean(k.Cause)))
	default:
		fmt.Fprintf(w, "keeper %s, pid %d, since %s, holds %d descriptors of %d\n", clean(k.Version), k.PID, k.Started.UTC().Format(time.DateTime), k.Descriptors, k.Limit)
	}
}

func writeListeners(w io.Writer, listeners []admin.Listener) {
	var g grid
	g.add("LISTENER", "ADDRESS", "POOL", "STATE", "CONNECTIONS", "LIMIT", "ACCEPTED", "REJECTED")
	for _, l := range listeners {
		state, limit := "accepting", "-"
		if !l.Accepting {
			state = "not accepting"
		}
		if l.Limit > 0 {
			limit = strconv.Itoa(l.Limit)
		}
		var rejected uint64
		for _, n := range l.Rejected {
			rejected += n
		}
		g.add(l.Name, l.Address, l.Pool, state, strconv.Itoa(l.Connections), limit, strconv.FormatUint(l.Accepted, 10), strconv.FormatUint(rejected, 10))
	}
	g.write(w)
}

func writePools(w io.Writer, pools []admin.Pool) {
	var g grid
	g.add("POOL/BACKEND", "TOPOLOGY", "ADMIN", "OPER", "ROLE", "SESSIONS", "DRIVER", "SOFTWARE")
	for _, p := range pools {
		for _, b := range p.Backends {
			g.add(b.FullName(), p.Topology, b.Admin, b.Oper, role(p, b), strconv.Itoa(b.Sessions), b.Driver,
				dash(clean(strings.TrimSpace(b.Software+" "+b.Version))))
		}
	}
	g.write(w)
	for _, p := range pools {
		writeCauses(w, p.Backends)
	}
}

// role is a backend's part in its pool.
func role(p admin.Pool, b admin.Backend) string {
	var words []string
	if b.Serving {
		words = append(words, "serving")
	}
	if b.Backup {
		words = append(words, "backup")
	}
	if p.Gated && (b.Serving || b.Admin == "drain" && b.Sessions > 0) {
		words = append(words, "moving")
	}
	return dash(strings.Join(words, ","))
}

func states(n admin.Counts) string {
	var words []string
	for state, count := range n.States {
		if count > 0 {
			words = append(words, fmt.Sprintf("%s %d", state, count))
		}
	}
	slices.Sort(words)
	if len(words) == 0 {
		return ""
	}
	return ": " + strings.Join(words, ", ")
}
