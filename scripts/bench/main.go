// Command bench measures what a proxied line, connection and idle client cost, beside HAProxy in the same run.
//
// For the figures of CPU both proxies run on core 1, with one thread (HAProxy) or one event loop (ircferry), each with an echo
// backend of its own; this program, which is the load generator, and the backends share core 0. The proxies take turns of a
// second each, A B B A, so that what else the machine does hits both alike, and the result is the median of the ratios of
// neighbouring turns. Turns during which other processes used more than a little of the machine are taken again: a starved proxy
// wakes less often, batches more and looks cheaper than it is.
//
// A line is 100 bytes and is echoed, so it crosses the proxy twice. CPU is the proxy process's own clock, memory its resident
// set with shared memory and memfds counted in; for memory each proxy is started afresh and alone.
//
// With -before a third takes turns, an ircferry of another commit, and a second table tells what became of each figure.
//
//	idle    growth of the process per idle client, 1,000 and 9,000 clients after three lines each and 10 s of silence
//	burst   as idle, 9,000 clients that come all at once, register with five lines and are silent for 14 s
//	sparse  CPU per line, 1,000 clients, 20,000 lines/s, one line per write
//	sat     CPU per line, 200 clients with 16 lines in flight each
//	fan     CPU per delivery, one line to 3,000 clients, the next when all have it
//	new     CPU per new connection: connect, NICK, 001, close; from 32 addresses in 127/8
//	move    6,000 users replaced between two embedded ircds (ircferry only)
//	links   100 users replaced between two InspIRCds that have a link with 20,000 users in five channels each (ircferry only)
//	inspircd  1,000 users in 100 channels with 20 list entries each replaced between two InspIRCds (ircferry only)
//
// With clients over TLS 1.3 (secure.go says how), the backend is plaintext as before:
//
//	tls-idle    as idle
//	tls-burst   as burst, 256 handshakes at a time
//	tls-sparse  as sparse, 500 clients, 10,000 lines/s, one record per line
//	tls-sat     as sat; what is written together is one record
//	tls-new     as new, with a full handshake and with a resumed one
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	bin := flag.String("bin", "bin", "directory of ircferry, ferryctl and this program")
	parts := flag.String("parts", "idle,burst,sparse,sat,fan,new,move,inspircd,tls-idle,tls-burst,tls-sparse,tls-sat,tls-new", "what to measure")
	rounds := flag.Int("rounds", 2, "rounds of A B B A (of CPU: ten times as many)")
	proxies := flag.String("proxies", "haproxy,ircferry", "what to measure it on")
	haproxy := flag.String("haproxy", "", "path of HAProxy (default: in PATH)")
	beforePath := flag.String("before", "", "path of an ircferry of another commit, to compare with")
	quiet := flag.Float64("quiet", 0.2, "turns during which others use more cores than this are taken again")
	users := flag.Int("users", 6000, "users of the part move")
	backend := flag.String("backend", "", "internal: serve as echo backend on this address")
	fan := flag.Bool("fan", false, "internal: the backend sends each line to all")
	flag.Parse()
	if *backend != "" {
		if err := serveBackend(*backend, *fan); err != nil {
			fmt.Fprintln(os.Stderr, "bench backend:", err)
			os.Exit(1)
		}
		return
	}
	b, err := newBench(*bin, *haproxy, *beforePath, *rounds, strings.Split(*proxies, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	b.quiet = *quiet
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		b.close()
		os.Exit(130)
	}()
	err = b.run(strings.Split(*parts, ","), *users)
	b.close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is one figure, and the goal for ircferry's share of HAProxy's value.
type part struct {
	name, unit string
	goal       float64
	fan        bool // the backend sends each line to all
	tls        bool // clients have TLS 1.3
	open       func(p proxy) (load, error)
	clients    int  // of a figure of memory; open is nil
	burst      bool // they come all at once
}

var parts = map[string][]part{
	"idle": {
		{name: "memory per idle client, 1,000 clients", unit: "bytes", goal: 0.25, clients: 1000},
		{name: "memory per idle client, 9,000 clients", unit: "bytes", goal: 0.25, clients: 9000},
	},
	"burst":  {{name: "memory per client, 9,000 that came at once", unit: "bytes", goal: 0.15, clients: 9000, burst: true}},
	"sparse": {{name: "CPU per line, sparse (1,000 clients, 20,000 lines/s)", unit: "us", goal: 0.95, open: openSparse(1000, 20000)}},
	"sat":    {{name: "CPU per line, saturated (200 clients, 16 in flight)", unit: "us", goal: 0.95, open: openSaturated}},
	"fan":    {{name: "CPU per delivery, one line to 3,000 clients", unit: "us", goal: 0.87, fan: true, open: openFanOut}},
	"new":    {{name: "CPU per new connection", unit: "us", goal: 0.96, open: openDialler}},

	"tls-idle": {
		{name: "memory per idle TLS client, 1,000 clients", unit: "bytes", goal: 0.15, tls: true, clients: 1000},
		{name: "memory per idle TLS client, 9,000 clients", unit: "bytes", goal: 0.15, tls: true, clients: 9000},
	},
	"tls-burst":  {{name: "memory per TLS client, 9,000 that came at once", unit: "bytes", goal: 0.05, tls: true, clients: 9000, burst: true}},
	"tls-sparse": {{name: "CPU per line, TLS, sparse (500 clients, 10,000 lines/s)", unit: "us", goal: 0.90, tls: true, open: openSparse(500, 10000)}},
	"tls-sat":    {{name: "CPU per line, TLS, pipelined (200 clients, 16 in flight)", unit: "us", goal: 0.85, tls: true, open: openSaturated}},
	"tls-new": {
		{name: "CPU per new connection, full TLS handshake", unit: "us", goal: 1.0, tls: true, open: openShaker(false)},
		{name: "CPU per new connection, resumed TLS handshake", unit: "us", goal: 1.0, tls: true, open: openShaker(true)},
	},
}

func (b *bench) run(names []string, users int) error {
	var t tables
	for _, name := range names {
		if name == "move" || name == "inspircd" || name == "links" {
			if slices.Contains(b.proxies, "ircferry") {
				move := func() ([]string, error) { return b.moveUsers(users) }
				switch name {
				case "inspircd":
					move = b.moveInspIRCd
				case "links":
					move = b.moveLinks
				}
				lines, err := move()
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				t.beside = append(t.beside, lines...)
			}
			continue
		}
		list, ok := parts[name]
		if !ok {
			return fmt.Errorf("no part %q", name)
		}
		for _, p := range list {
			compare := b.compareCPU
			if p.open == nil {
				compare = b.compareMemory
			}
			fmt.Printf("\n== %s\n", p.name)
			values, err := compare(p)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			t.add(p, values)
		}
	}
	t.print(b.version)
	return nil
}

func reversed(s []string) []string {
	r := slices.Clone(s)
	slices.Reverse(r)
	return r
}
