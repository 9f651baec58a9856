package track

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/ircd"
)

// tracked is a client whose bytes of both directions pass a record, in the pieces in which they come.
type tracked struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	rec  *Record
}

func (c *tracked) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p[:min(len(p), 1+rand.IntN(200))])
	c.rec.FromIRCd(p[:n])
	return n, err
}

func (c *tracked) say(format string, args ...any) {
	line := fmt.Appendf(nil, format+"\r\n", args...)
	c.rec.FromClient(line[:len(line)/2])
	c.rec.FromClient(line[len(line)/2:])
	if _, err := c.conn.Write(line); err != nil {
		c.t.Fatal(err)
	}
}

// fence answers the lines up to the answer to a PING.
func (c *tracked) fence() (lines []string) {
	c.say("PING fence")
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		if strings.Contains(line, " PONG ") {
			return lines
		}
		lines = append(lines, strings.TrimRight(line, "\r\n"))
	}
}

// ask answers what an ircd says to a question, behind the numeric.
func (c *tracked) ask(question string) map[string][]string {
	c.fence()
	c.say("%s", question)
	answers := map[string][]string{}
	for _, line := range c.fence() {
		if w := strings.SplitN(line, " ", 4); len(w) == 4 {
			answers[w[1]] = append(answers[w[1]], w[3])
		}
	}
	return answers
}

// What a record says of its user is what the ircd says when it is asked, after anything that users can do.
func TestRecordIsWhatTheIrcdSays(t *testing.T) {
	srv, err := ircd.New(ircd.Config{Listen: []ircd.Listener{{Address: "127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Close() })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	net1 := NewNetwork()
	users := make([]*tracked, 6)
	for i := range users {
		users[i] = login(t, srv.Addr().String(), net1.New(), fmt.Sprintf("user%d", i), rnd.IntN(2) == 0)
	}
	for range 60 {
		for range 10 {
			act(rnd, users)
		}
		for _, u := range users {
			u.fence()
		}
		for _, u := range users {
			compareWithIrcd(t, u)
		}
		if t.Failed() {
			return
		}
	}
}

func login(t *testing.T, addr string, rec *Record, nick string, multiPrefix bool) *tracked {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &tracked{t: t, conn: conn, rec: rec}
	c.in = bufio.NewReader(io.Reader(c))
	c.say("NICK %s", nick)
	c.say("USER %s 0 * :%s", nick, nick)
	if multiPrefix {
		c.say("CAP REQ multi-prefix")
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, " 001 ") {
			if multiPrefix {
				c.say("CAP END")
			}
			return c
		}
		if strings.Contains(line, " ACK ") {
			c.say("CAP END")
		}
	}
}

// act is something that a user does; much of it is refused.
func act(rnd *rand.Rand, users []*tracked) {
	u, other := users[rnd.IntN(len(users))], users[rnd.IntN(len(users))]
	channel := []string{"#a", "#B", "#[c]"}[rnd.IntN(3)]
	if rnd.IntN(2) == 0 {
		channel = strings.ToLower(channel)
	}
	switch rnd.IntN(12) {
	case 0, 1, 2:
		u.say("JOIN %s", channel)
	case 3:
		u.say("PART %s :bye", channel)
	case 4:
		u.say("MODE %s %sov %s %s", channel, []string{"+", "-"}[rnd.IntN(2)], other.rec.Nick(), other.rec.Nick())
	case 5:
		u.say("MODE %s +blv-k+o x!*@* 30 %s key %s", channel, other.rec.Nick(), u.rec.Nick())
	case 6:
		u.say("KICK %s %s :out", channel, other.rec.Nick())
	case 7:
		u.say("NICK %s", []string{"Anna", "[ben]", "{BEN}", "carl", "dan"}[rnd.IntN(5)])
	case 8:
		u.say("TOPIC %s :topic %d", channel, rnd.IntN(100))
	case 9:
		u.say("AWAY :%s", strings.Repeat("away ", rnd.IntN(3)))
	case 10:
		u.say("MODE %s %s%s", u.rec.Nick(), []string{"+", "-"}[rnd.IntN(2)], []string{"i", "w", "iw"}[rnd.IntN(3)])
	case 11:
		u.say("MONITOR %s %s,mon%d", []string{"+", "-"}[rnd.IntN(2)], other.rec.Nick(), rnd.IntN(4))
	}
}

func compareWithIrcd(t *testing.T, u *tracked) {
	t.Helper()
	u.fence()
	rec := u.rec
	modes, channels, away, monitor := rec.Modes(), rec.Channels(), rec.Away(), rec.List(Monitor)
	if got := u.ask("MODE " + rec.Nick())["221"]; len(got) != 1 || letters(got[0]) != modes {
		t.Errorf("%s has modes %q, the ircd says %q", rec.Nick(), modes, got)
	}
	whois := u.ask("WHOIS " + rec.Nick())
	if got := whois["301"]; away == "" != (len(got) == 0) || away != "" && !strings.HasSuffix(got[0], ":"+away) {
		t.Errorf("%s is away %q, the ircd says %q", rec.Nick(), away, got)
	}
	var want, got []string
	for _, m := range channels {
		status := strings.NewReplacer("o", "@", "v", "+").Replace(m.Status)
		if !slices.Contains(rec.Caps(), "multi-prefix") {
			status = status[:min(1, len(status))]
		}
		want = append(want, status+m.Channel.Name)
	}
	for _, line := range whois["319"] {
		_, list, _ := strings.Cut(line, ":")
		got = append(got, strings.Fields(list)...)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s is on %q, the ircd says %q", rec.Nick(), want, got)
	}
	for _, m := range channels {
		got := u.ask("TOPIC " + m.Channel.Name)
		if topic := strings.Join(got["332"], ""); m.Channel.Topic == "" != (topic == "") || !strings.HasSuffix(topic, m.Channel.Topic) {
			t.Errorf("topic of %s is %q, the ircd says %q", m.Channel.Name, m.Channel.Topic, topic)
		}
	}
	var listed []string
	for _, line := range u.ask("MONITOR L")["732"] {
		listed = append(listed, strings.Split(strings.TrimPrefix(line, ":"), ",")...)
	}
	for i := range listed {
		listed[i] = rec.net.fold(listed[i])
	}
	for i := range monitor {
		monitor[i] = rec.net.fold(monitor[i])
	}
	slices.Sort(listed)
	slices.Sort(monitor)
	if !slices.Equal(listed, monitor) {
		t.Errorf("%s monitors %q, the ircd says %q", rec.Nick(), monitor, listed)
	}
}

// letters are the modes of 221 in order.
func letters(modes string) string {
	var r Record
	r.userModes(strings.TrimPrefix(modes, ":"))
	return r.Modes()
}
