package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// demoOptions are how large and how long the demo is.
type demoOptions struct {
	clients, channels int
	talk              time.Duration // between the moves
	address           string        // for clients; a free port if it is taken
	stay              bool
	out, err          io.Writer
}

func newDemoCommand() *cobra.Command {
	opt := demoOptions{clients: 200, channels: 20, talk: 2500 * time.Millisecond, address: "127.0.0.1:6667"}
	output := "table"
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "two small ircds, 200 talking clients, three moves, and what became of every message",
		Long: "Run two embedded ircds and the proxy in this process, connect 200 clients in 20 channels, half of them over TLS, that talk in numbered messages, drain\n" +
			"ircd a to b, drain it back and restart a, all under traffic, and tell what became of every message. The exit code is 1 if any\n" +
			"was lost, doubled or reordered, if a client saw a line of the moves, or was disconnected.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("--output is table or json, not %q", output)
			}
			opt.out, opt.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return runDemo(ctx, opt, output == "json")
		},
	}
	cmd.Flags().BoolVar(&opt.stay, "stay", false, "keep it running for an IRC client and ferryctl of your own")
	cmd.Flags().StringVarP(&output, "output", "o", output, "table or json")
	return cmd
}

// runDemo is the demo with its result printed.
func runDemo(ctx context.Context, opt demoOptions, asJSON bool) error {
	d, err := startDemo(opt)
	if err != nil {
		return failed(err)
	}
	defer d.close()
	r, err := d.play(ctx)
	if err != nil {
		d.log.dump(opt.err)
		return failed(err)
	}
	print := r.writeTable
	if asJSON {
		print = r.writeJSON
	}
	if err := print(opt.out); err != nil {
		return failed(err)
	}
	if opt.stay {
		d.stayFor(ctx)
	}
	if why := r.fault(); why != "" {
		d.log.dump(opt.err)
		for _, line := range d.crowd.oracle.Samples() {
			fmt.Fprintln(opt.err, "unexpected:", line)
		}
		return exitError{code: 1, err: errors.New(why)}
	}
	if !asJSON && !opt.stay {
		fmt.Fprintln(opt.err, "Half of the clients used TLS. For a client of your own: ircferry demo --stay (make demo DEMO_ARGS=--stay)")
	}
	return nil
}

// demo is all of it while it runs.
type demo struct {
	opt    demoOptions
	log    *recentLog
	dir    string // state, sockets, certificate; removed at the end
	cert   string // file names
	key    string
	ircds  map[string]*demoServer
	daemon *daemon
	crowd  *crowd
	view   *demoView
}

// secureDemoAddress is a free port on an address of its own: the plaintext listener may be on a free port of 127.0.0.1.
const secureDemoAddress = "127.0.0.2:0"

// demoBackends are the ircds, the serving one first.
var demoBackends = []string{"a", "b"}

// startDemo starts the ircds and the proxy, and waits until both are up.
func startDemo(opt demoOptions) (d *demo, err error) {
	d = &demo{opt: opt, log: new(recentLog), ircds: make(map[string]*demoServer)}
	if d.dir, err = os.MkdirTemp("", "ircferry-demo-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.log.dump(opt.err)
			d.close()
		}
	}()
	self, err := certtest.Make(nil, certtest.Options{Names: []string{"localhost"}})
	if err != nil {
		return nil, err
	}
	if d.cert, d.key, err = self.WriteFiles(d.dir, "localhost"); err != nil {
		return nil, err
	}
	for _, name := range demoBackends {
		if d.ircds[name], err = startDemoServer(name, d.socket(name)); err != nil {
			return nil, err
		}
	}
	cfg := d.config()
	d.daemon, err = startDaemon(daemonOptions{config: &cfg, log: slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return nil, err
	}
	d.view = newDemoView(d)
	return d, d.awaitUp()
}

func (d *demo) socket(name string) string { return filepath.Join(d.dir, name+".sock") }

