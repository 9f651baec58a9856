package main

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) showSessionCmd() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "session ID|NICK",
		Short: "One client, by its id or the nick of its user",
		Long: `show session shows one client. What is no session's id is asked for as a nick at the native backends (FIND), which know
it in their own casemapping. With --all the sessions of all proxies of the cluster are looked through; exit code 4 says that it was not found, and that
not all proxies answered.`,
		Args: one("session id or nick"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				if all {
					return c.sessionOfAll(ctx, args[0])
				}
				s, err := c.client.Session(ctx, args[0])
				if err != nil {
					return err
				}
				return c.print(s, func(w io.Writer) { writeSession(w, s, "") })
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "look for it at all proxies of the cluster")
	return cmd
}

// writeSession shows a session, and the proxy that has it if others were asked too.
func writeSession(w io.Writer, s admin.Session, proxy string) {
	var g grid
	g.add("session", s.ID)
	g.add("nick", dash(clean(s.Nick)))
	if proxy != "" {
		g.add("proxy", proxy)
	}
	g.add("client", s.Client)
	g.add("listener", s.Listener)
	g.add("tls", dash(s.TLS))
	if s.CertFP != "" {
		g.add("certificate", s.CertFP)
	}
	g.add("backend", dash(s.Backend))
	g.add("state", s.State)
	g.add("registered", yes(s.Registered))
	g.add("started", s.Started.Local().Format(time.DateTime)+" ("+span(time.Since(s.Started))+")")
	g.add("bytes in", strconv.FormatUint(s.BytesIn, 10))
	g.add("bytes out", strconv.FormatUint(s.BytesOut, 10))
	g.add("held bytes", strconv.Itoa(s.HeldBytes))
	g.write(w)
}
