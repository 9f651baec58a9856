package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	turnTime     = 1 * time.Second
	turnsARound  = 10 // rounds of A B B A of CPU for each of -rounds
	disturbedMax = 2  // so many times as many disturbed rounds as good ones are borne, then they count too
)

// compareMemory starts each proxy afresh for each run, A B B A.
func (b *bench) compareMemory(p part) (map[string][]float64, error) {
	values := map[string][]float64{}
	for range b.rounds {
		for _, name := range append(slices.Clone(b.proxies), reversed(b.proxies)...) {
			px, err := b.startProxy(name, p)
			if err != nil {
				return nil, err
			}
			grown, note, err := memory(px, p)
			px.stop()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			fmt.Printf("%-9s %8.0f bytes, %s\n", name, grown, note)
			values[name] = append(values[name], grown)
		}
	}
	return values, nil
}

// contender is one proxy with its load.
type contender struct {
	px     proxy
	load   load
	values []float64 // microseconds of CPU per event, by turn
	events int
	cpu    time.Duration
}

// compareCPU has all proxies up at once and lets them take turns.
func (b *bench) compareCPU(p part) (map[string][]float64, error) {
	all := make([]*contender, len(b.proxies))
	for i, name := range b.proxies {
		px, err := b.startProxy(name, p)
		if err != nil {
			return nil, err
		}
		defer px.stop()
		l, err := p.open(px)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		defer l.close()
		all[i] = &contender{px: px, load: l}
		if _, _, err := all[i].turn(); err != nil { // to warm up
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	disturbed := 0
	for good := 0; good < b.rounds*turnsARound; {
		values, others, err := round(all)
		if err != nil {
			return nil, err
		}
		if others > b.quiet && disturbed < disturbedMax*b.rounds*turnsARound {
			disturbed++
			continue
		}
		good++
		for i, c := range all {
			c.values = append(c.values, values[i]...)
		}
	}
	byName := map[string][]float64{}
	for i, c := range all {
		byName[b.proxies[i]] = c.values
		fmt.Printf("%-9s %8.3f %s, median of %d turns; %.0f a second and core; %s\n", c.px.name, median(c.values), p.unit, len(c.values),
			float64(c.events)/c.cpu.Seconds(), c.load.note())
	}
	fmt.Printf("%d rounds disturbed by others\n", disturbed)
	if disturbed == disturbedMax*b.rounds*turnsARound {
		fmt.Println("THE MACHINE WAS BUSY: disturbed rounds are among the figures")
	}
	return byName, nil
}

// round is A B B A: two turns for each, and how many cores others used meanwhile at most.
func round(all []*contender) (values [][]float64, others float64, err error) {
	values = make([][]float64, len(all))
	order := make([]int, 0, 2*len(all))
	for i := range all {
		order = append(order, i)
	}
	for i := range all {
		order = append(order, len(all)-1-i)
	}
	for _, i := range order {
		v, busy, err := all[i].turn()
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", all[i].px.name, err)
		}
		values[i] = append(values[i], v)
		others = max(others, busy)
	}
	return values, others, nil
}

func (c *contender) turn() (value, othersUsed float64, err error) {
	others, cpu := startOthers(c.px), cpuOf(c.px.pid)
	n, err := c.load.turn(time.Now().Add(turnTime))
	if err == nil && n == 0 {
		err = errors.New("nothing went through")
	}
	if err != nil {
		return 0, 0, err
	}
	cpu = cpuOf(c.px.pid) - cpu
	c.events += n
	c.cpu += cpu
	return float64(cpu.Nanoseconds()) / 1000 / float64(n), others.cores(c.px), nil
}
