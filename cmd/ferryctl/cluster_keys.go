package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) clusterKeysCmd() *cobra.Command {
	keys := &cobra.Command{
		Use:   "keys",
		Short: "Show and change the keys of the gossip, at all proxies",
		Long: `keys shows and changes the keys that the proxies of a cluster know each other by. A change is three steps, each of which may be repeated:

  ferryctl cluster keys add           all open what is sealed by a new key, too; its id is printed
  ferryctl cluster keys use ID        all seal by it
  ferryctl cluster keys remove ID     all forget the old one

use and remove are refused while a proxy is missing that join of the configuration names, or does not answer: when it came back it could not read the
others. The key files are written by the daemons, so they must lie where these may write; where they may not, change the files by hand in the same three
steps, with a reload of all proxies behind each. Exit code 4: not all proxies have done it; repeat it when they answer.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("cluster keys %s is not possible: show, add, use ID or remove ID", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return needCommand(cmd) },
	}
	keys.AddCommand(c.keysShowCmd(), c.keysAddCmd(),
		c.keysChangeCmd("use", "Seal by a key at all proxies", "use has all proxies seal by a key that all of them have; it is refused if one of them has it not."),
		c.keysChangeCmd("remove", "Forget a key at all proxies", "remove has all proxies forget a key; it is refused while one of them seals by it."))
	return keys
}

func (c *ctl) keysShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Which proxy has which keys",
		Long: "show lists the ids of the keys that each proxy has; the one that seals is marked. An id is made from the key, and tells nothing of it.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd, func(ctx context.Context) error {
				done, err := c.client.ClusterKeys(ctx)
				if err != nil {
					return err
				}
				return c.keysResult(done)
			})
		},
	}
}

func (c *ctl) keysAddCmd() *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use: "add", Short: "Have all proxies know another key",
		Long: "add makes a new key, or reads one from --file, and gives it to all proxies: from then on they open what is sealed by it.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := admin.KeysRequest{Verb: "add"}
			if file != "" {
				text, err := readWord(c.in, file)
				if err != nil {
					return err
				}
				r.Key = text
			}
			return c.changeKeys(cmd, r)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "file with the key in base64; -: standard input")
	return cmd
}

func (c *ctl) keysChangeCmd(verb, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID", Short: short, Long: long, Args: one("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.changeKeys(cmd, admin.KeysRequest{Verb: verb, ID: args[0]})
		},
	}
}

func readWord(in io.Reader, file string) (string, error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<10))
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (c *ctl) changeKeys(cmd *cobra.Command, r admin.KeysRequest) error {
	return c.ask(cmd, func(ctx context.Context) error {
		done, err := c.client.ChangeClusterKeys(ctx, r)
		if err != nil {
			return err
		}
		return c.keysResult(*done.Keys)
	})
}

// keysResult prints who has which keys, and fails with 4 if somebody has not done it.
func (c *ctl) keysResult(done admin.KeysDone) error {
	if err := c.print(done, func(w io.Writer) { writeKeys(w, done) }); err != nil {
		return err
	}
	var failed []string
	for _, p := range done.Proxies {
		if p.Error != "" {
			failed = append(failed, p.Name)
			fmt.Fprintf(c.err, "ferryctl: %s: %s\n", clean(p.Name), clean(p.Error))
		}
	}
	if len(done.Missing) > 0 {
		fmt.Fprintf(c.err, "ferryctl: missing: %s\n", clean(strings.Join(done.Missing, ", ")))
	}
	if len(failed)+len(done.Missing) > 0 {
		return coded{exitPartly}
	}
	return nil
}

func writeKeys(w io.Writer, done admin.KeysDone) {
	if done.ID != "" {
		fmt.Fprintf(w, "key %s\n\n", done.ID)
	}
	var ids []string
	for _, p := range done.Proxies {
		for _, id := range p.Keys {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	var g grid
	g.add(append([]string{"PROXY"}, ids...)...)
	for _, p := range done.Proxies {
		row := []string{p.Name}
		for _, id := range ids {
			switch slices.Index(p.Keys, id) {
			case -1:
				row = append(row, "-")
			case 0:
				row = append(row, "seals")
			default:
				row = append(row, "opens")
			}
		}
		g.add(row...)
	}
	g.write(w)
}
