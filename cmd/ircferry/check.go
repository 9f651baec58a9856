package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/certs"
	"github.com/ircferry/ircferry/internal/cluster"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/link"
)

// probeTime bounds the live part of a check: two seconds for a socket that answers nothing, some backends at a time.
const probeTime = 15 * time.Second

func newCheckCommand() *cobra.Command {
	var how checking
	cmd := &cobra.Command{
		Use:   "check",
		Short: "say what is wrong with a configuration, and what the backends answer; changes nothing",
		Long: "Read the file as run and reload do, say what cannot be on this machine, and ask every backend with a handoff socket who it is.\n" +
			"An ircd without the driver is asked as a user would: a client from 192.0.2.0/24 registers, looks at its own address, and quits.\n" +
			"Where links lead to is connected to, and said which server protocol and whose certificate is there.\n" +
			"With --probe 40 clients come to each ircd without the driver, one of them with many commands at once, as users do who come back behind a\n" +
			"restart, and what its configuration refuses or slows is said with the lines that lift it. It ends at the first refusal; an ircd that counts\n" +
			"connections may ban this address for a while: do it before the ircd has users, or in a quiet hour.\n" +
			"Exit code 0: it can be used (warnings are printed); 1: it cannot, or --strict and there are warnings.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if how.probe && how.offline {
				return errors.New("--probe connects to the backends, --offline does not: leave one of them out")
			}
			return check(cmd.Context(), cmd.OutOrStdout(), how)
		},
	}
	cmd.Flags().StringVarP(&how.path, "config", "c", defaultConfig, "configuration file")
	cmd.Flags().BoolVar(&how.strict, "strict", false, "warnings are errors")
	cmd.Flags().BoolVar(&how.offline, "offline", false, "do not connect to the backends")
	cmd.Flags().BoolVar(&how.probe, "probe", false, "do at ircds without the driver what the return of many users would, and say what to change there")
	return cmd
}

// checking is what a check is asked for.
type checking struct {
	path                   string
	strict, offline, probe bool
}

func check(ctx context.Context, out io.Writer, how checking) error {
	path := how.path
	cfg, err := config.Load(path)
	if err != nil {
		return failed(err)
	}
	found := append(config.Verify(cfg), certs.Check(cfg)...)
	found = append(found, cluster.Check(cfg)...)
	if !how.offline {
		brief, cancel := context.WithTimeout(ctx, probeTime)
		defer cancel()
		found = append(found, backend.Probe(brief, cfg)...)
		found = append(found, link.Probe(brief, cfg)...)
	}
	if how.probe {
		found = append(found, backend.Rehearse(ctx, cfg)...)
	}
	errs, warns := 0, 0
	for _, f := range found {
		fmt.Fprintf(out, "%s: %s: %s: %s\n", path, f.Severity, f.Key, f.Text)
		switch f.Severity {
		case config.SeverityError:
			errs++
		case config.SeverityWarning:
			warns++
		}
	}
	if os.Geteuid() == 0 {
		fmt.Fprintf(out, "%s: note: checked as root; the daemon's user must be able to open the files and sockets too\n", path)
	}
	fmt.Fprintf(out, "%s: %d listeners, %d pools: %d errors, %d warnings\n", path, len(cfg.Listeners), len(cfg.Pools), errs, warns)
	if errs > 0 || how.strict && warns > 0 {
		return exitError{code: 1, err: errors.New("the configuration cannot be used as it is")}
	}
	return nil
}
