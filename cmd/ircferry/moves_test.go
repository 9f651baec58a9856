package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// TestHundredsOfMovesUnderTraffic is the headline: numbered lines in both directions, half lines, bare LF, 8 KiB tagged lines, slow
// readers and clients that leave in mid-move, while all users move between two processes again and again. Nothing is lost,
// doubled or reordered, nobody sees a line of it, and nothing is left over afterwards (lessons C1.1, C1.4, C2.11 to C2.16, C8.61).
// IRCFERRY_MOVES sets how many moves.
func TestHundredsOfMovesUnderTraffic(t *testing.T) {
	moves := 500
	if n, err := strconv.Atoi(os.Getenv("IRCFERRY_MOVES")); err == nil {
		moves = n
	} else if testing.Short() {
		moves = 25
	}
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a"), startIrcd(t, dir, "b")
	d := startTestDaemon(t, testConfig(t, map[string]string{"a": "unix:" + a.socket, "b": "unix:" + b.socket}))
	before := openDescriptors(t)
	goroutines := runtime.NumGoroutine()

	w := newWorld(t, d)
	w.populate(24, 4)
	w.run()
	at, other := "a", "b"
	begin, i := time.Now(), 0
	for ; i < moves && (i < 100 || time.Since(begin) < 3*time.Minute); i++ { // fewer where each takes long
		report := drain(t, d, at, other)
		if report.State != handoff.StateDone || report.Failed > 0 || report.Attempted != report.Moved+report.Left {
			t.Fatalf("move %d: %+v", i, report)
		}
		readyAgain(t, d, at)
		at, other = other, at
	}
	w.stop()
	counts := w.oracle.Settle(patience)
	t.Logf("%d moves: %v", i, counts)
	if !counts.Clean() || counts.Sent < i {
		t.Errorf("%v\n%s", counts, strings.Join(w.oracle.Samples(), "\n"))
	}
	w.goAway()
	await(t, "all sessions gone", func() bool { return d.proxy.Counts().Sessions == 0 })
	await(t, "arena empty", func() bool { used := d.proxy.Arena(); return used.Slots == 0 && used.Chunks == 0 })
	await(t, "descriptors given back", func() bool { return openDescriptors(t) <= before+2 })
	await(t, "goroutines given back", func() bool { return runtime.NumGoroutine() <= goroutines+4 })
}

// world is the clients of a test and what they say to each other.
type world struct {
	t       *testing.T
	addr    string
	secure  string // the listener with TLS
	oracle  *ircclient.Oracle
	clients []*ircclient.Client
	ears    []*ircclient.Receiver
	flows   []*ircclient.Flow // of the client with the same index, to its channel
	cancel  context.CancelFunc
	ctx     context.Context
	talking sync.WaitGroup
}

func newWorld(t *testing.T, d *daemon) *world {
	w := &world{t: t, addr: d.address(t), secure: d.listening(t, "ircs"), oracle: ircclient.NewOracle()}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() { w.cancel(); w.talking.Wait(); w.goAway() })
	return w
}

// dial connects client i: every second one over TLS, of these every second one with 1.2.
func (w *world) dial(ctx context.Context, i int, o ircclient.Options) (*ircclient.Client, error) {
	if i%2 == 0 {
		return ircclient.Dial(ctx, w.addr, o)
	}
	o.TLS = &tls.Config{InsecureSkipVerify: true}
	if i%4 == 1 {
		o.TLS.MaxVersion = tls.VersionTLS12
	}
	return ircclient.Dial(ctx, w.secure, o)
}

// populate registers clients, puts them into channels, and declares who must hear whom. Every second one has echo-message.
func (w *world) populate(clients, channels int) {
	w.t.Helper()
	for i := range clients {
		ear := w.oracle.Receiver(nick("user", i), nil)
		c, err := w.dial(w.t.Context(), i/2, ircclient.Options{Closed: ear.Closed, ReadBuf: 16 << 10})
		if err != nil {
			w.t.Fatal(err)
		}
		caps := []string{"message-tags"}
		if i%2 == 1 {
			caps = append(caps, "echo-message", "server-time")
		}
		if err := c.Register(nick("user", i), caps...); err != nil {
			w.t.Fatalf("register %d: %v", i, err)
		}
		if err := c.Join(fmt.Sprintf("#room%d", i%channels)); err != nil {
			w.t.Fatal(err)
		}
		w.clients, w.ears = append(w.clients, c), append(w.ears, ear)
		w.flows = append(w.flows, w.oracle.Flow(c.Nick, fmt.Sprintf("#room%d", i%channels)))
	}
	for i, c := range w.clients {
		if _, err := c.Fence(); err != nil { // its JOINs of others are read by then
			w.t.Fatal(err)
		}
		for j, f := range w.flows {
			if j%channels == i%channels && (j != i || i%2 == 1) {
				w.ears[i].Hears(f)
			}
		}
		c.Handle(w.ears[i].Line)
	}
}

// run starts the talk, slow readers and leavers; stop ends it.
func (w *world) run() {
	w.runTalk()
	w.talking.Go(w.slowReaders)
	w.talking.Go(w.leavers)
}