// config is what a configuration file for this would say.
func (d *demo) config() config.Config {
	cfg := config.Default()
	cfg.State = filepath.Join(d.dir, "state")
	cfg.Admin.Socket = filepath.Join(d.dir, "admin.sock")
	cfg.HTTP.Address = ""
	cfg.Listeners = []config.Listener{
		{Name: "irc", Address: d.clientAddress(), Pool: "main"},
		{Name: "ircs", Address: secureDemoAddress, Pool: "main", TLS: &config.ListenerTLS{
			Certs: []config.Cert{{Cert: d.cert, Key: d.key}}, MinVersion: "1.2", ClientCert: "request"}},
	}
	pool := config.Pool{Topology: config.Standalone, Check: config.Check{
		Type: config.CheckHandoff, Inter: config.Duration(100 * time.Millisecond), Rise: 1, Fall: 3, Timeout: config.Duration(2 * time.Second)}}
	for _, name := range demoBackends {
		pool.Backends = append(pool.Backends, config.Backend{Name: name, Handoff: "unix:" + d.socket(name), Weight: 100, Backup: name != demoBackends[0]})
	}
	cfg.Pools = map[string]config.Pool{"main": pool}
	return cfg
}

// clientAddress is the wanted one, or a free port beside it if somebody has that.
func (d *demo) clientAddress() string {
	ln, err := net.Listen("tcp", d.opt.address)
	if err == nil {
		ln.Close()
		return d.opt.address
	}
	host, _, _ := net.SplitHostPort(d.opt.address)
	fmt.Fprintf(d.opt.err, "%s is taken, using a free port\n", d.opt.address)
	return net.JoinHostPort(host, "0")
}

// address is where clients without TLS connect to, secureAddress those with it.
func (d *demo) address() string       { return d.listening("irc") }
func (d *demo) secureAddress() string { return d.listening("ircs") }

func (d *demo) listening(name string) string {
	for _, a := range d.daemon.proxy.Addrs()[name] {
		return a.String()
	}
	return ""
}

func (d *demo) backend(name string) *backend.Backend {
	b, _ := d.daemon.backends.Backend("main/" + name)
	return b
}

// awaitUp waits for the first checks.
func (d *demo) awaitUp() error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		down := slices.ContainsFunc(demoBackends, func(name string) bool { return d.backend(name).Oper() != backend.Up })
		if !down {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("the ircds of the demo do not come up")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stayFor keeps the talk going, slowly, until ctx is over.
func (d *demo) stayFor(ctx context.Context) {
	host, port, _ := net.SplitHostPort(d.address())
	secureHost, securePort, _ := net.SplitHostPort(d.secureAddress())
	fmt.Fprintf(d.opt.err, "\nStill running, until Ctrl-C. Join %s in an IRC client of your own, and move it:\n\n", d.crowd.channel(0))
	fmt.Fprintf(d.opt.err, "    irssi -c %s -p %s\n", host, port)
	fmt.Fprintf(d.opt.err, "    irssi --tls -c %s -p %s\n", secureHost, securePort)
	fmt.Fprintf(d.opt.err, "    %s --socket %s drain main/a --to b\n\n", ferryctl(), d.daemon.cfg.Load().Admin.Socket)
	d.crowd.talk(stayPace)
	d.view.again()
	<-ctx.Done()
	d.view.stop()
	d.crowd.hush()
}

// ferryctl is the one that was built beside this program, or the one in PATH.
func ferryctl() string {
	self, err := os.Executable()
	if err == nil {
		beside := filepath.Join(filepath.Dir(self), "ferryctl")
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	return "ferryctl"
}

// close ends all in the order of the bytes: clients, proxy, ircds.
func (d *demo) close() {
	if d.crowd != nil {
		d.crowd.close()
	}
	if d.daemon != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		d.daemon.Shutdown(ctx)
	}
	for _, s := range d.ircds {
		if s != nil {
			s.close()
		}
	}
	os.RemoveAll(d.dir)
}
