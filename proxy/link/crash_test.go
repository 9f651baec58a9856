package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/fdpass"
	"github.com/ircferry/ircferry/proxy/leg"
)

// The process of these tests that is killed is this test's binary once more.
const (
	victimEnv = "IRCFERRY_LINK_VICTIM" // what it is to do
	victimFD  = 3                      // to the keeper, which is the test
)

func TestMain(m *testing.M) {
	if text := os.Getenv(victimEnv); text != "" {
		if err := runVictim([]byte(text)); err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// order is what a victim is to do.
type order struct {
	Pool  config.Pool
	Tags  []uint64 // of descriptors that come first; none: it begins anew
	Point string   // where it ends, "": nowhere
	After int      // how many times it has been there before
}

// word is what victim and keeper say to each other.
type word struct {
	Keep uint64   `json:",omitempty"`
	Drop []uint64 `json:",omitempty"`
	Up   *Recovered
}

// toKeeper is the keeper as a victim knows it.
type toKeeper struct {
	mu sync.Mutex
	c  *fdpass.Conn
}

func (k *toKeeper) Keep(tag uint64, fd int) error { return k.say(word{Keep: tag}, fd) }
func (k *toKeeper) Drop(tags ...uint64) error     { return k.say(word{Drop: tags}) }

func (k *toKeeper) say(w word, fds ...int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.c.Send(w, fds...)
}

func runVictim(text []byte) error {
	var o order
	if err := json.Unmarshal(text, &o); err != nil {
		return err
	}
	c, err := fdpass.New(os.NewFile(victimFD, "keeper"))
	if err != nil {
		return err
	}
	fds, err := c.RecvAll(len(o.Tags))
	if err != nil {
		return err
	}
	var mu sync.Mutex
	atPoint = func(point string) {
		mu.Lock()
		defer mu.Unlock()
		if point != o.Point {
			return
		}
		if o.After--; o.After < 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	backends, err := backend.NewSet(backend.Options{})
	if err != nil {
		return err
	}
	pools := map[string]config.Pool{"main": o.Pool}
	if err := backends.Apply(pools); err != nil {
		return err
	}
	b, _ := backends.Backend("main/a")
	for b.Oper() != backend.Up {
		time.Sleep(time.Millisecond)
	}
	k := &toKeeper{c: c}
	s := NewSet(Options{Backends: backends, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Keeper: k})
	kept := map[uint64]int{}
	for i, tag := range o.Tags {
		kept[tag] = fds[i]
	}
	report, err := s.Recover(kept, pools)
	if err != nil {
		return err
	}
	s.Start()
	if err := s.Apply(pools); err != nil {
		return err
	}
	if err := k.say(word{Up: &report}); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); { // until the test says that it is over
		if in.Text() == "leave" {
			return leaveToKeeper(s)
		}
		s.KeepAll(context.Background())
		if err := k.say(word{Up: &report}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.Close(ctx)
}

// leaveToKeeper does what a restart does, of whose successor nothing has been seen.
func leaveToKeeper(s *Set) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.Quiesce(ctx)
	stopped, err := s.Stop(ctx)
	if err != nil {
		return err
	}
	if _, _, err := stopped.State(); err != nil {
		return err
	}
	return stopped.LeaveToKeeper(ctx)
}

// crash is a rig whose set is in a process that is killed, and the keeper.
type crash struct {
	*rig
	stderr logText

	mu   sync.Mutex
	kept map[uint64]int
	up   *Recovered

	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan error // of the process, behind all that it has said
}

// newCrash has the links of a rig in a process of its own. change is of the pool.
func newCrash(t *testing.T, change ...func(*config.Pool)) *crash {
	c := &crash{rig: newRig(t, change...), kept: map[uint64]int{}}
	for i := range c.pool.Links {
		free := listen(t)
		c.pool.Links[i].Listen = free.Addr().String()
		free.Close()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the processes said:\n%s", c.stderr.String())
		}
	})
	return c
}

// run starts the process; it goes on with what is kept, and ends at the point when it comes there the nth time.
func (c *crash) run(point string, after int) {
	c.Helper()
	c.mu.Lock()
	var fds []int
	o := order{Pool: c.pool, Point: point, After: after}
	for tag, fd := range c.kept {
		o.Tags, fds = append(o.Tags, tag), append(fds, fd)
	}
	c.up = nil
	c.mu.Unlock()
	text, err := json.Marshal(o)
	if err != nil {
		c.Fatal(err)
	}
	conn, theirs, err := fdpass.Pair()
	if err != nil {
		c.Fatal(err)
	}
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), victimEnv+"="+string(text))
	c.cmd.ExtraFiles = []*os.File{theirs}
	c.cmd.Stderr = &c.stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		c.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		c.Fatal(err)
	}
	theirs.Close()
	if err := conn.SendAll(fds); err != nil {
		c.Fatal(err)
	}
	c.ended = make(chan error, 1)
	go func() {
		for c.hear(conn) {
		}
		conn.Close()
		c.ended <- c.cmd.Wait()
	}()
}

