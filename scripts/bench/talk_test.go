package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/ircd"
)

func startIRCd(t *testing.T) string {
	t.Helper()
	s, err := ircd.New(ircd.Config{Listen: []ircd.Listener{{Address: "127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { _ = s.Close() })
	return s.Addr().String()
}

func startTalkers(t *testing.T, n int) *talkers {
	t.Helper()
	k, err := newTalkers(startIRCd(t), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	return k
}

func TestTalkersHearEveryLineOnce(t *testing.T) {
	k := startTalkers(t, 50) // the last channel is half full
	if err := k.talkUntil(time.After(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := k.listen(10*time.Second, func() bool { return k.delivered == k.expected() }); err != nil {
		t.Fatalf("%d of %d delivered: %v", k.delivered, k.expected(), err)
	}
	if k.expected() == 0 || k.doubled+k.reordered+len(k.visible) > 0 {
		t.Errorf("expected %d, doubled %d, out of order %d, visible %q", k.expected(), k.doubled, k.reordered, k.visible)
	}
}

func TestTalkersNoticeWhatIsWrong(t *testing.T) {
	k := startTalkers(t, 2)
	now := time.Second
	say := func(n int) string { return fmt.Sprintf(":u1!u1@host PRIVMSG #c0 :%d %d\r\n", n, 900000) }
	input := say(1) + say(2) + say(2) + say(4) + ":u1!u1@host QUIT :gone\r\n"
	// In pieces, as a stream comes.
	for len(input) > 0 {
		piece := input[:min(7, len(input))]
		input = input[len(piece):]
		if err := k.take(0, []byte(piece), now); err != nil {
			t.Fatal(err)
		}
	}
	if k.delivered != 3 || k.doubled != 1 || k.reordered != 1 || len(k.visible) != 1 {
		t.Errorf("delivered %d, doubled %d, out of order %d, visible %q", k.delivered, k.doubled, k.reordered, k.visible)
	}
	if k.delays[0] != 100*time.Millisecond {
		t.Errorf("delay %s", k.delays[0])
	}
}
