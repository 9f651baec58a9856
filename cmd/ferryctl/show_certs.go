package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) showCertsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "certs",
		Short: "The certificates of the listeners with TLS, and when they expire",
		Long: `show certs lists the certificates that clients get, by listener; the default one is for clients that ask for a name that no
other has, or for none. New files are taken within seconds, or at once by "ferryctl reload". Files that cannot be used are named
below the table, and the certificate that was read before goes on. With -o json there are fingerprints and the names of the files.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				certs, err := c.client.Certs(ctx)
				if err != nil {
					return err
				}
				return c.print(certs, func(w io.Writer) { c.writeCerts(w, certs, time.Now()) })
			})
		},
	}
}

func (c *ctl) writeCerts(w io.Writer, certs []admin.Certificate, now time.Time) {
	if len(certs) == 0 {
		fmt.Fprintln(w, "no listener has TLS")
		return
	}
	var g grid
	g.add("LISTENER", "DEFAULT", "NAMES", "EXPIRES", "LEFT", "KEY", "ISSUER", "FILES", "CERTIFICATE")
	for _, x := range certs {
		left, _ := x.Left(now)
		files := "ok"
		if x.Broken != "" {
			files = "broken"
		}
		g.add(x.Listener, yes(x.Default), clean(x.NameList()), x.NotAfter.Local().Format(time.DateTime), left, x.Algorithm, dash(clean(x.Issuer)), files, clean(x.CertFile))
	}
	g.write(w)
	for _, x := range certs {
		if x.Broken != "" {
			fmt.Fprintln(w, c.color(bad, fmt.Sprintf("broken since %s: %s", since(x.BrokenSince), clean(x.Broken))))
		}
	}
}

func since(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return strings.TrimSpace(t.Local().Format(time.DateTime))
}
