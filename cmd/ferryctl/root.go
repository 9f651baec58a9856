package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ircferry/ircferry/admin"
)

// streams is the world outside: tests put their own in its place.
type streams struct {
	in         io.Reader
	out, err   io.Writer
	getenv     func(string) string
	interrupts <-chan os.Signal // SIGINT and SIGTERM to ferryctl
}

// ctl is what a command has to work with.
type ctl struct {
	streams
	socket string
	output string // table | json
	client *admin.Client
	note   string // of the move that is waited for, as it was told last
}

// askTime bounds questions that are answered at once. Commands that begin a move may take as long as both ircds need to say HELLO.
const askTime = 30 * time.Second

// run is one call of ferryctl; it returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	c := &ctl{streams: s}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	return c.exit(err)
}

func (c *ctl) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ferryctl",
		Short: "Ask and steer a running ircferry",
		Long: `ferryctl asks a running ircferry for its state, and moves users between ircds without
their clients noticing.

The daemon listens on a unix socket. Who may use it is decided by the socket's owner and mode (0600, or 0660 and
admin.group of the configuration); each changing command is in the daemon's log with the user who gave it.

Answers go to stdout, as tables or with -o json as the documents of admin/API.md. Progress, hints and errors go to stderr.
Nothing here asks back.

EXIT CODES
  0    done
  1    error, or the move was reverted: nothing is lost, everybody is where they were
  2    usage
  3    the daemon is not reachable
  4    partly done: sessions that failed or were left, listed on stdout; or a proxy of the cluster did not answer or was not told
  5    refused by a guard: nothing was changed; the message says what to do instead
  124  the time was over: --timeout or the freeze limit ended the move before its point of no return, and it was reverted
  130  interrupted by Ctrl-C or SIGTERM

ENVIRONMENT
  IRCFERRY_SOCKET  the admin socket, if --socket is not given
  NO_COLOR         if set and not empty, no colours`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return needCommand(cmd) },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if c.output != "table" && c.output != "json" {
				return usagef("-o %s is not possible: table or json", c.output)
			}
			c.client = admin.NewClient(c.socket)
			return nil
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	socket := c.getenv("IRCFERRY_SOCKET")
	if socket == "" {
		socket = admin.DefaultSocket
	}
	root.PersistentFlags().StringVar(&c.socket, "socket", socket, "admin socket of the daemon")
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "table", "table or json")
	c.completeFlag(root, "output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(c.statusCmd(), c.showCmd(), c.drainCmd(), c.undrainCmd(), c.maintCmd(), c.readyCmd(), c.holdCmd(), c.releaseCmd(),
		c.restartCmd(), c.rollingCmd(), c.pauseCmd(), c.resumeCmd(), c.cancelCmd(), c.reloadCmd(), c.upgradeCmd(), c.clusterCmd(), c.eventsCmd(), c.topCmd(), c.versionCmd(), c.completionCmd())
	return root
}

// ask runs f with the time that an immediate answer may take. Ctrl-C ends it.
func (c *ctl) ask(cmd *cobra.Command, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), askTime)
	defer cancel()
	ctx, stop := c.interruptible(ctx)
	defer stop()
	err := f(ctx)
	if err != nil && context.Cause(ctx) == errInterrupted {
		return errInterrupted
	}
	return err
}

// interruptible ends ctx, with errInterrupted as its cause, at the first SIGINT or SIGTERM.
func (c *ctl) interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-c.interrupts:
			cancel(errInterrupted)
		case <-ended:
		}
	}()
	return ctx, func() { close(ended); <-done; cancel(nil) }
}

// terminal reports whether a stream is one.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// completeTime bounds what a shell waits for when somebody presses Tab.
const completeTime = time.Second

// complete asks the running daemon for what a command's one argument can be, each with a word about it. Without a daemon there is
// nothing to complete.
func complete[T any](c *ctl, cmd *cobra.Command, args []string, ask func(*admin.Client, context.Context) ([]T, error), word func(T) string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
	defer cancel()
	all, _ := ask(admin.NewClient(c.socket), ctx) //nolint:errcheck // see above
	var words []string
	for _, one := range all {
		words = append(words, word(one))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// backendNames completes POOL/BACKEND.
func (c *ctl) backendNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return complete(c, cmd, args, (*admin.Client).Backends, func(b admin.Backend) string {
		return b.FullName() + "\t" + b.Admin + " " + b.Oper
	})
}

// poolNames completes POOL.
func (c *ctl) poolNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, directive := complete(c, cmd, args, (*admin.Client).Backends, func(b admin.Backend) string { return b.Pool })
	slices.Sort(names)
	return slices.Compact(names), directive
}

// siblings completes the name of another backend in the pool of the one that is named.
func (c *ctl) siblings(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	all, directive := c.backendNames(cmd, nil, "")
	if len(args) == 0 {
		return nil, directive
	}
	pool, _, _ := strings.Cut(args[0], "/")
	for _, b := range all {
		full, _, _ := strings.Cut(b, "\t")
		if name, ok := strings.CutPrefix(b, pool+"/"); ok && full != args[0] {
			names = append(names, name)
		}
	}
	return names, directive
}

// completeFlag completes the value of a flag, which the command has.
func (c *ctl) completeFlag(cmd *cobra.Command, name string, values cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(name, values); err != nil {
		panic(err)
	}
}

// moveIDs completes MOVE with what is under way.
func (c *ctl) moveIDs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return complete(c, cmd, args, (*admin.Client).Moves, func(m admin.Move) string {
		return m.ID + "\t" + string(m.Kind) + " " + m.Pool + "/" + m.From + " " + string(m.State)
	})
}
