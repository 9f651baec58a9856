package ircd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/ircclient"
)

// A client that does not read holds nobody up, and is closed when its queue is full.
func TestSendQExceeded(t *testing.T) {
	_, addr := startServer(t, Config{Limits: Limits{SendQ: 100_000}, SocketBuffer: 16 << 10})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	slow := ircclient.Test(t, addr, ircclient.Options{ReadBuf: 8 << 10})
	slow.Register("slow")
	for _, c := range []*ircclient.Tester{alice, bob, slow} {
		c.Join("#c")
	}
	bob.Fence()
	resume := slow.Pause()
	text := "PRIVMSG #c :" + strings.Repeat("x", 400) + "\r\n"
	for quit := false; !quit; {
		alice.Write(strings.Repeat(text, 50))
		for _, l := range alice.Fence() {
			quit = quit || strings.Contains(l.Text, ":slow!~slow@127.0.0.1 QUIT :SendQ exceeded")
		}
	}
	bob.Await("QUIT :SendQ exceeded")
	resume()
	lines := slow.Gone()
	if last := lines[len(lines)-1].Text; !strings.HasPrefix(last, "ERROR") {
		t.Errorf("the last line begins in another one: %q", last)
	}
	mustContain(t, lines[len(lines)-1].Text, "ERROR :Closing link: (~slow@127.0.0.1) [SendQ exceeded]")
	for _, l := range lines[:len(lines)-1] { // whole lines only
		if strings.Contains(l.Text, "PRIVMSG") && !strings.HasSuffix(l.Text, strings.Repeat("x", 400)) {
			t.Fatalf("damaged line %q", l.Text)
		}
	}
}

// A long answer to a client that reads is no SendQ exceeded.
func TestLongAnswer(t *testing.T) {
	_, addr := startServer(t, Config{Limits: Limits{SendQ: 200_000}})
	op := user(t, addr, "op")
	op.Join("#c")
	for i := range 300 {
		op.Ask(fmt.Sprintf("MODE #c +b %d!*@%s", i, strings.Repeat("x", 100)))
	}
	op.Write(strings.Repeat("MODE #c b\r\n", 20))
	n := 0
	for _, l := range op.Fence() {
		if l.Command() == "367" {
			n++
		}
	}
	if n != 6000 {
		t.Errorf("%d entries, want 6000", n)
	}
}

func TestFloodLimitDelays(t *testing.T) {
	_, addr := startServer(t, Config{Flood: Flood{Lines: 100, Per: time.Second, Burst: 10}})
	alice, bob := user(t, addr, "alice"), user(t, addr, "bob")
	start := time.Now()
	for i := range 30 {
		alice.Send(fmt.Sprintf("PRIVMSG bob :%d", i))
	}
	for i := range 30 {
		bob.Expect(fmt.Sprintf("PRIVMSG bob :%d", i))
	}
	if d := time.Since(start); d < 100*time.Millisecond {
		t.Errorf("30 lines in %v", d)
	}
}

func TestRecvQExceeded(t *testing.T) {
	_, addr := startServer(t, Config{Limits: Limits{RecvQ: 1000}, Flood: Flood{Lines: 1, Per: time.Second, Burst: 10}})
	alice := user(t, addr, "alice")
	alice.Write(strings.Repeat("PRIVMSG alice :x\r\n", 200))
	got := ircclient.Texts(alice.Gone())
	mustContain(t, got, "[RecvQ exceeded]")
}

// What was read is counted, whether it was run or not, and what was written.
func TestStreamCounts(t *testing.T) {
	s, addr := startServer(t, Config{Flood: Flood{Lines: 1, Per: time.Hour, Burst: 5}})
	alice := user(t, addr, "alice")
	said := len("NICK alice\r\nUSER alice 0 * :alice the client\r\n")
	alice.Write("PING 1\r\nPING 2\r\nPING 3\r\nPING 4\r\nPING 5\r\nhalf")
	said += 5*len("PING 1\r\n") + 4
	deadline := time.Now().Add(ircclient.Patience)
	for {
		var in, waiting int
		s.do(func() {
			c := s.find("alice").conn
			in, waiting = int(c.in), len(c.recvq)
		})
		if in == said {
			if waiting == 0 {
				t.Error("nothing waits in the receive queue")
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("read %d, want %d", in, said)
		}
	}
}