// runTalk starts the talk alone.
func (w *world) runTalk() {
	for i := range w.clients {
		w.talking.Go(func() { w.talk(i) })
	}
}

// talkOn waits until that many more messages were delivered.
func (w *world) talkOn(n int) {
	w.t.Helper()
	want := w.oracle.Counts().Delivered + n
	await(w.t, "talk goes on", func() bool { return w.oracle.Counts().Delivered >= want })
}

func (w *world) stop() {
	w.cancel()
	w.talking.Wait()
}

// talk says numbered lines in every shape that the wire allows.
func (w *world) talk(i int) {
	random := rand.New(rand.NewPCG(uint64(i), 1))
	for n := 1; w.pause(time.Duration(random.IntN(20)) * time.Millisecond); n++ {
		if n%8 == 0 { // nobody may run away from a test that is slower than the ircd: over 1 MiB unread is a SendQ
			if _, err := w.clients[i].Fence(); err != nil {
				w.gaveUp(i, err)
				return
			}
		}
		line := w.flows[i].Line(strings.Repeat("x", random.IntN(200)))
		var err error
		switch random.IntN(12) {
		case 0: // bare LF
			err = w.clients[i].Write([]byte(line + "\n"))
		case 1: // a half line that stays half for a while
			half := random.IntN(len(line))
			if err = w.clients[i].Write([]byte(line[:half])); err == nil {
				w.pause(time.Duration(random.IntN(30)) * time.Millisecond)
				err = w.clients[i].Write([]byte(line[half:] + "\r\n"))
			}
		case 2: // nearly 8 KiB with its tags
			err = w.clients[i].Write([]byte("@+draft/x=" + strings.Repeat("t", 4000) + ";+y=" + strings.Repeat("u", 70) + " " + line + "\r\n"))
		case 3: // a burst in one write
			lines := line + "\r\n"
			for range 20 {
				lines += w.flows[i].Line("") + "\r\n"
			}
			err = w.clients[i].Write([]byte(lines))
		default:
			err = w.clients[i].Write([]byte(line + "\r\n"))
		}
		if err != nil {
			w.gaveUp(i, err)
			return
		}
	}
}

// gaveUp: that its connection ended is the oracle's to count.
func (w *world) gaveUp(i int, err error) {
	if w.clients[i].Err() == nil {
		w.t.Errorf("client %d: %v", i, err)
	}
}

// slowReaders stops one client after the other from reading for a while.
func (w *world) slowReaders() {
	for i := 0; w.ctx.Err() == nil; i = (i + 5) % len(w.clients) {
		resume := w.clients[i].Pause()
		w.pause(60 * time.Millisecond)
		resume()
	}
}

// leavers come, say something to a user, and go in all ways: QUIT, FIN, half a line and a reset.
func (w *world) leavers() {
	for n := 0; w.ctx.Err() == nil; n++ {
		c, err := w.dial(context.Background(), n/4, ircclient.Options{})
		if err != nil {
			w.t.Errorf("leaver cannot connect: %v", err)
			return
		}
		if err := c.Register(nick("leaver", n), "message-tags"); err != nil {
			w.t.Errorf("leaver %d: %v", n, err)
			return
		}
		c.Send("JOIN #leavers")
		w.pause(time.Duration(n%40) * time.Millisecond)
		switch n % 4 {
		case 0:
			c.Send("QUIT :bye")
		case 1:
			c.CloseWrite()
		case 2:
			c.Write([]byte("PRIVMSG #leavers :never en"))
			c.Close()
		case 3:
			c.Reset()
		}
		c.Close()
	}
}

// pause lets d pass; false: the talk is over.
func (w *world) pause(d time.Duration) bool {
	select {
	case <-w.ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// goAway closes all clients.
func (w *world) goAway() {
	for i, c := range w.clients {
		w.ears[i].Leave()
		c.Close()
	}
	w.clients = nil
}

// TestDryRunUnderTraffic: it asks both ircds and nobody notices, nothing is left that would be in the way of the drain.
func TestDryRunUnderTraffic(t *testing.T) {
	d, _, _, b := pair(t, nil, nil)
	w := newWorld(t, d)
	w.populate(16, 4)
	w.run()
	for range 25 {
		plan, err := d.moves.DryRun(t.Context(), handoff.Request{Pool: "main", From: "a"})
		if err != nil || plan.To != "b" || plan.Users < 16 || plan.Channels < 4 || len(plan.Refusals)+len(plan.Conflicts)+len(plan.Warnings) > 0 {
			t.Fatalf("%+v, %v", plan, err)
		}
	}
	if h := awaitHello(t, "unix:"+b.socket); h.Users != 0 || h.Channels != 0 {
		t.Errorf("the destination has %d users, %d channels", h.Users, h.Channels)
	}
	if r := drain(t, d, "a", "b"); r.State != handoff.StateDone || r.Moved < 16 {
		t.Errorf("%+v", r)
	}
	w.stop()
	if counts := w.oracle.Settle(patience); !counts.Clean() {
		t.Errorf("%v\n%s", counts, strings.Join(w.oracle.Samples(), "\n"))
	}
}
