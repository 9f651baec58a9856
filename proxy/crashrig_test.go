package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// crashRig is a process that is killed again and again, with clients, ircds and the keeper in this one.
type crashRig struct {
	t      testing.TB
	task   crasherTask
	keeper *crashKeeper
	log    *logBuffer
	pair   *certtest.Pair

	cmd    *exec.Cmd
	gone   chan struct{} // closed when the keeper has heard the last word of the process
	ready  chan struct{}
	starts int

	mu      sync.Mutex
	waiting map[string]*crashSession // by nick, for the ircds
}

func newCrashRig(t testing.TB) *crashRig {
	t.Helper()
	r := &crashRig{t: t, keeper: &crashKeeper{t: t, kept: map[uint64]int{}}, log: &logBuffer{}, waiting: map[string]*crashSession{}}
	t.Cleanup(r.keeper.close)
	r.pair = certtest.SelfSigned(t, certtest.Options{})
	r.task.Cert, r.task.Key = r.pair.Write(t, t.TempDir(), "irc")
	r.task.Loops = 2
	for i := range r.task.Listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		r.task.Listeners[i] = l.Addr().String()
		l.Close()
	}
	for i := range r.task.Backends {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		r.task.Backends[i] = l.Addr().String()
		if i == 1 {
			l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{r.pair.Cert}})
		}
		go r.serve(l)
	}
	t.Cleanup(func() {
		if t.Failed() {
			r.look()
		}
		r.kill()
		if t.Failed() {
			text := r.log.String()
			t.Logf("%d processes:\n%s", r.starts, text[max(0, len(text)-20000):])
		}
	})
	return r
}

// start runs the process, which kills itself at a step if one is named.
func (r *crashRig) start(step string, after int) {
	r.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "keeper")
	defer theirs.Close()
	task := r.task
	task.First, task.Step, task.After = r.starts == 0, step, after
	r.starts++
	text, err := json.Marshal(task)
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(os.Args[0])
	r.cmd.Env = append(os.Environ(), crasherEnv+"="+string(text))
	r.cmd.ExtraFiles = []*os.File{theirs}
	r.cmd.Stderr = r.log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.gone, r.ready = make(chan struct{}), make(chan struct{})
	gone, ready := r.gone, r.ready
	if err := r.keeper.give(fds[0]); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		defer close(gone)
		defer unix.Close(fds[0])
		r.keeper.serve(fds[0], func() { close(ready) })
	}()
}

// look has the process say how its sessions stand.
func (r *crashRig) look() {
	if r.cmd != nil && r.cmd.Process.Signal(syscall.SIGUSR1) == nil {
		time.Sleep(500 * time.Millisecond)
	}
}

// awaitReady waits until the process serves, or has ended before.
func (r *crashRig) awaitReady() {
	r.t.Helper()
	select {
	case <-r.ready:
	case <-r.gone:
		if r.task.Step == "" {
			r.t.Logf("process %d ended before it was ready", r.starts)
		}
	case <-time.After(patience):
		r.t.Fatalf("the process is not ready\n%s", r.log.String())
	}
}

// kill ends the process, if it has not yet, and waits until the keeper knows.
func (r *crashRig) kill() {
	if r.cmd == nil {
		return
	}
	r.cmd.Process.Kill()
	r.cmd.Wait()
	<-r.gone
	r.cmd = nil
}

// await waits for a process that kills itself.
func (r *crashRig) await(within time.Duration) (itself bool) {
	select {
	case <-r.gone:
		itself = true
	case <-time.After(within):
	}
	r.kill()
	return itself
}

// sum is what the processes have reported of what they went on with.
func (r *crashRig) sum() string {
	sessions, corrected := 0, 0
	ended := map[string]int{}
	for _, line := range strings.Split(r.log.String(), "\n") {
		_, report, ok := strings.Cut(line, "report=")
		if !ok {
			continue
		}
		var n, k int
		if _, err := fmt.Sscanf(strings.Trim(report, "\""), "{Sessions:%d Ended:", &n); err == nil {
			sessions += n
		}
		if _, rest, ok := strings.Cut(report, "Corrected:"); ok {
			fmt.Sscanf(rest, "%d", &k)
			corrected += k
		}
		if _, rest, ok := strings.Cut(report, "map["); ok {
			rest, _, _ = strings.Cut(rest, "]")
			for _, f := range strings.Fields(rest) {
				why, count, _ := strings.Cut(f, ":")
				fmt.Sscanf(count, "%d", &k)
				ended[why] += k
			}
		}
	}
	return fmt.Sprintf("%d processes went on with %d sessions and corrected the counts of %d sockets; ended %v", r.starts-1, sessions, corrected, ended)
}

// serve is an ircd: it takes a client's NICK and USER, says 001, and leaves the rest to the session.
func (r *crashRig) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			in := bufio.NewReaderSize(c, 32<<10)
			nick, err := in.ReadString('\n')
			if err == nil {
				_, err = in.ReadString('\n')
			}
			nick = strings.TrimSuffix(strings.TrimPrefix(nick, "NICK "), "\r\n")
			r.mu.Lock()
			s := r.waiting[nick]
			delete(r.waiting, nick)
			r.mu.Unlock()
			if err != nil || s == nil {
				c.Close()
				return
			}
			fmt.Fprintf(c, ":irc.test 001 %s :Welcome\r\n", nick)
			s.server <- crashEnd{c, in}
		}()
	}
}

type crashEnd struct {
	net.Conn
	in *bufio.Reader
}

// crashSession is a client and its stream at the ircd, which say to each other what the other one can check to the byte.
type crashSession struct {
	name   string
	client crashEnd
	server chan crashEnd
	slow   bool // the client reads slowly
	half   bool // the client ends its direction first
	stop   *atomic.Bool
}

