package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// memory measures how much the process grows for each of the part's clients, which have talked a little and are silent now.
func memory(px proxy, p part) (bytesEach float64, note string, err error) {
	time.Sleep(time.Second)
	before, err := memoryOf(px.pid)
	if err != nil {
		return 0, "", err
	}
	how, silence := ordinary, 10*time.Second
	if p.burst {
		how, silence = reconnect, 14*time.Second
		if p.tls {
			how = reconnectTLS
		}
	}
	c, err := arrive(px, p.clients, how)
	if err != nil {
		return 0, "", err
	}
	defer c.close()
	for range 3 {
		if err := c.echoAll(how.atATime); err != nil {
			return 0, "", err
		}
	}
	time.Sleep(silence)
	after, err := memoryOf(px.pid)
	return float64(after-before) / float64(p.clients), fmt.Sprintf("%.1f MB at start, %.1f MB now", mb(before), mb(after)), err
}

// echoAll has each client say one line and hear it, so many at a time.
func (c *clients) echoAll(atATime int) error {
	said := 0
	for i := range c.fds {
		if err := c.send(i, line); err != nil {
			return err
		}
		if said++; said == atATime || i == len(c.fds)-1 {
			if err := c.collect(said, 10*time.Second, nil); err != nil {
				return err
			}
			said = 0
		}
	}
	return nil
}

func mb(n int) float64 { return float64(n) / (1 << 20) }

// load is traffic through one proxy. Between its turns it is silent.
type load interface {
	// turn makes traffic until then and answers how many events went through: lines, deliveries, connections.
	turn(until time.Time) (events int, err error)
	// note is a remark about all turns so far.
	note() string
	close()
}

// sparse sends lines over clients in turn, so many a second, one line per write.
type sparse struct {
	*clients
	rate   int
	sent   int
	sentAt []time.Time
	delays []time.Duration
}

func openSparse(n, rate int) func(proxy) (load, error) {
	return func(p proxy) (load, error) {
		c, err := connect(p, n)
		return &sparse{clients: c, rate: rate, sentAt: make([]time.Time, n)}, err
	}
}

func (s *sparse) turn(until time.Time) (received int, err error) {
	got := func(i, n int) error {
		received += n
		s.delays = append(s.delays, time.Since(s.sentAt[i]))
		return nil
	}
	start, before := time.Now(), s.sent
	for now := start; now.Before(until); now = time.Now() {
		for due := before + int(now.Sub(start).Seconds()*float64(s.rate)); s.sent < due; s.sent++ {
			i := s.sent % len(s.fds)
			s.sentAt[i] = now
			if err := s.send(i, line); err != nil {
				return 0, err
			}
		}
		if err := s.poll(time.Millisecond, got); err != nil {
			return 0, err
		}
	}
	if missing := s.sent - before - received; missing > 0 {
		err = s.collect(missing, 10*time.Second, got)
	}
	return received, err
}

func (s *sparse) note() string {
	slices.Sort(s.delays)
	return fmt.Sprintf("there and back p50 %.2f p99 %.2f ms", ms(s.delays, 50), ms(s.delays, 99))
}

func ms(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[(len(sorted)-1)*percent/100].Microseconds()) / 1000
}

// saturated has 200 clients with 16 lines in flight each: what comes back is sent again.
type saturated struct {
	*clients
	burst []byte
}

const (
	saturatedClients = 200
	inFlight         = 16
)

func openSaturated(p proxy) (load, error) {
	c, err := connect(p, saturatedClients)
	return &saturated{c, bytes.Repeat(line, inFlight)}, err
}

func (s *saturated) turn(until time.Time) (received int, err error) {
	for i := range s.fds {
		if err := s.send(i, s.burst); err != nil {
			return 0, err
		}
	}
	sent := inFlight * len(s.fds)
	for time.Now().Before(until) {
		err := s.poll(100*time.Millisecond, func(i, n int) error {
			received += n
			sent += n
			return s.send(i, s.burst[:n*len(line)])
		})
		if err != nil {
			return 0, err
		}
	}
	rest := sent - received
	return sent, s.collect(rest, 10*time.Second, nil)
}

func (s *saturated) note() string { return "" }

// fanOut has one client speak; the backend sends the line to all, and the next follows when all have it.
type fanOut struct {
	*clients
	speaker int
}

const members = 3000

func openFanOut(p proxy) (load, error) {
	c, err := connect(p, members)
	return &fanOut{clients: c}, err
}

func (f *fanOut) turn(until time.Time) (deliveries int, err error) {
	for ; time.Now().Before(until); f.speaker = (f.speaker + 1) % members {
		if err := f.send(f.speaker, line); err != nil {
			return 0, err
		}
		if err := f.collect(members, 10*time.Second, nil); err != nil {
			return 0, err
		}
		deliveries += members
	}
	return deliveries, nil
}

func (f *fanOut) note() string { return "" }
