package main

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// talkers are registered IRC clients in channels of channelSize that send numbered lines and check every line that they get:
// nothing but those lines, each once and in order.
type talkers struct {
	*clients
	half      [][]byte // what came of a line that is not complete yet
	sent      []int    // lines sent, by client
	last      [][]int  // last number heard, by client and the speaker's place in the channel
	delivered int
	doubled   int
	reordered int
	visible   []string // lines that no client should have seen
	delays    []time.Duration
	joined    int
	next      int // who speaks next
	epoch     time.Time
}

const channelSize = 20

func newTalkers(address string, n int) (*talkers, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	t := &talkers{
		clients: &clients{ep: ep, index: make(map[int]int, n), buf: make([]byte, 256<<10), events: make([]syscall.EpollEvent, 512)},
		half:    make([][]byte, n), sent: make([]int, n), last: make([][]int, n), epoch: time.Now(),
	}
	addr, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", address, err)
	}
	for i := range n {
		t.last[i] = make([]int, channelSize)
		if err := t.open(sockaddr(addr), i); err != nil {
			return t, fmt.Errorf("client %d: %w", i, err)
		}
		// At most 64 register at a time.
		if i%64 == 63 || i == n-1 {
			if err := t.listen(20*time.Second, func() bool { return t.joined == i+1 }); err != nil {
				return t, fmt.Errorf("%d of %d clients joined: %w", t.joined, n, err)
			}
		}
	}
	// What belongs to the joins of others is over when nothing has come for a second.
	for quiet := time.Now(); time.Since(quiet) < time.Second; {
		if err := t.await(100*time.Millisecond, func() { quiet = time.Now() }); err != nil {
			return t, err
		}
	}
	t.visible = nil
	return t, nil
}

func (t *talkers) open(to *syscall.SockaddrInet4, i int) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := syscall.Connect(fd, to); err != nil {
		_ = syscall.Close(fd)
		return fmt.Errorf("connect: %w", err)
	}
	_ = syscall.SetNonblock(fd, true)
	t.index[fd] = i
	t.fds = append(t.fds, fd)
	if err := syscall.EpollCtl(t.ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return t.send(i, fmt.Appendf(nil, "NICK u%d\r\nUSER u%d 0 * :user\r\n", i, i))
}

// listen polls until done, at most for the given time.
func (t *talkers) listen(within time.Duration, done func() bool) error {
	for end := time.Now().Add(within); !done(); {
		if time.Now().After(end) {
			return fmt.Errorf("not within %s", within)
		}
		if err := t.await(50*time.Millisecond, nil); err != nil {
			return err
		}
	}
	return nil
}

func (t *talkers) await(timeout time.Duration, got func()) error {
	n, err := syscall.EpollWait(t.ep, t.events, int(timeout.Milliseconds()))
	if err != nil && err != syscall.EINTR {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	now := time.Since(t.epoch)
	for _, ev := range t.events[:max(n, 0)] {
		i := t.index[int(ev.Fd)]
		k, err := syscall.Read(int(ev.Fd), t.buf)
		if err == syscall.EAGAIN || err == syscall.EINTR {
			continue
		}
		if k <= 0 {
			return fmt.Errorf("client %d: %w after %q", i, errClosed, t.half[i])
		}
		if err := t.take(i, t.buf[:k], now); err != nil {
			return err
		}
	}
	if n > 0 && got != nil {
		got()
	}
	return nil
}

func (t *talkers) take(i int, data []byte, now time.Duration) error {
	if len(t.half[i]) > 0 {
		data = append(t.half[i], data...)
	}
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			break
		}
		data = rest
		if err := t.hear(i, bytes.TrimSuffix(line, []byte("\r")), now); err != nil {
			return err
		}
	}
	t.half[i] = append(t.half[i][:0:0], data...)
	return nil
}

var (
	sayVerb  = []byte(" PRIVMSG #c")
	endNames = []byte("366 ")
	welcomed = []byte("001 ")
)

// hear judges one line: ":u<speaker>!... PRIVMSG #c<n> :<number> <microseconds when it was sent>".
func (t *talkers) hear(i int, line []byte, now time.Duration) error {
	if token, ok := bytes.CutPrefix(line, []byte("PING ")); ok {
		return t.send(i, append(append([]byte("PONG "), token...), "\r\n"...))
	}
	verb := bytes.Index(line, sayVerb)
	if verb < 0 {
		switch _, verb, _ := bytes.Cut(line, []byte(" ")); {
		case bytes.HasPrefix(verb, welcomed): // before it an ircd may refuse a JOIN
			return t.send(i, fmt.Appendf(nil, "JOIN #c%d\r\n", i/channelSize))
		case bytes.HasPrefix(verb, endNames):
			t.joined++
		}
		if len(t.visible) < 1000 {
			t.visible = append(t.visible, string(line))
		}
		return nil
	}
	nick, _, _ := bytes.Cut(line[2:verb], []byte("!"))
	_, text, _ := bytes.Cut(line[verb+1:], []byte(":"))
	number, at, _ := bytes.Cut(text, []byte(" "))
	speaker, n, us := atoi(nick), atoi(number), atoi(at)
	last := &t.last[i][speaker%channelSize]
	switch {
	case n == *last+1:
		*last = n
	case n <= *last:
		t.doubled++
		return nil
	default: // what is between may still come, then it counts as doubled; the lost are reckoned from the sums
		t.reordered++
		*last = n
	}
	t.delivered++
	t.delays = append(t.delays, now-time.Duration(us)*time.Microsecond)
	return nil
}

func atoi(b []byte) int {
	n, _ := strconv.Atoi(string(b))
	return n
}

// say has the next lines sent, by clients in turn.
func (t *talkers) say(lines int) error {
	for range lines {
		i := t.next
		t.next = (t.next + 1) % len(t.fds)
		t.sent[i]++
		text := fmt.Appendf(nil, "PRIVMSG #c%d :%d %d\r\n", i/channelSize, t.sent[i], time.Since(t.epoch).Microseconds())
		if err := t.send(i, text); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
	}
	return nil
}

// expected is how many deliveries all that was sent must have made.
func (t *talkers) expected() int {
	total := 0
	for i, n := range t.sent {
		first := i / channelSize * channelSize
		total += n * (min(first+channelSize, len(t.fds)) - first - 1)
	}
	return total
}
