package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// quickBatch bounds what the first batch takes: a mutant that a quick test notices costs no more.
const quickBatch = 2 * time.Second

// probed is one test of the room: how long it takes, and the lines that it reaches, by the file's base name. Lines that it reaches in
// a process of its own are not seen, which only says when it is run.
type probed struct {
	name  string
	took  time.Duration
	lines map[string][]span
}

type span struct{ from, to int }

func (p *probed) reaches(m mutant) bool {
	return slices.ContainsFunc(p.lines[filepath.Base(m.file)], func(s span) bool { return s.from <= m.line && m.line <= s.to })
}

// order is what is known of the room's tests. It decides which are run first; what survives has been shown to all of them.
type order struct{ tests []*probed }

// batch is tests that are run together, and what they take without a change.
type batch struct {
	pattern string // as -test.run takes it
	took    time.Duration
}

// batches puts first what reaches the mutant and is quick, then what else reaches it, then all others.
func (o *order) batches(m mutant) []batch {
	var quick, slow, others []*probed
	sum := time.Duration(0)
	for _, p := range o.tests { // the quickest first
		switch {
		case !p.reaches(m):
			others = append(others, p)
		case sum+p.took <= quickBatch:
			sum += p.took
			quick = append(quick, p)
		default:
			slow = append(slow, p)
		}
	}
	var all []batch
	for _, ps := range [][]*probed{quick, slow, others} {
		if len(ps) > 0 {
			all = append(all, toBatch(ps))
		}
	}
	return all
}

func toBatch(ps []*probed) batch {
	var names []string
	took := time.Duration(0)
	for _, p := range ps {
		names = append(names, regexp.QuoteMeta(p.name))
		took += p.took
	}
	return batch{pattern: "^(" + strings.Join(names, "|") + ")$", took: took}
}

// probe runs each test for itself, as it is, on all benches. Where one fails, nothing can be told.
func probe(ctx context.Context, benches []*bench) (*order, error) {
	binary := filepath.Join(benches[0].dir, "probes.test")
	names, err := benches[0].list(ctx, binary)
	if err != nil {
		return nil, err
	}
	queue := make(chan string, len(names))
	for _, name := range names {
		queue <- name
	}
	close(queue)
	o := &order{}
	var mu sync.Mutex
	var busy sync.WaitGroup
	errs := make([]error, len(benches))
	for i, b := range benches {
		busy.Go(func() {
			for name := range queue {
				p, err := b.probe(ctx, binary, name)
				if err != nil {
					errs[i] = err
					return
				}
				mu.Lock()
				o.tests = append(o.tests, p)
				mu.Unlock()
			}
		})
	}
	busy.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return nil, errs[i]
	}
	slices.SortFunc(o.tests, func(a, b *probed) int { return cmp.Or(cmp.Compare(a.took, b.took), cmp.Compare(a.name, b.name)) })
	return o, nil
}

// list builds the tests as they are, with their coverage, and tells their names.
func (b *bench) list(ctx context.Context, binary string) ([]string, error) {
	if out, err := b.build(ctx, binary, "-cover"); err != nil {
		return nil, fmt.Errorf("the tests of %s do not build: %w\n%s", b.tests, err, out)
	}
	out, err := b.run(ctx, time.Minute, binary, "-test.list", ".")
	if err != nil {
		return nil, fmt.Errorf("list tests of %s: %w\n%s", b.tests, err, out)
	}
	var names []string
	for _, name := range strings.Fields(out) {
		if strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Example") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no tests", b.tests)
	}
	return names, nil
}

// probe runs one test for itself.
func (b *bench) probe(ctx context.Context, binary, name string) (*probed, error) {
	profile := filepath.Join(b.dir, "mutant.cover")
	begin := time.Now()
	out, err := b.run(ctx, 10*time.Minute, binary, "-test.run", "^"+regexp.QuoteMeta(name)+"$", "-test.coverprofile", profile)
	if err != nil {
		return nil, fmt.Errorf("%s of %s fails without a change: %w: %s", name, b.tests, err, firstFailure(out))
	}
	p := &probed{name: name, took: time.Since(begin)}
	p.lines, err = reached(profile)
	return p, err
}

// reached reads a profile of go's coverage: "path/file.go:from.column,to.column statements count".
func reached(profile string) (map[string][]span, error) {
	f, err := os.Open(profile)
	if err != nil {
		return nil, fmt.Errorf("read coverage: %w", err)
	}
	defer f.Close()
	lines := map[string][]span{}
	for in := bufio.NewScanner(f); in.Scan(); {
		file, rest, ok := strings.Cut(in.Text(), ".go:")
		fields := strings.FieldsFunc(rest, func(r rune) bool { return r == '.' || r == ',' || r == ' ' })
		if !ok || len(fields) != 6 || fields[5] == "0" {
			continue
		}
		from, errFrom := strconv.Atoi(fields[0])
		to, errTo := strconv.Atoi(fields[2])
		if errFrom != nil || errTo != nil {
			return nil, fmt.Errorf("read coverage: %q is no line of a profile", in.Text())
		}
		name := filepath.Base(file) + ".go"
		lines[name] = append(lines[name], span{from, to})
	}
	return lines, nil
}
