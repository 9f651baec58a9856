package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// partly is the end of a command for all proxies: 4 if some did not answer, who are told on stderr.
func (c *ctl) partly(all admin.Proxies) error {
	missed := all.Unanswered()
	if len(missed) == 0 {
		return nil
	}
	fmt.Fprintf(c.err, "ferryctl: no answer from %s\n", clean(strings.Join(missed, ", ")))
	return coded{exitPartly}
}

func (c *ctl) statusOfAll(ctx context.Context) error {
	all, err := c.client.AllStatus(ctx)
	if err != nil {
		return err
	}
	if err := c.print(all, func(w io.Writer) { c.writeProxies(w, all) }); err != nil {
		return err
	}
	return c.partly(all)
}

// sessionOfAll prints the session of the first proxy that has it.
func (c *ctl) sessionOfAll(ctx context.Context, name string) error {
	all, err := c.client.AllSession(ctx, name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all.Proxies, func(p admin.Proxy) bool { return p.Session != nil })
	if i >= 0 {
		p := all.Proxies[i]
		return c.print(p, func(w io.Writer) { writeSession(w, *p.Session, p.Name) })
	}
	if err := c.partly(all); err != nil {
		return err
	}
	return &admin.Error{Code: admin.CodeNotFound, Message: fmt.Sprintf("no proxy has a session with the id or nick %q", name), Hint: "list them with ferryctl show sessions --all"}
}

// sessionsOfAll prints the sessions of all proxies. done is false for a daemon that is alone.
func (c *ctl) sessionsOfAll(ctx context.Context, q admin.SessionQuery) (done bool, err error) {
	var said *admin.Error
	if _, err := c.client.Cluster(ctx); errors.As(err, &said) && (said.Code == admin.CodeUnsupported || said.Code == admin.CodeNotFound) {
		return false, nil
	} else if err != nil {
		return true, err
	}
	all, err := c.client.AllSessions(ctx, q)
	if err != nil {
		return true, err
	}
	if err := c.print(all, func(w io.Writer) { writeSessionsOfAll(w, all) }); err != nil {
		return true, err
	}
	return true, c.partly(all)
}

func writeSessionsOfAll(w io.Writer, all admin.Proxies) {
	var g grid
	g.add("PROXY", "SESSION", "CLIENT", "LISTENER", "BACKEND", "STATE", "REGISTERED", "AGE", "IN", "OUT", "HELD")
	for _, p := range all.Proxies {
		if p.Page == nil {
			continue
		}
		for _, s := range p.Page.Sessions {
			g.add(p.Name, s.ID, s.Client, s.Listener, dash(s.Backend), s.State, yes(s.Registered), span(time.Since(s.Started)),
				size(s.BytesIn), size(s.BytesOut), size(uint64(max(s.HeldBytes, 0))))
		}
	}
	g.write(w)
	for _, p := range all.Proxies {
		if p.Page != nil && p.Page.Next != "" {
			fmt.Fprintf(w, "%s: %d of %d; ferryctl show sessions --all at that proxy shows the rest\n", p.Name, len(p.Page.Sessions), p.Page.Matched)
		} else if p.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", p.Name, clean(p.Error))
		}
	}
}
