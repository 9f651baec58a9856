package protocol

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Mistakes that were made here by `make mutate` and that no test had noticed.

// piped is a Control on a connection of its own to the server, after HELLO. It is for bubbles.
func piped(t *testing.T, s *Server) *Control {
	t.Helper()
	near, far := net.Pipe()
	go s.ServeControl(far)
	c := NewControl(near)
	t.Cleanup(func() { c.Close() })
	_, err := c.Hello(t.Context(), Hello{Name: "i"})
	noError(t, err)
	return c
}

// The time for the first line does not end a stream that has said it.
func TestAnOpenedStreamMayBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(newFakeIrcd(), Config{})
		near, far := net.Pipe()
		defer near.Close()
		go s.ServeStream(far)
		in := bufio.NewReader(near)
		if _, err := near.Write(AppendOpen(nil, Open{SKey: s.skey, U: "i.9", Remote: testRemote, Local: testLocal})); err != nil {
			t.Fatal(err)
		}
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, VerbOpened+" ") {
			t.Fatalf("got %q, %v", line, err)
		}
		go near.Write([]byte("early\n"))
		if line, err := in.ReadString('\n'); line != "got:early\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		time.Sleep(2 * firstLineTime)
		go near.Write([]byte("late\n"))
		if line, err := in.ReadString('\n'); line != "late\n" {
			t.Errorf("got %q, %v", line, err)
		}
	})
}

// selecting remembers for whom the world was frozen.
type selecting struct {
	*fakeIrcd
	mu  sync.Mutex
	got []Selection
}

func (s *selecting) Freeze(ctx context.Context, sel []Selection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = slices.Clone(sel)
	return s.fakeIrcd.Freeze(ctx, sel)
}

func TestTheIrcdHearsWhoIsSelected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ircd := &selecting{fakeIrcd: newFakeIrcd()}
		c := piped(t, NewServer(ircd, Config{}))
		want := []Selection{{"i.1", 10}, {"i.2", 20}}
		_, err := c.Export(t.Context(), ExportRequest{Tx: NewSecret(), Freeze: time.Second, Select: want}, nil)
		noError(t, err)
		ircd.mu.Lock()
		defer ircd.mu.Unlock()
		if !slices.Equal(ircd.got, want) {
			t.Errorf("got %v, want %v", ircd.got, want)
		}
	})
}

// Only the connection that has stopped the world lets it go on by its end.
func TestTheEndOfAnotherConnectionThawsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ircd := newFakeIrcd()
		s := NewServer(ircd, Config{})
		c, other, tx := piped(t, s), piped(t, s), NewSecret()
		_, err := c.Export(t.Context(), ExportRequest{Tx: tx, Freeze: time.Second}, nil)
		noError(t, err)
		other.Close()
		synctest.Wait()
		wantStatus(t, c, tx, SourceFrozen, DestUnknown)
		c.Close()
		synctest.Wait()
		if n := ircd.count("resume"); n != 1 {
			t.Errorf("resumed %d times", n)
		}
	})
}

func TestWhoseStreamAnIdIs(t *testing.T) {
	for u, want := range map[string]bool{"f1.a": true, "f1-a": true, "f1_a": true, "f1xa": false, "f1": false, "f2.a": false, "": false} {
		if got := Movable(u, "f1"); got != want {
			t.Errorf("%q is movable for f1: %t", u, got)
		}
	}
	if !Movable("x", "") || Movable("", "") {
		t.Error("a coordinator without a name is not asked for everybody")
	}
}

func TestAClosedControlIsBroken(t *testing.T) {
	c, _ := pipe(t)
	if c.Broken() {
		t.Error("broken at its beginning")
	}
	c.Close()
	if !c.Broken() {
		t.Error("not broken when it is closed")
	}
}

func TestWhatCannotBeWrittenAsALine(t *testing.T) {
	many := NewMessage("A")
	for i := range MaxFields + 1 {
		many.Fields = append(many.Fields, Field{Key: fmt.Sprint("k", i), Value: "1"})
	}
	for what, m := range map[string]Message{"no verb": {}, "too many keys": many} {
		if err := m.Check(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for _, line := range []string{"USER u=a nick=a in=x out=1", "USER u=a nick=a in=1 out=x"} {
		m, err := Parse([]byte(line))
		noError(t, err)
		if err := Validate(m); err == nil {
			t.Errorf("%s: passed", line)
		}
	}
}

func TestDATAAddsNoKeyTooMany(t *testing.T) {
	rec := NewUser("a", "a").Message
	for len(rec.Fields) < MaxFields {
		rec.Set(fmt.Sprint("x.", len(rec.Fields)), "1")
	}
	var j Joiner
	if _, _, err := j.Add(rec, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.Add(NewMessage(VerbData, "k", "x.more", "d", "1"), 0); err == nil || !strings.Contains(err.Error(), "too many keys") {
		t.Errorf("got %v", err)
	}
}

func TestModesAndKeysAsTheyAreWritten(t *testing.T) {
	ch := NewChan("#sea", 1000)
	ch.SetMode("noextmsg")
	if line := string(ch.Append(nil)); !strings.Contains(line, " m.noextmsg\n") {
		t.Errorf("got %q", line)
	}
	bad := NewMessage("A")
	bad.Fields = []Field{{Key: "k y", Value: "1"}}
	if err := bad.Check(); err == nil {
		t.Error("a key with a space can be written")
	}
}