// hear does what a keeper does; false: the process has ended.
func (c *crash) hear(conn *fdpass.Conn) bool {
	var w word
	fds, err := conn.Recv(&w)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	forget := func(tag uint64) {
		if fd, ok := c.kept[tag]; ok {
			syscall.Close(fd)
			delete(c.kept, tag)
		}
	}
	for _, tag := range w.Drop {
		forget(tag)
	}
	if w.Keep != 0 {
		forget(w.Keep)
		c.kept[w.Keep] = fds[0]
	}
	if w.Up != nil {
		c.up = w.Up
	}
	return true
}

// isUp waits until the process serves, or has ended.
func (c *crash) isUp() (report Recovered) {
	c.Helper()
	c.until("the process is up", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.up != nil {
			report = *c.up
		}
		return c.up != nil
	})
	return report
}

// kill ends the process and waits for it.
func (c *crash) kill() {
	c.cmd.Process.Kill()
	<-c.ended
}

// keeps waits until so many descriptors are kept.
func (c *crash) keeps(n int) {
	c.Helper()
	c.until(fmt.Sprintf("%d descriptors are kept", n), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.kept) == n
	})
}

// over ends the process in order; then nothing is kept.
func (c *crash) over() {
	c.Helper()
	c.stdin.Close()
	if err := <-c.ended; err != nil {
		c.Error(err)
	}
	if len(c.kept) > 0 {
		c.Errorf("%d descriptors are kept of links that have ended", len(c.kept))
	}
}

// links has the link's handshake and bursts done.
func (c *crash) links(peer, ircd *end) {
	c.Helper()
	for _, lines := range [][]string{anope.hello(), burst} {
		peer.say(lines...)
		ircd.expect(lines...)
	}
	hello := []string{"CAPAB START 1205", "SERVER irc.example otherpass 0 00A :An ircd", ":00A ENDBURST"}
	ircd.say(hello...)
	peer.expect(hello...)
	c.keeps(3)
}

// again kills the process and has another one go on, which answers what became of the links.
func (c *crash) again() Recovered {
	c.Helper()
	c.kill()
	c.run("", 0)
	return c.isUp()
}

func (c *crash) dialLink() *end {
	c.Helper()
	conn, err := net.Dial("tcp", c.pool.Links[0].Listen)
	if err != nil {
		c.Fatal(err)
	}
	return newEnd(c.T, "peer", conn)
}

