// Command bench measures what a proxied line, connection and idle client cost, beside HAProxy in the same run.
//
// Each run starts a fresh proxy on core 1 with one thread (HAProxy) or one event loop (ircferry); this program, which is the
// load generator, and the echo backend share core 0. The proxies take turns A B B A, so that what else the machine does hits both
// alike, and the result is the median of the ratios of neighbouring runs. What other processes used of the machine is
// printed with each run, and a run that they disturbed is repeated: ratios from a busy machine are worth little, because a
// starved proxy wakes less often, batches more and looks cheaper than it is.
//
// A line is 100 bytes and is echoed, so it crosses the proxy twice. CPU is the proxy process's own clock, memory its resident
// set with shared memory and memfds counted in.
//
//	idle    growth of the process per idle client, 1,000 and 9,000 clients after three lines each and 5 s of silence
//	sparse  CPU per line, 1,000 clients, 20,000 lines/s, one line per write
//	sat     CPU per line, 200 clients with 16 lines in flight each
//	fan     CPU per delivery, one line to 3,000 clients, the next when all have it
//	new     CPU per new connection: connect, NICK, 001, close; from 32 addresses in 127/8
//	move    6,000 users replaced between two embedded ircds (ircferry only)
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
	parts := flag.String("parts", "idle,sparse,sat,fan,new,move", "what to measure")
	rounds := flag.Int("rounds", 2, "rounds of A B B A")
	proxies := flag.String("proxies", "haproxy,ircferry", "what to measure it on")
	quiet := flag.Float64("quiet", 0.3, "a run during which others use more cores than this is repeated, at most twice")
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
	b, err := newBench(*bin, *rounds, strings.Split(*proxies, ","))
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

// part is one figure: what is measured on each proxy, and the goal for ircferry's share of HAProxy's value.
type part struct {
	name, unit string
	goal       float64
	fan        bool // the backend sends each line to all
	measure    func(b *bench, p proxy) (run, error)
}

var parts = map[string][]part{
	"idle": {
		{"memory per idle client, 1,000 clients", "bytes", 0.25, false, idle(1000)},
		{"memory per idle client, 9,000 clients", "bytes", 0.25, false, idle(9000)},
	},
	"sparse": {{"CPU per line, sparse (1,000 clients, 20,000 lines/s)", "us", 0.95, false, (*bench).sparse}},
	"sat":    {{"CPU per line, saturated (200 clients, 16 in flight)", "us", 0.95, false, (*bench).saturated}},
	"fan":    {{"CPU per delivery, one line to 3,000 clients", "us", 0.87, true, (*bench).fanOut}},
	"new":    {{"CPU per new connection", "us", 0.96, false, (*bench).newConnections}},
}

// run is one measurement: the figure and a remark for the person who watches.
type run struct {
	value float64
	note  string
}

func (b *bench) run(names []string, users int) error {
	var table []string
	for _, name := range names {
		if name == "move" {
			if slices.Contains(b.proxies, "ircferry") {
				lines, err := b.moveUsers(users)
				if err != nil {
					return fmt.Errorf("move: %w", err)
				}
				table = append(table, lines...)
			}
			continue
		}
		list, ok := parts[name]
		if !ok {
			return fmt.Errorf("no part %q", name)
		}
		for _, p := range list {
			line, err := b.compare(p)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			table = append(table, line)
		}
	}
	fmt.Printf("\n%-54s %12s %12s %22s %8s\n", "figure", "HAProxy", "ircferry", "ratio (median, range)", "goal")
	for _, line := range table {
		fmt.Println(line)
	}
	return nil
}

// compare runs a part on all proxies in turns, each round forwards and then backwards.
func (b *bench) compare(p part) (string, error) {
	fmt.Printf("\n== %s\n", p.name)
	values := map[string][]float64{}
	for range b.rounds {
		order := append(slices.Clone(b.proxies), reversed(b.proxies)...)
		for _, name := range order {
			r, err := b.once(p, name)
			if err != nil {
				return "", fmt.Errorf("%s: %w", name, err)
			}
			values[name] = append(values[name], r.value)
		}
	}
	return tableLine(p, values["haproxy"], values["ircferry"]), nil
}

// once measures one proxy. A run that others disturbed is repeated, at most twice; then it stands, and the remark says so.
func (b *bench) once(p part, name string) (run, error) {
	for try := 0; ; try++ {
		r, others, err := b.attempt(p, name)
		if err != nil {
			return run{}, err
		}
		fmt.Printf("%-9s %10.3f %-6s %s; others used %.2f cores", name, r.value, p.unit, r.note, others)
		if others <= b.quiet || try == 2 || p.unit == "bytes" { // memory does not mind
			fmt.Println()
			return r, nil
		}
		fmt.Println(": again")
	}
}

func (b *bench) attempt(p part, name string) (r run, othersUsed float64, err error) {
	px, err := b.startProxy(name, p.fan)
	if err != nil {
		return run{}, 0, err
	}
	defer px.stop()
	others := startOthers(px)
	if r, err = p.measure(b, px); err != nil {
		return run{}, 0, err
	}
	return r, others.cores(px), nil
}

func reversed(s []string) []string {
	r := slices.Clone(s)
	slices.Reverse(r)
	return r
}

func tableLine(p part, ha, fe []float64) string {
	show := func(v []float64) string {
		if len(v) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f %s", median(v), p.unit)
	}
	ratio, verdict := "-", ""
	if len(ha) > 0 && len(ha) == len(fe) {
		rs := make([]float64, len(ha))
		for i := range rs {
			rs[i] = fe[i] / ha[i]
		}
		ratio = fmt.Sprintf("%.2f (%.2f-%.2f)", median(rs), slices.Min(rs), slices.Max(rs))
		verdict = reached(median(rs) <= p.goal)
	}
	return fmt.Sprintf("%-54s %12s %12s %22s %8s %s", p.name, show(ha), show(fe), ratio, fmt.Sprintf("<= %.2f", p.goal), verdict)
}

func reached(ok bool) string {
	if ok {
		return "reached"
	}
	return "NOT reached"
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
