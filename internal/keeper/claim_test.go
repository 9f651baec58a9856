package keeper

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// One daemon at a time writes.
func TestOneWriter(t *testing.T) {
	k := run(t, ServerOptions{})
	a, _ := claimed(t, k.socket)
	r := given(t, a, 1)
	b, _ := dial(t, k.socket)
	var held *HeldError
	if err := b.Claim(within(t), nil); !errors.As(err, &held) || held.PID != unix.Getpid() {
		t.Errorf("claimed beside one that lives: %v", err)
	}
	if err := b.Claim(within(t), make(Ticket, ticketSize)); !errors.As(err, &held) {
		t.Errorf("claimed with no ticket drawn: %v", err)
	}
	if err := b.Drop(1); err != nil {
		t.Fatal(err)
	}
	other, w := pipe(t)
	if err := keepSoon(b, 2, w); err != nil && !errors.Is(err, ErrFenced) { // it may have heard so already
		t.Fatal(err)
	}
	unix.Close(w)
	if err := b.Clear(within(t)); !errors.Is(err, ErrFenced) {
		t.Errorf("clear: %v", err)
	}
	if _, err := b.Take(within(t)); !errors.Is(err, ErrFenced) {
		t.Errorf("take: %v", err)
	}
	if open(t, other) || !open(t, r) {
		t.Error("one without the claim was taken at its word")
	}
	if err := b.Keep(3, r); !errors.Is(err, ErrFenced) {
		t.Errorf("keep behind a refusal: %v", err)
	}
}

// A successor has the claim by a ticket; from then on nothing of the one before is taken, which has it again if the successor ends.
func TestPassedOn(t *testing.T) {
	k := run(t, ServerOptions{})
	a, _ := claimed(t, k.socket)
	r := given(t, a, 1)
	void, err := a.Pass(within(t))
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := a.Pass(within(t))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := dial(t, k.socket)
	if err := b.Claim(within(t), void); err == nil {
		t.Fatal("claimed with a ticket that is void")
	}
	last := given(t, a, 2) // sent before the claim: taken
	if err := b.Claim(within(t), ticket); err != nil {
		t.Fatal(err)
	}
	if err := a.Drop(1); err != nil {
		t.Fatal(err)
	}
	stale, w := pipe(t)
	if err := keepSoon(a, 3, w); err != nil && !errors.Is(err, ErrFenced) { // it may have heard so already
		t.Fatal(err)
	}
	unix.Close(w)
	if _, err := a.Pass(within(t)); !errors.Is(err, ErrFenced) {
		t.Errorf("pass: %v", err)
	}
	if !open(t, r) || !open(t, last) || open(t, stale) {
		t.Error("the one before was taken at its word, or what it had said before was not")
	}
	if err := a.Claim(within(t), ticket); err == nil {
		t.Error("claimed with a ticket that was used")
	}
	b.Close()
	if err := a.Claim(within(t), nil); err != nil {
		t.Fatalf("claim behind a successor that has failed: %v", err)
	}
	again := given(t, a, 3)
	if _, err := a.Ping(within(t)); err != nil || !open(t, again) || !open(t, r) {
		t.Error("the one before does not go on", err)
	}
}

// What a daemon had sent before it died is taken before another one has the claim, also if it died with answers unread: then ECONNRESET comes first.
func TestSentBeforeTheEnd(t *testing.T) {
	var h holding
	k := run(t, ServerOptions{atTurn: h.turn})
	a := rawDaemon(t, k.socket)
	a.send(t, golden(verbHello))
	a.await(t)
	b, _ := dial(t, k.socket)
	a.send(t, golden(verbClaim))
	eventually(t, "the first has the claim", func() bool {
		st, err := b.Ping(within(t))
		return err == nil && st.Epoch == 1
	})
	release := h.hold(t, k)
	granted := make(chan error, 1)
	go func() { granted <- b.Claim(within(t), nil) }()
	eventually(t, "the claim is sent", func() bool { return queued(t, b) }) // and so it is looked at before what comes now
	var ends []int
	for tag := Tag(1); tag <= 200; tag++ {
		r, w := pipe(t)
		a.send(t, appendTags(header(nil, verbKeep, 0), []Tag{tag}), w)
		unix.Close(w)
		ends = append(ends, r)
	}
	unix.Close(a.fd)
	release()
	if err := <-granted; err != nil {
		t.Fatal(err)
	}
	for i, r := range ends {
		if !open(t, r) {
			t.Fatalf("descriptor %d of %d is lost", i+1, len(ends))
		}
	}
	if kept, err := b.Take(within(t)); err != nil || len(kept.Descriptors) != len(ends) {
		t.Fatal(len(kept.Descriptors), err)
	} else {
		kept.Close()
	}
}

// queued reports whether something that a client has sent was not read yet.
func queued(t *testing.T, c *Client) (is bool) {
	t.Helper()
	if err := c.raw.Control(func(fd uintptr) {
		n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		is = err == nil && n > 0
	}); err != nil {
		t.Fatal(err)
	}
	return is
}
