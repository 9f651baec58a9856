//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// bulkSize is what each client sends, and what it gets at the same time, in bytes.
const bulkSize = 20_000_000

// bulk is text of about bulkSize bytes in whole lines: hexadecimal digits, because s_client takes a buffer that begins with K, k, Q or R
// for a command, and gnutls-cli a line that begins with ^. Each line begins with its number.
func bulk(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 20))
	digits := make([]byte, 4096)
	for i := range digits {
		digits[i] = "0123456789abcdef"[random.IntN(16)]
	}
	text := make([]byte, 0, bulkSize+600)
	for n := 0; len(text) < bulkSize; n++ {
		from := random.IntN(len(digits) - 500)
		text = fmt.Appendf(text, "%08x%s\r\n", n, digits[from:from+random.IntN(500)])
	}
	return text
}

// pieces cuts text into n of about one size, at ends of lines.
func pieces(text []byte, n int) [][]byte {
	var all [][]byte
	for ; n > 1; n-- {
		cut := len(text) / n
		cut += bytes.IndexByte(text[cut:], '\n') + 1
		all, text = append(all, text[:cut]), text[cut:]
	}
	return append(all, text)
}

// arrival compares what is written to it with what is wanted, byte for byte.
type arrival struct {
	want []byte

	mu    sync.Mutex
	n     int
	err   error
	moved chan struct{} // closed and made anew whenever something has come
}

func newArrival(want []byte) *arrival { return &arrival{want: want, moved: make(chan struct{})} }

// Write implements io.Writer. Its error is the first difference.
func (a *arrival) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil && !bytes.HasPrefix(a.want[a.n:], p) {
		a.err = fmt.Errorf("differs from byte %d on: %.100q", a.n, p)
	}
	a.n += len(p)
	close(a.moved)
	a.moved = make(chan struct{})
	return len(p), a.err
}

func (a *arrival) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
		close(a.moved)
		a.moved = make(chan struct{})
	}
}

// past waits until more than n bytes have come, and says how many.
func (a *arrival) past(n int) (int, error) {
	patience := time.After(time.Minute)
	for {
		a.mu.Lock()
		got, err, moved := a.n, a.err, a.moved
		a.mu.Unlock()
		if err != nil || got > n {
			return got, err
		}
		select {
		case <-moved:
		case <-patience:
			return got, fmt.Errorf("nothing comes after %d bytes", got)
		}
	}
}

// bulkIRCd is a backend that says as much as it hears: other text, and not before it has heard as much.
type bulkIRCd struct {
	up, down []byte
	port     int

	mu     sync.Mutex
	heard  map[string]*arrival // by nick
	opened chan struct{}       // closed and made anew for each client
}

const bulkWelcome = ":bulk.test 001 %s :welcome\r\n"

// newBulkIRCd listens without TLS if cfg is nil.
func newBulkIRCd(t *testing.T, cfg *tls.Config) *bulkIRCd {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if cfg != nil {
		ln = tls.NewListener(ln, cfg)
	}
	t.Cleanup(func() { _ = ln.Close() })
	b := &bulkIRCd{up: bulk(1), down: bulk(2), port: port, heard: map[string]*arrival{}, opened: make(chan struct{})}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

func (b *bulkIRCd) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	line, err := in.ReadString('\n')
	nick, ok := strings.CutPrefix(strings.TrimSpace(line), "NICK ")
	if err != nil || !ok {
		return // a check
	}
	heard := newArrival(b.up)
	b.mu.Lock()
	b.heard[nick] = heard
	close(b.opened)
	b.opened = make(chan struct{})
	b.mu.Unlock()
	go b.say(conn, nick, heard)
	if _, err := io.Copy(heard, in); err != nil {
		heard.fail(err)
	}
	heard.fail(io.EOF)
}

func (b *bulkIRCd) say(conn net.Conn, nick string, heard *arrival) {
	_, err := fmt.Fprintf(conn, bulkWelcome, nick)
	for said, known := 0, 0; err == nil && said < len(b.down); {
		if known, err = heard.past(known); err != nil {
			break
		}
		now := min(known, len(b.down))
		if known >= len(b.up) {
			now = len(b.down)
		}
		_, err = conn.Write(b.down[said:now])
		said = now
	}
	if err != nil && !errors.Is(err, io.EOF) {
		heard.fail(err)
	}
}

// of waits for a client to be there.
func (b *bulkIRCd) of(nick string) (*arrival, error) {
	patience := time.After(30 * time.Second)
	for {
		b.mu.Lock()
		heard, opened := b.heard[nick], b.opened
		b.mu.Unlock()
		if heard != nil {
			return heard, nil
		}
		select {
		case <-opened:
		case <-patience:
			return nil, fmt.Errorf("%s does not come", nick)
		}
	}
}
