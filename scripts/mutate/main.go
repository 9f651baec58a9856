// Command mutate asks whether the tests of a room notice a mistake: it makes one in a copy of the tree (a comparison turned round, a condition
// negated, a branch never taken, a call or a statement left out), runs the room's own tests, and says whether they failed. What survives is listed,
// with its place and the change, to be looked at one by one: a gap in the tests, or a change that nobody could notice. Tests that reach the
// changed line are run first, the quick ones of them before the others; what survives has been shown to all, and to go vet.
//
// The sample is drawn by a seed, which is printed. Lines of a log are not left out, nor is it asked whether they are written, and what does not compile is drawn anew.
//
//	go run ./scripts/mutate -n 30 ./proxy
//	go run ./scripts/mutate -at proxy/ends.go:90 ./proxy    all mutants of that line
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	n := flag.Int("n", 30, "mutants to try")
	seed := flag.Uint64("seed", 0, "draw those of this seed (0: one by the clock)")
	at := flag.String("at", "", "only those of this file:line, all of them; several with commas")
	jobs := flag.Int("jobs", 2, "mutants at the same time")
	budget := flag.Duration("budget", 15*time.Minute, "time for all")
	timeout := flag.Duration("timeout", 0, "time for a batch of tests with one mutant (0: three times what it takes without, and 40 s)")
	command := flag.String("go", "go", "the go command")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "mutate: name one package, as in: mutate ./proxy")
		os.Exit(2)
	}
	if *seed == 0 {
		*seed = uint64(time.Now().Unix())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := &room{dir: filepath.Clean(flag.Arg(0)), seed: *seed, n: *n, at: *at, jobs: *jobs, budget: *budget, timeout: *timeout, command: *command}
	if err := r.mutate(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// room is a package whose tests are tried.
type room struct {
	dir, command, at string
	seed             uint64
	n, jobs          int
	budget, timeout  time.Duration

	order     *order
	mu        sync.Mutex
	drawn     []mutant
	taken     int // of drawn
	viable    int // of these, how many are counted or under way
	count     [verdictEnd]int
	survivors []string
}

func (r *room) mutate(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return fmt.Errorf("find the tree: %w", err)
	}
	tree := strings.TrimSpace(string(out))
	all, err := find(tree, r.dir)
	if err != nil {
		return err
	}
	r.draw(all)
	if len(r.drawn) == 0 {
		return fmt.Errorf("nothing to change in %s%s", r.dir, r.at)
	}
	copies, err := os.MkdirTemp("", "ircferry-mutate-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(copies)
	benches := make([]*bench, r.jobs)
	for i := range benches {
		if benches[i], err = newBench(ctx, tree, filepath.Join(copies, fmt.Sprint(i)), r.command, "./"+r.dir); err != nil {
			return err
		}
		benches[i].timeout = r.timeout
		_, err := benches[i].vet(ctx)
		benches[i].vetted = err == nil
	}
	if r.order, err = probe(ctx, benches); err != nil {
		return err
	}
	took := toBatch(r.order.tests).took
	fmt.Printf("%s: %d of %d possible mutants, seed %d; the tests take %.1f s without\n", r.dir, min(r.n, len(r.drawn)), len(all), r.seed, took.Seconds())
	until, cancel := context.WithTimeout(ctx, r.budget)
	defer cancel()
	errs := make([]error, len(benches))
	var busy sync.WaitGroup
	for i, b := range benches {
		busy.Go(func() { errs[i] = r.work(until, b) })
	}
	busy.Wait()
	r.sum()
	return errors.Join(append(errs, ctx.Err())...)
}

// draw puts the mutants into the seed's order.
func (r *room) draw(all []mutant) {
	if r.at != "" {
		places := strings.Split(r.at, ",")
		for _, m := range all {
			if slices.Contains(places, fmt.Sprintf("%s:%d", m.file, m.line)) {
				r.drawn = append(r.drawn, m)
			}
		}
		r.n = len(r.drawn)
		return
	}
	r.drawn = slices.Clone(all)
	rand.New(rand.NewPCG(r.seed, 0)).Shuffle(len(r.drawn), func(i, j int) { r.drawn[i], r.drawn[j] = r.drawn[j], r.drawn[i] })
}

// work tries one mutant after the other.
func (r *room) work(ctx context.Context, b *bench) error {
	for {
		m, ok := r.next()
		if !ok {
			return nil
		}
		v, note, err := b.try(ctx, m, r.order.batches(m))
		if ctx.Err() != nil {
			v, note, err = tooLate, "the time for all is over", nil
		}
		if err != nil {
			return err
		}
		r.tell(m, v, note)
		if v == tooLate {
			return nil
		}
	}
}

func (r *room) next() (mutant, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.viable >= r.n || r.taken >= len(r.drawn) {
		return mutant{}, false
	}
	r.viable++
	r.taken++
	return r.drawn[r.taken-1], true
}

func (r *room) tell(m mutant, v verdict, note string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count[v]++
	switch v {
	case survived:
		r.survivors = append(r.survivors, m.String())
		fmt.Printf("SURVIVED  %s\n", m)
	case killed:
		fmt.Printf("killed    %s (%s)\n", m, note)
	case timedOut:
		fmt.Printf("timed out %s\n", m)
	case unviable:
		r.viable--
	case tooLate:
		fmt.Printf("not tried %s: %s\n", m, note)
	}
}

func (r *room) sum() {
	dead := r.count[killed] + r.count[timedOut]
	tried := dead + r.count[survived]
	slices.Sort(r.survivors)
	fmt.Printf("\n%s: %d killed (%d of them by their time), %d survived", r.dir, dead, r.count[timedOut], r.count[survived])
	if tried > 0 {
		fmt.Printf(": %d %% (%d %% without those by their time)", 100*dead/tried, 100*r.count[killed]/tried)
	}
	fmt.Printf("; %d did not compile; seed %d\n", r.count[unviable], r.seed)
	for _, s := range r.survivors {
		fmt.Println("  survived:", s)
	}
}
