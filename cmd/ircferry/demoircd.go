package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/ircd"
)

// streamBuffer is the kernel's buffer of a stream, each way, so that what a client has not read stays small (HANDOFF.md).
const streamBuffer = 64 << 10

// demoIrcd is what `ircferry demo-ircd` is told.
type demoIrcd struct {
	name, sid       string
	handoff, stream string
	cert, key, ca   string // of handoff over TCP
	listen          []string
	proxyV1         bool
	oper            string // NAME:PASSWORD
	faults          []string
}

// newDemoIrcdCommand runs an embedded ircd as a process of its own, for tests and benchmarks.
func newDemoIrcdCommand() *cobra.Command {
	var d demoIrcd
	cmd := &cobra.Command{
		Use:    "demo-ircd",
		Short:  "run an embedded ircd that speaks HANDOFF/1, for tests",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return failed(d.run(cmd.OutOrStdout())) },
	}
	f := cmd.Flags()
	f.StringVar(&d.name, "name", "irc.demo", "server name; one without a dot gets .demo behind it")
	f.StringVar(&d.sid, "sid", "001", "server id, three characters")
	f.StringVar(&d.handoff, "handoff", "", "HANDOFF/1 control address: unix:/path or tcp:host:port")
	f.StringVar(&d.cert, "handoff-cert", "", "certificate of a tcp control address, which takes TLS then")
	f.StringVar(&d.key, "handoff-key", "", "its key")
	f.StringVar(&d.ca, "handoff-ca", "", "certificates of the coordinators that are let in, or of who signed theirs")
	f.StringVar(&d.stream, "stream", "127.0.0.1:0", "HANDOFF/1 stream address")
	f.StringArrayVar(&d.listen, "listen", nil, "client port, host:port; may be repeated")
	f.BoolVar(&d.proxyV1, "proxy-v1", false, "clients begin with a PROXY v1 header")
	f.StringVar(&d.oper, "oper", "", "operator account, NAME:PASSWORD")
	f.StringArrayVar(&d.faults, "fault", nil, "misbehave: VERB:action[*times], action drop, close, delay:5s, refuse, lie, sum, damage or exit")
	return cmd
}

// run serves until SIGTERM or SIGINT. Once all is open it prints the addresses, and then "ready".
func (d demoIrcd) run(out io.Writer) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // an ircd of some megabytes: its users' records are as much, and everybody waits for them
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	s, err := ircd.New(d.config())
	if err != nil {
		return err
	}
	defer s.Close()
	if d.handoff != "" {
		h, err := d.startHandoff(s)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "handoff %s\nstream %s\n", h.Address(), h.Stream())
	}
	s.Start()
	for _, addr := range s.Addrs() {
		fmt.Fprintf(out, "client %s\n", addr)
	}
	fmt.Fprintln(out, "ready")
	<-signals
	return nil
}

func (d demoIrcd) startHandoff(s *ircd.Server) (*ircd.Handoff, error) {
	cfg := ircd.HandoffConfig{Control: d.handoff, Stream: d.stream}
	for _, text := range d.faults {
		fault, err := ircd.ParseFault(text)
		if err != nil {
			return nil, err
		}
		cfg.Faults = append(cfg.Faults, fault)
	}
	if d.cert != "" {
		var err error
		if cfg.TLS, err = d.controlTLS(); err != nil {
			return nil, err
		}
	}
	return s.StartHandoff(cfg)
}

func (d demoIrcd) controlTLS() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(d.cert, d.key)
	if err != nil {
		return nil, fmt.Errorf("use %s with %s: %w", d.cert, d.key, err)
	}
	data, err := os.ReadFile(d.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate in it", d.ca)
	}
	return protocol.ServerTLS(cert, pool), nil
}

func (d demoIrcd) config() ircd.Config {
	if !strings.Contains(d.name, ".") {
		d.name += ".demo"
	}
	cfg := ircd.Config{
		Name: d.name, SID: d.sid, Network: "DemoNet", SocketBuffer: streamBuffer,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	cfg.Oper.Name, cfg.Oper.Password, _ = strings.Cut(d.oper, ":")
	for _, addr := range d.listen {
		cfg.Listen = append(cfg.Listen, ircd.Listener{Address: addr, ProxyV1: d.proxyV1})
	}
	return cfg
}
