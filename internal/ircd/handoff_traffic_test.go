package ircd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/ircclient"
)

// Nobody at either ircd sees anything of it, not even who watches.
func TestC2_16HandoffIsInvisible(t *testing.T) {
	a, b, f := twoShips(t)
	alice := f.user("alice")
	alice.Join("#sea")
	watcher := b.client("watcher")
	watcher.Send("OPER root secret")
	watcher.Send("MODE watcher +sw")
	watcher.Send("MONITOR + alice")
	watcher.Await(" 731 ")
	watcher.Fence()
	stays := a.client("stays")
	stays.Send("MONITOR + alice")
	stays.Await(" 730 ")
	f.newMove(a, b).run()
	alice.Silent()
	watcher.Silent()
	stays.Silent()
	mustContain(t, stays.Ask("WHOIS alice"), " 401 ")
	mustContain(t, watcher.Ask("WHOIS alice"), " 311 ")
	if a.srv.Users() != 1 || a.srv.Channels() != 0 || b.srv.Users() != 2 || b.srv.Channels() != 1 {
		t.Fatalf("users %d, %d, channels %d, %d", a.srv.Users(), b.srv.Users(), a.srv.Channels(), b.srv.Channels())
	}
}

// Messages in both directions, through many moves, with half lines at the cut: each once, in order.
func TestC2_13HandoffUnderTraffic(t *testing.T) {
	a, b, f := twoShips(t)
	const clients, moves = 6, 25
	var all []*ircclient.Tester
	for i := range clients {
		c := f.user(fmt.Sprintf("talk%d", i))
		c.Join("#sea")
		all = append(all, c)
	}
	for _, c := range all {
		c.Fence()
	}
	stop, done := make(chan struct{}), make(chan error, 2*clients)
	for i, c := range all {
		go func() { done <- talk(c.Client, i, stop) }()
		go func() { done <- listen(c.Client, i, clients) }()
	}
	from, to := a, b
	for range moves {
		f.newMove(from, to).run()
		from, to = to, from
	}
	close(stop)
	for range 2 * clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// talk sends numbered lines, each in two pieces, and -1 at last.
func talk(c *ircclient.Client, me int, stop <-chan struct{}) error {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return c.Sendf("PRIVMSG #sea :%d -1", me)
		case <-pace.C:
		}
		text := fmt.Sprintf("PRIVMSG #sea :%d %d\r\n", me, n)
		cut := n % len(text)
		if err := c.Write([]byte(text[:cut])); err != nil {
			return err
		}
		if err := c.Write([]byte(text[cut:])); err != nil {
			return err
		}
	}
}

// listen takes the lines of all others, up to their last.
func listen(c *ircclient.Client, me, clients int) error {
	next := make([]int, clients)
	for left := clients - 1; left > 0; {
		l, err := c.Next(20 * time.Second)
		if err != nil {
			return fmt.Errorf("%d at %v: %w", me, next, err)
		}
		var from, n int
		_, err = fmt.Sscanf(l.Text[strings.LastIndex(l.Text, ":")+1:], "%d %d", &from, &n)
		switch {
		case err != nil || n >= 0 && n != next[from]:
			return fmt.Errorf("%d at %v: %q", me, next, l.Text)
		case n < 0:
			left--
		default:
			next[from]++
		}
	}
	return nil
}

// With a quit reason those who stay see ordinary quits.
func TestHandoffVisibleRelease(t *testing.T) {
	a, b, f := twoShips(t)
	alice := f.user("alice")
	alice.Join("#sea")
	stays := a.client("stays")
	stays.Join("#sea")
	alice.Await("JOIN")
	m := f.newMove(a, b)
	m.stage()
	m.freeze()
	noErr(t, m.export())
	m.finish("Moved elsewhere")
	alice.Silent()
	mustContain(t, stays.Await("QUIT").Text, ":alice!", "QUIT", ":Moved elsewhere")
}
