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
	return &cobra.Command{
		Use:   "session ID|NICK",
		Short: "One client, by its id or the nick of its user",
		Long: `show session shows one client. What is no session's id is asked for as a nick at the native backends (FIND), which know
it in their own casemapping.`,
		Args: one("session id or nick"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				s, err := c.client.Session(ctx, args[0])
				if err != nil {
					return err
				}
				return c.print(s, func(w io.Writer) { writeSession(w, s) })
			})
		},
	}
}

func writeSession(w io.Writer, s admin.Session) {
	var g grid
	g.add("session", s.ID)
	g.add("nick", dash(clean(s.Nick)))
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
