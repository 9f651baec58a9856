package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

const (
	warmUp   = 1 * time.Second
	duration = 5 * time.Second
	silence  = 5 * time.Second
)

// idle measures how much the process grows for each client that has talked a little and is silent now.
func idle(n int) func(*bench, proxy) (run, error) {
	return func(b *bench, p proxy) (run, error) {
		time.Sleep(time.Second)
		before, err := memoryOf(p.pid)
		if err != nil {
			return run{}, err
		}
		c, err := connect(p.address, n)
		if err != nil {
			return run{}, err
		}
		defer c.close()
		for range 3 {
			for i := range c.fds {
				if err := c.send(i, line); err != nil {
					return run{}, err
				}
				if i%64 == 63 {
					err = c.collect(64, 10*time.Second, nil)
				}
				if err != nil {
					return run{}, err
				}
			}
			if err := c.collect(n%64, 10*time.Second, nil); err != nil {
				return run{}, err
			}
		}
		time.Sleep(silence)
		after, err := memoryOf(p.pid)
		return run{float64(after-before) / float64(n), fmt.Sprintf("%.1f MB at start, %.1f MB now", mb(before), mb(after))}, err
	}
}

func mb(n int) float64 { return float64(n) / (1 << 20) }

// meter is a proxy's CPU time between two moments.
type meter struct {
	pid   int
	at    time.Time
	begin time.Duration
}

func startMeter(p proxy) meter { return meter{p.pid, time.Now(), cpuOf(p.pid)} }

// per is microseconds of CPU for each of n events, with a remark on rate and use of the core.
func (m meter) per(n int, what string) run {
	cpu, wall := cpuOf(m.pid)-m.begin, time.Since(m.at)
	note := fmt.Sprintf("%.0f %s/s, %.0f%% of a core", float64(n)/wall.Seconds(), what, 100*cpu.Seconds()/wall.Seconds())
	return run{float64(cpu.Microseconds()) / float64(n), note}
}

// sparse sends 20,000 lines/s over 1,000 clients in turn, 20 in each millisecond, one line per write.
func (b *bench) sparse(p proxy) (run, error) {
	const clients, rate = 1000, 20000
	c, err := connect(p.address, clients)
	if err != nil {
		return run{}, err
	}
	defer c.close()
	var m meter
	var delays []time.Duration
	sentAt := make([]time.Time, clients)
	received, measured := 0, false
	got := func(i, n int) error {
		received += n
		if measured {
			delays = append(delays, time.Since(sentAt[i]))
		}
		return nil
	}
	start := time.Now()
	for sent := 0; ; {
		elapsed := time.Since(start)
		if elapsed > warmUp && !measured {
			m, received, measured = startMeter(p), 0, true
		}
		if elapsed > warmUp+duration {
			break
		}
		now := time.Now()
		for due := int(elapsed.Seconds() * rate); sent < due; sent++ {
			sentAt[sent%clients] = now
			if err := c.send(sent%clients, line); err != nil {
				return run{}, err
			}
		}
		if err := c.poll(time.Millisecond, got); err != nil {
			return run{}, err
		}
	}
	r := m.per(received, "lines")
	slices.Sort(delays)
	r.note += fmt.Sprintf(", there and back p50 %.2f p99 %.2f ms", ms(delays, 50), ms(delays, 99))
	return r, nil
}

func ms(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[(len(sorted)-1)*percent/100].Microseconds()) / 1000
}

// saturated answers each echoed line with the next, so that every client always has 16 in flight.
func (b *bench) saturated(p proxy) (run, error) {
	const clients, inFlight = 200, 16
	c, err := connect(p.address, clients)
	if err != nil {
		return run{}, err
	}
	defer c.close()
	burst := bytes.Repeat(line, 4*inFlight)
	for i := range c.fds {
		if err := c.send(i, burst[:inFlight*len(line)]); err != nil {
			return run{}, err
		}
	}
	received := 0
	echo := func(i, n int) error {
		received += n
		return c.send(i, burst[:n*len(line)])
	}
	for end := time.Now().Add(warmUp); time.Now().Before(end); {
		if err := c.poll(100*time.Millisecond, echo); err != nil {
			return run{}, err
		}
	}
	m := startMeter(p)
	received = 0
	for end := time.Now().Add(duration); time.Now().Before(end); {
		if err := c.poll(100*time.Millisecond, echo); err != nil {
			return run{}, err
		}
	}
	return m.per(received, "lines"), nil
}

// fanOut has one client speak; the backend sends the line to all, and the next follows when all have it.
func (b *bench) fanOut(p proxy) (run, error) {
	const members = 3000
	c, err := connect(p.address, members)
	if err != nil {
		return run{}, err
	}
	defer c.close()
	broadcast := func(until time.Time) (deliveries int, err error) {
		for speaker := 0; time.Now().Before(until); speaker = (speaker + 1) % members {
			if err := c.send(speaker, line); err != nil {
				return 0, err
			}
			if err := c.collect(members, 10*time.Second, nil); err != nil {
				return 0, err
			}
			deliveries += members
		}
		return deliveries, nil
	}
	if _, err := broadcast(time.Now().Add(warmUp)); err != nil {
		return run{}, err
	}
	m := startMeter(p)
	n, err := broadcast(time.Now().Add(duration))
	if err != nil {
		return run{}, err
	}
	return m.per(n, "deliveries"), nil
}