// crashes are how a link may be connected in these tests.
func crashes(t *testing.T, f func(t *testing.T, c *crash, connect func() (peer, ircd *end))) {
	t.Run("plaintext", func(t *testing.T) {
		c := newCrash(t)
		f(t, c, func() (peer, ircd *end) { peer = c.dialLink(); return peer, c.accept("a") })
	})
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			change, of := tlsOf(t, version)
			c := newCrash(t, change)
			f(t, c, func() (peer, ircd *end) {
				conn, err := net.Dial("tcp", c.pool.Links[0].Listen)
				if err != nil {
					t.Fatal(err)
				}
				p := tls.Client(conn, of)
				shaken := background(p.Handshake)
				i := over(t, c.ircds["a"], of)
				c.must("ircd's handshake", background(i.Handshake))
				c.must("peer's handshake", shaken)
				return newEnd(t, "peer", p), newEnd(t, "ircd", i)
			})
		})
	}
}

// A process with a link is killed again and again, at random times and where it is worst, while both sides talk: not a byte is lost, doubled or out of order.
func TestLinksSurviveKills(t *testing.T) {
	kills := 15
	if n, err := strconv.Atoi(os.Getenv("IRCFERRY_LINK_KILLS")); err == nil {
		kills = n
	}
	crashes(t, func(t *testing.T, c *crash, connect func() (peer, ircd *end)) {
		t.Parallel()
		c.run("", 0)
		c.isUp()
		peer, ircd := connect()
		c.links(peer, ircd)
		talks := []func() error{talk(peer, ircd), talk(ircd, peer)}
		points := []string{"", "read", "noted", "drawn", "written"}
		for n := range kills {
			point := points[n%len(points)]
			c.kill()
			after := rand.IntN(300)
			if point == "drawn" {
				after = rand.IntN(3)
			}
			c.run(point, after)
			if point == "" {
				if report := c.isUp(); report.Links != 1 {
					t.Fatalf("kill %d: %+v", n, report)
				}
				time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
				continue
			}
			select {
			case <-c.ended: // at its point
			case <-time.After(patience):
				t.Fatalf("kill %d: it did not come to %s", n, point)
			}
			c.ended <- nil
		}
		c.kill()
		c.run("", 0)
		if report := c.isUp(); report.Links != 1 {
			t.Fatalf("%+v", report)
		}
		for _, stop := range talks {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
		peer.Close()
		ircd.ended()
		ircd.Close()
		c.keeps(0)
		c.over()
	})
}

// A keeper that comes in the midst of a talk is given the link as it is then.
func TestANewKeeperIsGivenTheLinks(t *testing.T) {
	crashes(t, func(t *testing.T, c *crash, connect func() (peer, ircd *end)) {
		t.Parallel()
		c.run("", 0)
		c.isUp()
		peer, ircd := connect()
		c.links(peer, ircd)
		talks := []func() error{talk(peer, ircd), talk(ircd, peer)}
		for range 3 {
			time.Sleep(10 * time.Millisecond)
			c.mu.Lock()
			for tag, fd := range c.kept { // the one of before has died
				syscall.Close(fd)
				delete(c.kept, tag)
			}
			c.up = nil
			c.mu.Unlock()
			io.WriteString(c.stdin, "a new keeper\n")
			c.isUp()
			c.keeps(3)
			if report := c.again(); report.Links != 1 {
				t.Fatalf("%+v", report)
			}
			io.WriteString(c.stdin, "leave\n") // a restart of which nothing but this is left
			if err := <-c.ended; err != nil {
				t.Fatal(err)
			}
			c.keeps(3)
			c.run("", 0)
			if report := c.isUp(); report.Links != 1 {
				t.Fatalf("behind a restart: %+v", report)
			}
		}
		for _, stop := range talks {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
		c.over()
	})
}

// What happens while nobody is there is told when somebody is: what a peer says, and that it ends. A link in its burst goes on, too, and a new one is another one.
func TestWhatHappensBetweenTwoProcesses(t *testing.T) {
	crashes(t, func(t *testing.T, c *crash, connect func() (peer, ircd *end)) {
		t.Parallel()
		c.run("", 0)
		c.isUp()
		peer, ircd := connect()
		hello := anope.hello()
		peer.say(hello[:2]...)
		ircd.expect(hello[:2]...)
		io.WriteString(peer, hello[2])
		c.keeps(3)
		c.kill()
		peer.say("")
		c.run("", 0)
		if report := c.isUp(); report.Links != 1 || len(report.Lost) != 0 {
			t.Fatalf("%+v", report)
		}
		ircd.expect(hello[2])
		peer.say(hello[3:]...)
		ircd.expect(hello[3:]...)
		c.kill()
		peer.say(burst...)
		peer.Close()
		c.run("", 0)
		c.isUp()
		ircd.expect(burst...)
		ircd.ended()
		ircd.Close()
		c.keeps(0)
		peer, ircd = connect()
		c.links(peer, ircd)
		c.again()
		peer.say(":00S PING 00A")
		ircd.expect(":00S PING 00A")
		c.over()
	})
}

// What has made two processes crash is not tried a third time: that link is closed on both sides, and named.
func TestALinkThatCrashesTheProcessIsGivenUp(t *testing.T) {
	c := newCrash(t)
	c.run("noted", 3)
	c.isUp()
	peer, ircd := c.dialLink(), c.accept("a")
	peer.say("CAPAB START 1205")
	ircd.expect("CAPAB START 1205")
	c.keeps(3)
	for _, line := range []string{"CAPAB MODULES x", "CAPAB END"} {
		peer.say(line)
		ircd.expect(line)
	}
	peer.say("SERVER services.example secretpass 0 00S :Services")
	for range mostTries {
		select {
		case <-c.ended:
		case <-time.After(patience):
			t.Fatal("it lives")
		}
		c.run("again", 0)
	}
	<-c.ended
	c.run("", 0)
	if report := c.isUp(); report.Links != 0 || !strings.Contains(report.Lost["main/services.example"], "have crashed") {
		t.Errorf("%+v", report)
	}
	for _, e := range []*end{peer, ircd} {
		e.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, e.r); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s is open still", e.name)
		}
	}
	c.keeps(0)
	c.over()
}

