package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) showBackendsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "backends",
		Short: "All ircds, with what they say of themselves",
		Long: `show backends lists every ircd of every pool. USERS, PASTUS, CHANNELS and LINKS are what a native one said in its last
HELLO: PASTUS are users who came in past ircferry and cannot be moved, LINKS are linked servers. ADDRESS has in brackets which address of a
name is in use.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				backends, err := c.client.Backends(ctx)
				if err != nil {
					return err
				}
				return c.print(backends, func(w io.Writer) { writeBackends(w, backends) })
			})
		},
	}
}

func writeBackends(w io.Writer, backends []admin.Backend) {
	var g grid
	g.add("POOL/BACKEND", "ADMIN", "OPER", "SERVING", "BACKUP", "WEIGHT", "SESSIONS", "DRIVER", "USERS", "PASTUS", "CHANNELS", "LINKS", "ADDRESS", "SOFTWARE")
	for _, b := range backends {
		users, past, channels, links := "-", "-", "-", "-"
		if b.Hello != nil {
			users, past = strconv.Itoa(b.Users), strconv.Itoa(b.Unmovable)
			channels, links = strconv.Itoa(b.Channels), strconv.Itoa(b.Links)
		}
		g.add(b.FullName(), b.Admin, b.Oper, yes(b.Serving), yes(b.Backup), strconv.Itoa(b.Weight), strconv.Itoa(b.Sessions), b.Driver,
			users, past, channels, links, inUse(b), dash(clean(strings.TrimSpace(b.Software+" "+b.Version))))
	}
	g.write(w)
	writeCauses(w, backends)
}

// inUse is the address of a backend, and if that is a name the one of its addresses that is in use.
func inUse(b admin.Backend) string {
	if b.Driver == "none" && b.Stream != "" && b.Stream != b.Address {
		return b.Address + " (" + b.Stream + ")"
	}
	return b.Address
}

// writeCauses says why those are down that are.
func writeCauses(w io.Writer, backends []admin.Backend) {
	for _, b := range backends {
		if b.Cause != "" {
			fmt.Fprintf(w, "%s is %s: %s\n", b.FullName(), b.Oper, clean(b.Cause))
		}
	}
}
