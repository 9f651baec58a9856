package main

import (
	"bufio"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// pieces writes everything in pieces of seven bytes, so that records arrive cut.
type pieces struct{ net.Conn }

func (c pieces) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		k, err := c.Conn.Write(p[n:min(n+7, len(p))])
		n += k
		if err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// secureEcho is an echo backend with TLS of its own. It answers as the load generator's clients expect it.
func secureEcho(t *testing.T) proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	cfg := &tls.Config{Certificates: []tls.Certificate{certtest.SelfSigned(t, certtest.Options{}).Cert}}
	go func() {
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				c := tls.Server(pieces{raw}, cfg)
				defer c.Close()
				in := bufio.NewReader(c)
				answer := welcome
				for {
					got, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if answer == "" {
						answer = got
					}
					if _, err := c.Write([]byte(answer)); err != nil {
						return
					}
					answer = ""
				}
			}()
		}
	}()
	return proxy{address: ln.Addr().String(), tls: clientTLS()}
}

func TestSecureClientsHearEachLineOnce(t *testing.T) {
	const n = 3
	c, err := connect(secureEcho(t), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	heard := make([]int, n)
	for i := range n {
		for range i + 1 {
			if err := c.send(i, line); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = c.collect(1+2+3, 10*time.Second, func(i, lines int) error { heard[i] += lines; return nil })
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range heard {
		if got != i+1 {
			t.Errorf("client %d sent %d lines and heard %d", i, i+1, got)
		}
	}
}

func TestShakerKnowsAResumedSession(t *testing.T) {
	p := secureEcho(t)
	s := &shaker{address: p.address}
	cfg := p.tls.Clone()
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i, resumed := range []bool{false, true, true} {
		if err := s.live(cfg, resumed); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if err := s.live(cfg, false); err == nil {
		t.Error("a resumed session passed for a full handshake")
	}
}
