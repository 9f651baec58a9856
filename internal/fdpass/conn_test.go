package fdpass

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	a, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = New(f); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Conn{a, b} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return a, b
}

func pipes(t *testing.T, n int) (ends []int) {
	t.Helper()
	for range n {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		unix.Close(p[1])
		ends = append(ends, p[0])
	}
	t.Cleanup(func() { closeAll(ends) })
	return ends
}

func open(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

type text struct {
	Text string `json:"text"`
}

func TestSendAll(t *testing.T) {
	a, b := pair(t)
	before := open(t)
	ends := pipes(t, 700)
	done := make(chan error, 1)
	go func() { done <- a.SendAll(ends) }()
	got, err := b.RecvAll(len(ends))
	if err != nil || <-done != nil || len(got) != len(ends) {
		t.Fatal(len(got), err)
	}
	for i, fd := range got {
		var was, is unix.Stat_t
		if unix.Fstat(ends[i], &was) != nil || unix.Fstat(fd, &is) != nil || was.Ino != is.Ino {
			t.Fatalf("descriptor %d is another", i)
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Fatalf("descriptor %d would go to children (%v)", i, err)
		}
	}
	closeAll(got)
	if n := open(t); n != before+len(ends) {
		t.Errorf("%d descriptors, want %d", n, before+len(ends))
	}
}

func TestEnds(t *testing.T) {
	a, b := pair(t)
	if err := a.Send(text{"last words"}); err != nil {
		t.Fatal(err)
	}
	a.Close()
	var got text
	if _, err := b.Recv(&got); err != nil || got.Text != "last words" {
		t.Errorf("%q, %v", got.Text, err)
	}
	if _, err := b.Recv(&got); !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %v", err)
	}
}

// What is not as it should be is an error that names it, and no descriptor is kept.
func TestRefuses(t *testing.T) {
	pair(t) // the runtime has descriptors of its own from the first one on that it polls
	before := open(t)
	for name, c := range map[string]struct {
		do   func(t *testing.T, a, b *Conn) error
		want string
	}{
		"another process": {func(t *testing.T, a, b *Conn) error {
			b.Expect(1)
			a.Send(text{}, pipes(t, 1)...)
			_, err := b.Recv(&text{})
			return err
		}, "want 1"},
		"no document": {func(t *testing.T, a, b *Conn) error {
			a.c.Write([]byte("{"))
			_, err := b.Recv(&text{})
			return err
		}, "read message"},
		"too long": {func(t *testing.T, a, b *Conn) error { return a.Send(text{strings.Repeat("x", maxMessage)}) }, "at most"},
		"too many": {func(t *testing.T, a, b *Conn) error { return a.Send(text{}, make([]int, maxDescriptors+1)...) }, "at most"},
		"too late": {func(t *testing.T, a, b *Conn) error {
			b.SetDeadline(time.Now().Add(-time.Second))
			_, err := b.Recv(&text{})
			return err
		}, "timeout"},
		"a batch that lies": {func(t *testing.T, a, b *Conn) error {
			a.Send(batch{3}, pipes(t, 2)...)
			_, err := b.RecvAll(2)
			return err
		}, "2 in a batch of 3"},
		"more than agreed": {func(t *testing.T, a, b *Conn) error {
			a.Send(batch{2}, pipes(t, 2)...)
			_, err := b.RecvAll(1)
			return err
		}, "2 of 1"},
		"no room": {func(t *testing.T, a, b *Conn) error {
			a.Send(text{}, pipes(t, 20)...)
			var was unix.Rlimit
			unix.Getrlimit(unix.RLIMIT_NOFILE, &was)
			defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
			unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(highest(t) + 4), Max: was.Max})
			_, err := b.Recv(&text{})
			return err
		}, "RLIMIT_NOFILE"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			if err := c.do(t, a, b); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want something with %q", err, c.want)
			}
		})
	}
	if n := open(t); n != before {
		t.Errorf("%d descriptors, want %d", n, before)
	}
}

// highest is the highest number of a descriptor.
func highest(t *testing.T) int {
	t.Helper()
	probe := pipes(t, 1)
	return probe[0]
}

// Descriptors that have not all arrived, or of which nobody says so, are not taken for given.
func TestSendAllThatIsNotTaken(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(b *Conn)
		want   string
	}{
		"fewer":      {func(b *Conn) { b.Send(batch{1}) }, "1 of 2 have arrived"},
		"no answer":  {func(b *Conn) { b.Close() }, "EOF"},
		"no sense":   {func(b *Conn) { b.c.Write([]byte("{")) }, "read message"},
		"not a word": {func(b *Conn) { b.c.CloseWrite() }, "EOF"},
	} {
		a, b := pair(t)
		ends := pipes(t, 2)
		done := make(chan error, 1)
		go func() { done <- a.SendAll(ends) }()
		var got batch
		fds, err := b.Recv(&got)
		if err != nil || got.Batch != 2 || len(fds) != 2 {
			t.Fatal(got, fds, err)
		}
		closeAll(fds)
		c.answer(b)
		if err := <-done; err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", name, err, c.want)
		}
	}
}

// Descriptors of which the other end cannot be told are given up.
func TestRecvAllWhoseAnswerIsNotHeard(t *testing.T) {
	a, b := pair(t)
	before := open(t)
	if err := a.Send(batch{2}, pipes(t, 2)...); err != nil {
		t.Fatal(err)
	}
	made := open(t) - before // the test's own
	a.Close()
	if fds, err := b.RecvAll(2); err == nil || fds != nil {
		t.Errorf("%v, %v", fds, err)
	}
	if n := open(t); n != before+made-1 {
		t.Errorf("%d descriptors, want %d", n, before+made-1)
	}
}