// stubKeeper notes what a set gives it.
type stubKeeper struct {
	mu   sync.Mutex
	busy int
	tags map[uint64]bool
}

func (k *stubKeeper) Keep(tag uint64, _ int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy > 0 {
		k.busy--
		return leg.ErrKeeperBusy
	}
	k.tags[tag] = true
	return nil
}

func (k *stubKeeper) Drop(tags ...uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range tags {
		delete(k.tags, t)
	}
	return nil
}

func (k *stubKeeper) has() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.tags)
}

// What a move holds is not kept: the keeper has nothing of it before the ircd is asked, and all of it again when the link is raw. A keeper that is busy is
// waited for.
func TestWhatAMoveHoldsIsNotKept(t *testing.T) {
	k := &stubKeeper{tags: map[uint64]bool{}, busy: 3}
	r := newRig(t)
	r.set.keeper = k
	peer, ircd := r.linked(anope)
	for tag := range k.tags {
		if !Tagged(tag) {
			t.Errorf("tag %#x", tag)
		}
	}
	if k.has() != 3 {
		t.Fatalf("%d descriptors are kept", k.has())
	}
	h := r.hold(anope, ircd)
	if k.has() != 0 {
		t.Errorf("held: %d descriptors are kept", k.has())
	}
	r.cut(h, peer, ircd, "tx1")
	h.Part()
	ircd = r.replay(anope, h, "tx2", "InspIRCd-3 one")
	r.live(h, ircd, "tx2")
	h.End(nil)
	peer.expect(":00AAAAAAC MODE 00AAAAAAC -o")
	r.until("it is kept again", func() bool { return k.has() == 3 })
	peer.say(":00S PRIVMSG #sea :x")
	ircd.expect(":00S PRIVMSG #sea :x")
	r.succeed() // the successor has no keeper, and what ours has is its business
	if k.has() != 3 {
		t.Errorf("behind a succession %d descriptors are kept", k.has())
	}
}

