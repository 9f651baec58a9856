package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) rollingCmd() *cobra.Command {
	r := rolling{ctl: c}
	cmd := &cobra.Command{
		Use:   "rolling POOL",
		Short: "Restart all backends of a pool, one after the other",
		Long: `rolling restarts every backend of a pool in the order of the configuration, as ferryctl restart does: each {} in COMMAND becomes the name
of the backend. The next one begins only when the one before is up again and its users are back. It begins with none unless all that it will come
to are up; backends in maint are left out.

At the first trouble it stops and says how to go on: the same command with --from. Users of backends without a driver are closed, which
wants --close-after.`,
		Example: `  ferryctl rolling main --exec 'systemctl restart ircd@{}'
  ferryctl rolling main --exec 'systemctl restart ircd@{}' --from b`,
		Args: one("POOL"), ValidArgsFunction: c.poolNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.command == "" {
				return usagef("rolling needs --exec: the command that restarts a backend, {} stands for its name")
			}
			if r.pause < 0 {
				return usagef("--pause %v is not possible", r.pause)
			}
			var err error
			if r.close, err = r.closing.check(cmd); err != nil {
				return err
			}
			return r.carryOut(cmd, args[0])
		},
	}
	cmd.Flags().StringVar(&r.command, "exec", "", "restarts one backend; {} is its name; run with sh -c")
	cmd.Flags().StringVar(&r.from, "from", "", "name of the backend to begin with, to go on after trouble")
	cmd.Flags().DurationVar(&r.pause, "pause", 0, "rest between two backends, e.g. 1m")
	cmd.Flags().DurationVar(&r.wait, "wait", 2*time.Minute, "how long a backend may take to be up again with its users")
	cmd.Flags().BoolVar(&r.visible, "allow-visible", false, "restart even if users who connected past ircferry, or linked servers, will see it")
	r.closing.add(cmd)
	cmd.Flags().IntVar(&r.closing.pace, "pace", 20, "with --close-after: clients a second that are let in when the ircd answers")
	return cmd
}

// rolling is one round over a pool.
type rolling struct {
	*ctl
	command, from string
	pause, wait   time.Duration
	visible       bool
	close         bool
	closing       closeFlags
}

func (r *rolling) carryOut(cmd *cobra.Command, pool string) error {
	var todo []admin.Backend
	if err := r.ask(cmd, func(ctx context.Context) (err error) { todo, err = r.plan(ctx, pool); return err }); err != nil {
		return err
	}
	for i, b := range todo {
		fmt.Fprintf(r.err, "ferryctl: %d of %d: %s\n", i+1, len(todo), b.FullName())
		if err := r.one(cmd, b); err != nil {
			r.trouble(todo, i)
			return err
		}
		if i < len(todo)-1 && !r.rest(cmd.Context()) {
			r.trouble(todo, i+1)
			return coded{exitInterrupted}
		}
	}
	return nil
}

// plan lists whom it will come to, and refuses to begin if one of them is not up.
func (r *rolling) plan(ctx context.Context, pool string) ([]admin.Backend, error) {
	all, err := r.client.Backends(ctx)
	if err != nil {
		return nil, err
	}
	var todo []admin.Backend
	var trouble []string
	known, found := false, r.from == ""
	for _, b := range all {
		if b.Pool != pool {
			continue
		}
		known, found = true, found || b.Name == r.from
		switch {
		case !found:
		case b.Admin == "maint":
			fmt.Fprintf(r.err, "ferryctl: %s is in maint and left out\n", b.FullName())
		case b.Oper != "up":
			trouble = append(trouble, fmt.Sprintf("%s is %s (%s)", b.FullName(), b.Oper, clean(b.Cause)))
		case b.Driver == "none" && !r.close:
			trouble = append(trouble, b.FullName()+" has no driver: its users must be closed, with --close-after")
		default:
			todo = append(todo, b)
		}
	}
	switch {
	case !known:
		return nil, fmt.Errorf("there is no pool %q, or it has no backends", pool)
	case !found:
		return nil, fmt.Errorf("pool %s has no backend %q to begin with", pool, r.from)
	case len(trouble) > 0:
		return nil, &admin.Error{Code: admin.CodeRefused, Message: strings.Join(trouble, "; "), Hint: "mend it, or ferryctl maint it, which leaves it out; nothing was begun"}
	}
	return todo, nil
}

// one restarts a backend and waits until it is up with its users.
func (r *rolling) one(cmd *cobra.Command, b admin.Backend) error {
	command := strings.ReplaceAll(r.command, "{}", b.Name)
	if b.Driver == "none" {
		h := admin.HoldRequest{Backend: b.FullName(), Close: true, CloseAfter: admin.Duration(r.closing.after), Notice: r.closing.notice}
		if err := r.restartClosing(cmd, h, command, r.closing.pace); err != nil {
			return err
		}
		return r.back(cmd.Context(), b, 0)
	}
	h := admin.HoldRequest{Backend: b.FullName(), Restart: true, AllowVisible: r.visible}
	done, err := r.begin(cmd, func(ctx context.Context) (admin.Done, error) { return r.client.Hold(ctx, h) })
	if err != nil {
		return err
	}
	if err := (&restart{ctl: r.ctl, backend: b.FullName(), move: done.Move.ID, command: command}).carryOut(cmd.Context()); err != nil {
		return err
	}
	m, err := r.client.Move(cmd.Context(), done.Move.ID)
	if err != nil {
		return err
	}
	return r.back(cmd.Context(), b, m.Moved)
}

// back waits until a backend is up, and a native one has as many users as were put back, less those who have left since.
func (r *rolling) back(ctx context.Context, b admin.Backend, users int) error {
	ctx, stop := r.interruptible(ctx)
	defer stop()
	late := time.NewTimer(r.wait)
	defer late.Stop()
	for {
		now, err := r.backendNamed(ctx, b.FullName())
		if err == nil && now.Oper == "up" && now.Sessions >= users-users/10 {
			return nil
		}
		if err != nil && context.Cause(ctx) != errInterrupted {
			return err
		}
		select {
		case <-time.After(refresh):
		case <-late.C:
			return fmt.Errorf("%s is %s with %d sessions after %s; %d users were put back", b.FullName(), now.Oper, now.Sessions, r.wait, users)
		case <-ctx.Done():
			return coded{exitInterrupted}
		}
	}
}

// rest reports whether it may go on.
func (r *rolling) rest(ctx context.Context) bool {
	ctx, stop := r.interruptible(ctx)
	defer stop()
	select {
	case <-time.After(r.pause):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// trouble says where it has stopped and how to go on.
func (r *rolling) trouble(todo []admin.Backend, i int) {
	names := func(bs []admin.Backend) string {
		var out []string
		for _, b := range bs {
			out = append(out, b.Name)
		}
		if len(out) == 0 {
			return "none"
		}
		return strings.Join(out, ", ")
	}
	fmt.Fprintf(r.err, "ferryctl: stopped at %s; done: %s; not begun: %s\n  when it is mended: ferryctl rolling %s --from %s --exec '%s'\n",
		todo[i].FullName(), names(todo[:i]), names(todo[min(i+1, len(todo)):]), todo[i].Pool, todo[i].Name, strings.ReplaceAll(r.command, "'", `'\''`))
}
