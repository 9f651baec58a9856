package handshake

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// benchClient tells a copy of this test binary to be the clients of a benchmark: so the CPU time of this process is the server's alone.
const benchClient = "IRCFERRY_HANDSHAKE_BENCH"

// atOnce is how many clients there are: with one the server would go to sleep in between.
const atOnce = 8

// BenchmarkServer is the CPU time of a handshake at the server, with TLS 1.3, ECDSA P-256, X25519 and AES-128-GCM: by crypto/tls on a net.Conn as it
// is, and as it is done here.
func BenchmarkServer(b *testing.B) {
	p := certtest.SelfSigned(b, certtest.Options{})
	plain := func(cfg *tls.Config, c net.Conn) {
		defer c.Close()
		if err := tls.Server(c, cfg).Handshake(); err != nil {
			b.Error(err)
		}
	}
	slots := NewSlots(4)
	ours := func(cfg *tls.Config, c net.Conn) {
		defer c.Close()
		if e := <-carry(c, 16<<10, func(o Options) *Handshake { o.Slots = slots; return Server(cfg, o) }); e.Err != nil {
			b.Error(e.Err)
		}
	}
	for _, kind := range []string{"full", "resumed"} {
		for _, by := range []struct {
			name  string
			serve func(*tls.Config, net.Conn)
		}{{"plain", plain}, {"ours", ours}} {
			b.Run(kind+"/"+by.name, func(b *testing.B) {
				cfg := serverConfig(p, ServerOptions{Tickets: NewTickets(), RequestCert: true})
				benchServer(b, cfg, kind, by.serve)
			})
		}
	}
}

func benchServer(b *testing.B, cfg *tls.Config, kind string, serve func(*tls.Config, net.Conn)) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchClient$")
	cmd.Env = append(os.Environ(), benchClient+"="+kind, "ADDR="+ln.Addr().String(), "N="+strconv.Itoa(b.N))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	var busy sync.WaitGroup
	before := cpuTime()
	for range b.N {
		c, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		busy.Go(func() { serve(cfg, c) })
	}
	busy.Wait()
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-us/op")
	if err := cmd.Wait(); err != nil {
		b.Error(err)
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestBenchClient is the other process of BenchmarkServer.
func TestBenchClient(t *testing.T) {
	kind := os.Getenv(benchClient)
	if kind == "" {
		t.Skip("the other process of a benchmark")
	}
	n, _ := strconv.Atoi(os.Getenv("N"))
	cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "irc.test", CurvePreferences: []tls.CurveID{tls.X25519}}
	if kind == "resumed" {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	}
	turns := make(chan bool, n)
	for range n {
		turns <- true
	}
	close(turns)
	var busy sync.WaitGroup
	for range min(atOnce, n) {
		busy.Go(func() {
			for range turns {
				c, err := net.Dial("tcp", os.Getenv("ADDR"))
				if err != nil {
					t.Error(err)
					return
				}
				peer := tls.Client(c, cfg)
				if err := peer.Handshake(); err != nil {
					t.Error(err)
				}
				io.Copy(io.Discard, peer) // the ticket
				c.Close()
			}
		})
	}
	busy.Wait()
}

// BenchmarkKeyLog is what it costs to take one line of the key log.
func BenchmarkKeyLog(b *testing.B) {
	line := []byte(lineServerTraffic + " " + hex.EncodeToString(bytes.Repeat([]byte{1}, 32)) + " " + hex.EncodeToString(bytes.Repeat([]byte{2}, 32)) + "\n")
	var s secrets
	b.ReportAllocs()
	for b.Loop() {
		s.Write(line)
	}
}

// BenchmarkTakeOver is the take-over alone, with a ticket behind the flight.
func BenchmarkTakeOver(b *testing.B) {
	for _, version := range versions {
		b.Run(tls.VersionName(version), func(b *testing.B) {
			s := shakenOf(b, version, false)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.try(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkConfig(b *testing.B) {
	cfg, _ := linkConfigs(b, ServerOptions{Tickets: NewTickets()})
	h := Server(cfg, Options{})
	b.ReportAllocs()
	for b.Loop() {
		h.config()
	}
}