// connect brings a client in; with an error it never was.
func (r *crashRig) connect(name string, listener int, version uint16) (*crashSession, error) {
	s := &crashSession{name: name, server: make(chan crashEnd, 1), stop: new(atomic.Bool)}
	r.mu.Lock()
	r.waiting[name] = s
	r.mu.Unlock()
	c, err := net.DialTimeout("tcp", r.task.Listeners[listener], patience)
	if err != nil {
		return nil, err
	}
	c.(*net.TCPConn).SetReadBuffer(16 << 10)
	c.SetDeadline(time.Now().Add(patience))
	if listener == 1 {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	}
	s.client = crashEnd{c, bufio.NewReaderSize(c, 16<<10)}
	if _, err := fmt.Fprintf(c, "NICK %s\r\nUSER %s 0 * :x\r\n", name, name); err != nil {
		return nil, err
	}
	line, err := s.client.in.ReadString('\n')
	if err != nil || !strings.Contains(line, " 001 ") {
		c.Close()
		return nil, fmt.Errorf("%q: %w", line, err)
	}
	return s, nil
}

// talkText is an endless text of lines that both ends of a direction know.
type talkText struct {
	rnd  *rand.Rand
	name string
	n    int
}

func newTalkText(name string) *talkText {
	var seed [32]byte
	copy(seed[:], name)
	return &talkText{rnd: rand.New(rand.NewChaCha8(seed)), name: name}
}

func (g *talkText) next() []byte {
	g.n++
	size := g.rnd.IntN(200)
	if g.rnd.IntN(20) == 0 {
		size = g.rnd.IntN(4000)
	}
	b := fmt.Appendf(nil, "PRIVMSG #%s :%d ", g.name, g.n)
	for range size {
		b = append(b, byte('a'+g.rnd.IntN(26)))
	}
	return append(b, '\r', '\n')
}

// say writes until stop, and answers how much.
func (s *crashSession) say(c net.Conn, text string, stop *atomic.Bool) (int64, error) {
	g, pace := newTalkText(text), rand.New(rand.NewPCG(uint64(len(text)), rand.Uint64()))
	var sent int64
	for !stop.Load() {
		var b []byte
		for range 1 + pace.IntN(12) {
			b = append(b, g.next()...)
		}
		// In pieces that are no lines.
		for len(b) > 0 {
			n := min(len(b), 1+pace.IntN(3000))
			k, err := c.Write(b[:n])
			sent += int64(k)
			if err != nil {
				return sent, err
			}
			b = b[n:]
		}
		time.Sleep(time.Duration(pace.IntN(4000)) * time.Microsecond)
	}
	return sent, nil
}

// hear reads and compares until it has as much as total answers, or to the end if that is awaited.
func (s *crashSession) hear(c crashEnd, text string, slow bool, total func() int64, end bool) (err error) {
	g, begun := newTalkText(text), time.Now()
	var want []byte
	buf := make([]byte, 8<<10)
	for at := int64(0); ; {
		if total() < 0 {
			begun = time.Now()
		}
		if at == total() && !end {
			return nil
		}
		if !end { // the total may become known while nothing more comes
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		n, err := c.in.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			if len(want) == 0 {
				want = g.next()
			}
			k := min(len(p), len(want))
			if !bytes.Equal(p[:k], want[:k]) {
				return fmt.Errorf("%s: at byte %d: got %.200q, want %.200q", text, at, p, want)
			}
			p, want, at = p[k:], want[k:], at+int64(k)
		}
		if errors.Is(err, io.EOF) && end && at == total() {
			return nil
		}
		if err != nil && (end || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) > patience && total() >= 0) {
			return fmt.Errorf("%s: at byte %d of %d: %w", text, at, total(), err)
		}
		if slow {
			time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond)
		}
	}
}

// ends is for connections that end one direction.
func endWrites(c net.Conn) error {
	if t, ok := c.(*tls.Conn); ok {
		if err := t.CloseWrite(); err != nil {
			return err
		}
		return nil
	}
	return c.(*net.TCPConn).CloseWrite()
}

// run has both talk until stop, and answers what was wrong.
func (s *crashSession) run() (err error) {
	server := <-s.server
	defer server.Close()
	defer func() {
		if err == nil {
			s.client.Close()
		}
	}()
	server.SetDeadline(time.Now().Add(4 * time.Minute))
	s.client.SetDeadline(time.Now().Add(4 * time.Minute))
	up, down := s.name+"-up", s.name+"-down"
	var upTotal, downTotal atomic.Int64
	upTotal.Store(-1)
	downTotal.Store(-1)
	errs := make([]error, 4)
	var all sync.WaitGroup
	serverStops := s.stop
	if s.half {
		serverStops = new(atomic.Bool)
	}
	all.Go(func() {
		n, err := s.say(s.client, up, s.stop)
		upTotal.Store(n)
		if s.half && err == nil {
			err = endWrites(s.client.Conn)
		}
		errs[0] = err
	})
	all.Go(func() {
		errs[1] = s.hear(server, up, false, upTotal.Load, s.half)
		if s.half {
			serverStops.Store(true)
		}
	})
	all.Go(func() {
		n, err := s.say(server, down, serverStops)
		downTotal.Store(n)
		if s.half && err == nil {
			err = endWrites(server.Conn)
		}
		errs[2] = err
	})
	all.Go(func() { errs[3] = s.hear(s.client, down, s.slow, downTotal.Load, s.half) })
	all.Wait()
	return errors.Join(errs...)
}
