package keeper

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is given outlives the connection, comes back as duplicates in any number, and is closed when it is dropped.
func TestKeepTakeDrop(t *testing.T) {
	k := run(t, ServerOptions{})
	before := openFDs(t)
	a, _ := claimed(t, k.socket)
	const n = 3*maxBatch + 7
	ends := map[Tag]int{}
	for tag := Tag(1); tag <= n; tag++ {
		ends[tag<<32|tag] = given(t, a, tag<<32|tag)
	}
	memory, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil || a.KeepMemory("other", memory) != nil || a.KeepMemory("arena", memory) != nil || a.KeepMemory("other", -1) != nil {
		t.Fatal(err)
	}
	a.Close()

	b, _ := claimed(t, k.socket)
	kept, err := b.Take(within(t))
	if err != nil || len(kept.Descriptors) != n || len(kept.Memory) != 1 || !same(t, kept.Memory["arena"], memory) {
		t.Fatal(len(kept.Descriptors), kept.Memory, err)
	}
	for tag, r := range ends {
		if unix.Write(kept.Descriptors[tag], []byte{1}); !open(t, r) {
			t.Fatalf("tag %#x: another descriptor, or none", tag)
		}
	}
	for _, fd := range kept.Descriptors {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Fatalf("a descriptor would go to children (%v)", err)
		}
	}
	kept.Close()
	for tag := range ends {
		if err := b.Drop(tag); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := b.Ping(within(t)); err != nil || st.Descriptors != 0 || st.Memory != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	for tag, r := range ends {
		if open(t, r) {
			t.Fatalf("tag %#x is dropped and still open", tag)
		}
		unix.Close(r)
	}
	if err := b.Clear(within(t)); err != nil {
		t.Fatal(err)
	}
	if st, _ := b.Ping(within(t)); st.Memory != 0 {
		t.Errorf("behind a clear: %+v", st)
	}
	unix.Close(memory)
	b.Close()
	eventually(t, "the keeper has closed the connections", func() bool { return openFDs(t) <= before })
}

// A tag that is given again has the new descriptor, and the old one is closed.
func TestTagGivenAgain(t *testing.T) {
	k := run(t, ServerOptions{})
	c, _ := claimed(t, k.socket)
	first, second := given(t, c, 7), given(t, c, 7)
	if st, err := c.Ping(within(t)); err != nil || st.Descriptors != 1 {
		t.Fatal(st, err)
	}
	if open(t, first) || !open(t, second) {
		t.Error("the first descriptor of a tag is still kept, or the second is not")
	}
}

// What finds the socket full is busy, not lost: it goes when there is room, and a Drop before a Keep stays before it.
func TestFullSocket(t *testing.T) {
	var h holding
	k := run(t, ServerOptions{atTurn: h.turn})
	c, _ := claimed(t, k.socket)
	r, w := pipe(t)
	release := h.hold(t, k)
	n := Tag(0)
	for ; ; n++ {
		if err := c.Keep(n+1, w); errors.Is(err, ErrBusy) {
			break
		} else if err != nil || n > 1<<20 {
			t.Fatal(n, err)
		}
	}
	began := time.Now()
	if err := c.Drop(1, 2, 3); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("a drop has waited %v", took)
	}
	ready := make(chan struct{})
	c.Ready(func() { close(ready) })
	select {
	case <-ready:
		t.Error("ready, and nothing was read")
	default:
	}
	release()
	select {
	case <-ready:
	case <-within(t).Done():
		t.Fatal("never ready")
	}
	if err := keepSoon(c, 2, w); err != nil {
		t.Fatal(err)
	}
	st, err := c.Ping(within(t))
	if want := int(n) - 3 + 1; err != nil || st.Descriptors != want {
		t.Errorf("%d descriptors are kept, want %d (%v)", st.Descriptors, want, err)
	}
	unix.Close(w)
	if !open(t, r) {
		t.Error("nothing is kept")
	}
}

// Where the keeper has no room, who gave is told by tag.
func TestNoRoom(t *testing.T) {
	k := run(t, ServerOptions{max: 5})
	c, l := claimed(t, k.socket)
	_, w := pipe(t)
	defer unix.Close(w)
	for tag := Tag(1); tag <= 5; tag++ {
		if err := c.Keep(tag, w); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.KeepAll([]Tag{3, 8, 9}, []int{w, w, w}); err != nil {
		t.Fatal(err)
	}
	<-l.told
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tags) != 2 || l.tags[0] != 8 || l.tags[1] != 9 || !errors.Is(l.errs[0], ErrFull) {
		t.Errorf("lost %v: %v", l.tags, l.errs)
	}
}

// Grace: without a daemon that serves all is held that long, and a daemon that comes and goes without serving does not prolong it.
func TestGrace(t *testing.T) {
	k := run(t, ServerOptions{Grace: 300 * time.Millisecond})
	a, _ := claimed(t, k.socket)
	if err := a.Serving(); err != nil {
		t.Fatal(err)
	}
	r := given(t, a, 1)
	if _, err := a.Ping(within(t)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(400 * time.Millisecond) // a daemon is there: no time runs
	if !open(t, r) {
		t.Fatal("closed while a daemon was there")
	}
	a.Close()
	gone := time.Now()
	for open(t, r) {
		if b, err := Dial(within(t), k.socket, Options{}); err == nil { // a daemon that crashes as it starts, again and again
			b.Claim(within(t), nil) //nolint:errcheck // the one before may not have been noticed yet
			b.Close()
		}
		if time.Since(gone) > 30*time.Second {
			t.Fatal("never closed")
		}
	}
	if took := time.Since(gone); took < 250*time.Millisecond {
		t.Errorf("closed after %v already", took)
	}
	b, _ := claimed(t, k.socket)
	if kept, err := b.Take(within(t)); err != nil || len(kept.Descriptors) != 0 {
		t.Error(kept, err)
	}
}

// A daemon that was stopped and ends before it has cleared leaves nothing.
func TestEnding(t *testing.T) {
	k := run(t, ServerOptions{Grace: time.Hour})
	a, _ := claimed(t, k.socket)
	r := given(t, a, 1)
	if err := a.Ending(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Ping(within(t)); err != nil || !open(t, r) {
		t.Error("closed while the daemon was still there", err)
	}
	a.Close()
	eventually(t, "what an ending daemon had is closed", func() bool { return !open(t, r) })
}

// A keeper that is there for one daemon ends with it, when nothing is left to hold.
func TestEndsWithTheDaemon(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o700)
	s, err := Listen(ServerOptions{Socket: dir + "/s", Grace: time.Hour, Ends: true})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	a, _ := claimed(t, dir+"/s")
	r := given(t, a, 1)
	a.Close()
	b, _ := claimed(t, dir+"/s")
	if !open(t, r) {
		t.Error("it has ended with the first")
	}
	if err := b.Clear(within(t)); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
