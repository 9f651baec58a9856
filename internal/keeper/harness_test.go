package keeper

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// running is a keeper in this process.
type running struct {
	*Server
	socket string
	stop   func()
}

func run(t *testing.T, o ServerOptions) *running {
	t.Helper()
	if o.Socket == "" {
		dir, err := os.MkdirTemp("", "keeper") // t.TempDir's paths may be too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		o.Socket = filepath.Join(dir, "k", "keeper.sock")
	}
	if o.Grace == 0 {
		o.Grace = time.Minute
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("keeper: %v", err)
		}
	})
	r := &running{s, o.Socket, func() { cancel(); ended.Wait() }}
	t.Cleanup(r.stop)
	return r
}

// losses are what a client was told to be lost.
type losses struct {
	mu   sync.Mutex
	tags []Tag
	errs []error
	told chan struct{}
}

func (l *losses) lost(tags []Tag, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tags, l.errs = append(l.tags, tags...), append(l.errs, err)
	select {
	case l.told <- struct{}{}:
	default:
	}
}

func dial(t *testing.T, socket string) (*Client, *losses) {
	t.Helper()
	l := &losses{told: make(chan struct{}, 1)}
	c, err := Dial(within(t), socket, Options{Lost: l.lost})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, l
}

func claimed(t *testing.T, socket string) (*Client, *losses) {
	t.Helper()
	c, l := dial(t, socket)
	if err := c.Claim(within(t), nil); err != nil {
		t.Fatal(err)
	}
	return c, l
}

// within bounds what may take as long as the machine is busy.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// pipe is one whose reading end tells when nobody has the writing end any more.
func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p[0]) })
	return p[0], p[1]
}

// given keeps the writing end of a pipe, closes it here, and answers the reading end.
func given(t *testing.T, c *Client, tag Tag) (r int) {
	t.Helper()
	r, w := pipe(t)
	if err := keepSoon(c, tag, w); err != nil {
		t.Fatal(err)
	}
	unix.Close(w)
	return r
}

// keepSoon is Keep for who may wait.
func keepSoon(c *Client, tag Tag, fd int) error {
	for {
		err := c.Keep(tag, fd)
		if !errors.Is(err, ErrBusy) {
			return err
		}
		ready := make(chan struct{})
		c.Ready(func() { close(ready) })
		<-ready
	}
}

// open reports whether somebody has the other end.
func open(t *testing.T, r int) bool {
	t.Helper()
	n, err := unix.Read(r, make([]byte, 1))
	if err != nil && err != unix.EAGAIN {
		t.Fatal(err)
	}
	return err == unix.EAGAIN || n > 0
}

func openFDs(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func same(t *testing.T, a, b int) bool {
	t.Helper()
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Ino == y.Ino && x.Dev == y.Dev
}

// holding has a keeper that does nothing between hold and the release that it answers.
type holding struct {
	mu    sync.Mutex
	waits atomic.Bool
}

func (h *holding) turn() {
	h.waits.Store(true)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits.Store(false)
}

func (h *holding) hold(t *testing.T, k *running) (release func()) {
	t.Helper()
	h.mu.Lock()
	d := rawDaemon(t, k.socket) // has it begin a turn, in which there is nothing but this
	t.Cleanup(func() { unix.Close(d.fd) })
	eventually(t, "the keeper is held", h.waits.Load)
	return sync.OnceFunc(h.mu.Unlock)
}

// raw is a daemon that reads no answer.
type raw struct{ fd int }

func rawDaemon(t *testing.T, socket string) raw {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	return raw{fd}
}

func (r raw) send(t *testing.T, msg []byte, fds ...int) {
	t.Helper()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(r.fd, msg, oob, nil, 0); err != nil {
		t.Fatal(err)
	}
}

// await waits until an answer lies there, unread.
func (r raw) await(t *testing.T) {
	t.Helper()
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}, 30000); err != nil {
		t.Fatal(err)
	}
}

func (r raw) receive(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, maxMessage)
	r.await(t)
	n, err := unix.Read(r.fd, b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}
