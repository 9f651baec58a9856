package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	carrierEnv  = "WIRE_TEST_CARRIER" // seed of a carrier
	carrierDone = 7                   // exit status: the peer has ended and was answered
)

// A connection wanders through processes that have nothing in common but its descriptor and the file, in the middle of records,
// with records that are not sent yet, after key updates: crypto/tls at the other end sees nothing of it.
func TestCarriedOnInOtherProcesses(t *testing.T) {
	for i, c := range tlsCases() {
		t.Run(c.name, func(t *testing.T) {
			server, client := tcpPair(t)
			theirs, params := c.shakeOver(t, server, client)
			ours := server
			if c.client {
				ours = client
			}
			o := newOurs(t, params)
			slot := o.s.Slot(o.slot)
			slot.State = 1
			file, err := ours.File()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			ours.Close()

			const size = 120_000
			text := make([]byte, size)
			rnd := mrand.New(mrand.NewPCG(uint64(i), 1))
			for k := range text {
				text[k] = byte(rnd.Uint32())
			}
			ended := make(chan error, 2)
			go func() { ended <- writeInPieces(theirs, text, uint64(i)) }()
			go func() { ended <- readAll(theirs, text) }()
			processes, partial, unsent := 0, 0, 0
			for done := false; !done; processes++ {
				done = carry(t, file, o.a.Fd(), uint64(i*1000+processes))
				// The file is shared: what one leaves to the next is here too.
				partial += min(1, o.s.TLS(o.id).Receiver.Partial.Len())
				unsent += min(1, slot.ToClient.Len())
			}
			for range 2 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if processes < 3 || partial == 0 || unsent == 0 {
				t.Errorf("%d processes, %d left a partial record and %d records that were not sent", processes, partial, unsent)
			}
			state := o.s.TLS(o.id)
			if c.tls13() && state.Out.Epoch < 3 || state.Totals.Opened != size || state.Totals.Sealed != size || slot.ToClient.Len() > 0 {
				t.Errorf("at the end: %d key updates, totals %+v, %d bytes queued", state.Out.Epoch, state.Totals, slot.ToClient.Len())
			}
		})
	}
}

// carry runs one process and says whether it has ended the connection.
func carry(t *testing.T, socket *os.File, memfd int, seed uint64) bool {
	t.Helper()
	dup, err := unix.FcntlInt(uintptr(memfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	arena := os.NewFile(uintptr(dup), "arena")
	defer arena.Close()
	within, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(within, os.Args[0], "-test.run=^TestCarrierProcess$", "-test.count=1")
	// The race detector would let each process sleep for a second at its end.
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", carrierEnv, seed), "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.ExtraFiles = []*os.File{socket, arena}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == carrierDone {
		return true
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// TestCarrierProcess is one of these processes: it sends back what comes, for a while. It is no test by itself.
func TestCarrierProcess(t *testing.T) {
	if os.Getenv(carrierEnv) == "" {
		return
	}
	seed, err := strconv.ParseUint(os.Getenv(carrierEnv), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	const socket, memfd = 3, 4
	unchecked(t)
	rnd := mrand.New(mrand.NewPCG(seed, 2))
	a := attach(t, memfd)
	s := a.Shard(0)
	s.tls.updates = 4
	id := TLSID(0)
	var slot *Slot
	for i := SlotID(1); id == 0; i++ {
		if slot = a.slot(i); slot.State != 0 {
			id = slot.ClientTLS
		}
	}
	for range 10 + rnd.IntN(60) {
		if slot.ToClient.Len() > 0 && rnd.IntN(4) > 0 {
			p := s.Front(&slot.ToClient)
			n, err := unix.Write(socket, p[:1+rnd.IntN(len(p))])
			if err != nil {
				t.Fatal(err)
			}
			s.Consume(&slot.ToClient, n)
			continue
		}
		if s.TLS(id).Flags.Has(TLSClosed) {
			if slot.ToClient.Len() > 0 {
				continue
			}
			b, err := s.SealAlert(id, AlertCloseNotify)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(socket, b); err != nil {
				t.Fatal(err)
			}
			os.Exit(carrierDone)
		}
		room := s.ReadRoom(id)
		n, err := unix.Read(socket, room[:1+rnd.IntN(8000)])
		if err != nil || n == 0 {
			t.Fatalf("read %d, %v", n, err)
		}
		got, err := s.Open(id, n, 0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Seal(id, got.Plain)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Append(&slot.ToClient, b); err != nil {
			t.Fatal(err)
		}
	}
}

// tcpPair is two ends of a connection.
func tcpPair(t *testing.T) (*net.TCPConn, *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return server, client
}

func writeInPieces(c *tls.Conn, text []byte, seed uint64) error {
	rnd := mrand.New(mrand.NewPCG(seed, 3))
	for len(text) > 0 {
		n := 1 + rnd.IntN(min(len(text), 20_000))
		if _, err := c.Write(text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return c.CloseWrite()
}

func readAll(c *tls.Conn, want []byte) error {
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes come back, %d of them right", len(got), commonPrefix(got, want))
	}
	return nil
}
