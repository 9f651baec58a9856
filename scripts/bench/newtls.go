package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// shaker makes short lives with TLS: connect, handshake, NICK, 001, close_notify, close. Like those of dialler, 32 at a time and from 32
// addresses.
type shaker struct {
	address string
	configs []*tls.Config // one for each under way
	resume  bool
	serial  atomic.Int64
}

func openShaker(resume bool) func(proxy) (load, error) {
	return func(p proxy) (load, error) {
		s := &shaker{address: p.address, resume: resume}
		for range 32 {
			cfg := p.tls.Clone()
			if resume {
				cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				if err := s.live(cfg, false); err != nil { // for the first ticket
					return nil, err
				}
			}
			s.configs = append(s.configs, cfg)
		}
		return s, nil
	}
}

func (s *shaker) close()       {}
func (s *shaker) note() string { return "" }

func (s *shaker) turn(until time.Time) (connections int, err error) {
	var busy sync.WaitGroup
	errs, done := make([]error, len(s.configs)), make([]int, len(s.configs))
	for i, cfg := range s.configs {
		busy.Go(func() {
			for errs[i] == nil && time.Now().Before(until) {
				errs[i] = s.live(cfg, s.resume)
				done[i]++
			}
		})
	}
	busy.Wait()
	for _, n := range done {
		connections += n
	}
	return connections, errors.Join(errs...)
}

// live is one connection, from the next source address. resumed is whether its session must be one that goes on.
func (s *shaker) live(cfg *tls.Config, resumed bool) error {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+s.serial.Add(1)%32))}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d := net.Dialer{LocalAddr: from, Control: portAtConnect, KeepAlive: -1}
	raw, err := d.DialContext(ctx, "tcp4", s.address)
	if err != nil {
		return err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	c := tls.Client(raw, cfg)
	if err := c.Handshake(); err != nil {
		return err
	}
	state := c.ConnectionState()
	if state.DidResume != resumed {
		return fmt.Errorf("session resumed: %t, want %t", state.DidResume, resumed)
	}
	if err := checkSuite(state); err != nil {
		return err
	}
	if _, err := c.Write([]byte("NICK b\r\n")); err != nil {
		return err
	}
	if _, err := bufio.NewReaderSize(c, 512).ReadString('\n'); err != nil {
		return fmt.Errorf("read welcome: %w", err)
	}
	return c.CloseWrite()
}