// A journal of another form, one that is not valid and one that makes no sense are refused.
func TestAJournalThatMakesNoSense(t *testing.T) {
	for name, spoil := range map[string]func(j *journal){
		"none":         func(*journal) {},
		"other form":   func(j *journal) { j.draw([]byte("{}")); j.head.Format++ },
		"void":         func(j *journal) { j.draw([]byte("{}")); j.void() },
		"other magic":  func(j *journal) { j.draw([]byte("{}")); j.head.Magic++ },
		"long picture": func(j *journal) { j.draw([]byte("{}")); j.head.Areas[j.head.Area.Load()].Picture = areaSize },
		"long log":     func(j *journal) { j.draw([]byte("{}")); j.head.Areas[j.head.Area.Load()].Log.Store(logSize + 1) },
		"long entry": func(j *journal) {
			j.draw([]byte("{}"))
			j.note(0, []byte("x"))
			log, _ := j.area(j.head.Area.Load())
			log[1] = 2
		},
		"other side": func(j *journal) { j.draw([]byte("{}")); j.note(2, []byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			j, err := newJournal()
			if err != nil {
				t.Fatal(err)
			}
			spoil(j)
			fd, err := descriptorOf(j.file)
			if err != nil {
				t.Fatal(err)
			}
			if fd, err = syscall.Dup(fd); err != nil {
				t.Fatal(err)
			}
			other, err := openJournal(os.NewFile(uintptr(fd), "journal"))
			if err == nil {
				_, _, err = other.read()
				other.close()
			}
			if !errors.Is(err, errJournal) {
				t.Errorf("%v", err)
			}
			j.close()
		})
	}
}

// A picture that is too large is refused and the one before stays; what is noted behind it is read in order; and a log that is full says so.
func TestJournal(t *testing.T) {
	j, err := newJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if err := j.draw([]byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := j.draw(make([]byte, pictureSize+1)); !errors.Is(err, errJournalFull) {
		t.Errorf("too much: %v", err)
	}
	for n := 0; j.note(n%2, []byte(strconv.Itoa(n))); n++ {
	}
	picture, all, err := j.read()
	if err != nil || string(picture) != "one" || len(all) < logSize/11 {
		t.Fatalf("%q and %d, %v", picture, len(all), err)
	}
	for n, h := range all {
		if h.side != n%2 || string(h.b) != strconv.Itoa(n) {
			t.Fatalf("%d: %d says %q", n, h.side, h.b)
		}
	}
	old := picture
	if err := j.draw([]byte("two")); err != nil {
		t.Fatal(err)
	}
	if picture, all, err := j.read(); err != nil || string(picture) != "two" || len(all) != 0 || string(old) != "\x00\x00\x00" {
		t.Errorf("%q and %d, %v; before %q", picture, len(all), err, old)
	}
}

// talk says numbered lines on one end until it is stopped, and compares what comes at the other.
func talk(from, to *end) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	line := func(n int) string {
		return fmt.Sprintf(":00SAAAAAB PRIVMSG #sea :%d %s\n", n, strings.Repeat("x", n*7919%500))
	}
	said, results := make(chan int, 1), make(chan error, 2)
	go func() {
		n, err := 0, error(nil)
		for ; ctx.Err() == nil && err == nil; n++ {
			from.SetWriteDeadline(time.Now().Add(patience))
			_, err = io.WriteString(from, line(n))
		}
		said <- n
		results <- err
		io.WriteString(from, "OVER\n")
	}()
	go func() {
		for n := 0; ; n++ {
			to.SetReadDeadline(time.Now().Add(2 * patience))
			got, err := to.r.ReadString('\n')
			switch {
			case got == "OVER\n" && n == <-said && n > 0:
				results <- nil
				return
			case err != nil || got != line(n):
				results <- fmt.Errorf("%s: line %d is %.80q (%w)", to.name, n, got, err)
				return
			}
		}
	}()
	return func() error {
		cancel()
		return errors.Join(<-results, <-results)
	}
}
