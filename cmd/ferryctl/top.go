package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ircferry/ircferry/admin"
)

func (c *ctl) topCmd() *cobra.Command {
	var every time.Duration
	var count int
	cmd := &cobra.Command{
		Use:   "top",
		Short: "What happens now: clients coming and going, backends, moves; drawn anew all the time",
		Long: `top shows the daemon as it is, and draws it anew every --interval until Ctrl-C: what is wrong, how many clients come and are refused a second,
how the sessions are spread and how that changes, and the moves that are under way. With --count it ends by itself; without a terminal every picture
is printed behind the one before, so that it can go into a file.`,
		Example: `  ferryctl top
  ferryctl top --count 2 --interval 10s >> what-happened`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return usagef("--interval %v is not possible; at least 100ms", every)
			}
			if count < 0 {
				return usagef("--count %d is not possible", count)
			}
			if c.output == "json" {
				return usagef("top draws for people; ferryctl -o json status is the same for programs")
			}
			return c.top(cmd.Context(), every, count)
		},
	}
	cmd.Flags().DurationVar(&every, "interval", 2*time.Second, "time between two pictures")
	cmd.Flags().IntVar(&count, "count", 0, "end after so many pictures; 0: at Ctrl-C")
	return cmd
}

// top asks and draws. A daemon that does not answer for once, since it is restarted, is waited for.
func (c *ctl) top(ctx context.Context, every time.Duration, count int) error {
	ctx, stop := c.interruptible(ctx)
	defer stop()
	screen := terminal(c.out) && c.getenv("TERM") != "dumb"
	var before *sample
	for n := 1; ; n++ {
		asked, cancel := context.WithTimeout(ctx, askTime)
		st, err := c.client.Status(asked)
		cancel()
		switch {
		case context.Cause(ctx) == errInterrupted:
			return nil // the way out of a picture that never ends
		case err != nil && (before == nil || !errors.Is(err, admin.ErrUnreachable)):
			return err
		case err != nil:
			c.draw(screen, []byte(c.color(bad, fmt.Sprintf("%v: waiting for it", err))+"\n"))
		default:
			now := &sample{at: time.Now(), st: st}
			var b bytes.Buffer
			c.picture(&b, now, before)
			c.draw(screen, b.Bytes())
			before = now
		}
		if n == count {
			return nil
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return nil
		}
	}
}

// sample is a status and when it was.
type sample struct {
	at time.Time
	st admin.Status
}

// draw puts a picture in the place of the one before, as much of it as the screen has room for.
func (c *ctl) draw(screen bool, picture []byte) {
	if !screen {
		c.out.Write(append(picture, '\n')) //nolint:errcheck // a reader that is gone ends us by SIGPIPE
		return
	}
	lines := strings.Split(strings.TrimRight(string(picture), "\n"), "\n")
	if f, ok := c.out.(*os.File); ok {
		if _, height, err := term.GetSize(int(f.Fd())); err == nil && height > 2 && len(lines) >= height {
			lines = append(lines[:height-2], "...")
		}
	}
	fmt.Fprint(c.out, "\x1b[H\x1b[2J"+strings.Join(lines, "\n")+"\n")
}

func (c *ctl) picture(w io.Writer, now, before *sample) {
	st := now.st
	fmt.Fprintf(w, "%s %s, %s, up %s, %s, sessions %d%s\n", c.color(bold, "ircferry"), st.Version.Version, st.State,
		span(time.Duration(st.UptimeSeconds*float64(time.Second))), now.at.Format(time.TimeOnly), st.Sessions.Total, states(st.Sessions))
	for _, text := range st.Warnings {
		fmt.Fprintln(w, c.color(bad, "warning: "+clean(text)))
	}
	fmt.Fprintln(w)
	topListeners(w, now, before)
	fmt.Fprintln(w)
	topBackends(w, now, before)
	for _, m := range st.Moves {
		if !m.State.Ended() {
			fmt.Fprintln(w)
			fmt.Fprintln(w, line(m, 200, now.at.Sub(m.Started)))
		}
	}
}

func topListeners(w io.Writer, now, before *sample) {
	var g grid
	g.add("LISTENER", "STATE", "CONNECTIONS", "NEW/S", "REFUSED/S")
	for i, l := range now.st.Listeners {
		state := "accepting"
		if !l.Accepting {
			state = "not accepting"
		}
		fresh, refused := "-", "-"
		if before != nil && before.st.Instance == now.st.Instance && i < len(before.st.Listeners) && before.st.Listeners[i].Name == l.Name {
			was := before.st.Listeners[i]
			fresh, refused = rate(l.Accepted, was.Accepted, now, before), rate(sum(l.Rejected), sum(was.Rejected), now, before)
		}
		g.add(l.Name, state, strconv.Itoa(l.Connections), fresh, refused)
	}
	g.write(w)
}

func topBackends(w io.Writer, now, before *sample) {
	were := map[string]int{}
	if before != nil {
		for _, p := range before.st.Pools {
			for _, b := range p.Backends {
				were[b.FullName()] = b.Sessions
			}
		}
	}
	most := 1
	for _, p := range now.st.Pools {
		for _, b := range p.Backends {
			most = max(most, b.Sessions)
		}
	}
	var g grid
	g.add("POOL/BACKEND", "ADMIN", "OPER", "ROLE", "SESSIONS", "CHANGE", "SHARE")
	for _, p := range now.st.Pools {
		for _, b := range p.Backends {
			change := "-"
			if was, ok := were[b.FullName()]; ok {
				change = fmt.Sprintf("%+d", b.Sessions-was)
			}
			g.add(b.FullName(), b.Admin, b.Oper, role(p, b), strconv.Itoa(b.Sessions), change, strings.Repeat("#", b.Sessions*barCells/most))
		}
	}
	g.write(w)
}

func sum(by map[string]uint64) (n uint64) {
	for _, x := range by {
		n += x
	}
	return n
}

// rate is how many more a second there are than before.
func rate(now, was uint64, at, before *sample) string {
	seconds := at.at.Sub(before.at).Seconds()
	if now < was || seconds <= 0 {
		return "-"
	}
	return strconv.FormatFloat(float64(now-was)/seconds, 'f', 1, 64)
}
