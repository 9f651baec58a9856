package ircclient

import (
	"context"
	"strings"
	"time"
)

// TB is what of testing.TB is needed: this package is also built into a program.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
}

// Tester is a Client whose errors end the test.
type Tester struct {
	*Client
	t TB
}

// Test dials; the connection is closed at the end of the test.
func Test(t TB, addr string, opts Options) *Tester {
	t.Helper()
	c, err := Dial(t.Context(), addr, opts)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return &Tester{c, t}
}

// TestUser dials and registers.
func TestUser(t TB, addr, nick string, caps ...string) *Tester {
	t.Helper()
	c := Test(t, addr, Options{})
	c.Register(nick, caps...)
	return c
}

func (c *Tester) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", orDash(c.Nick), err)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Send writes one line.
func (c *Tester) Send(line string) {
	c.t.Helper()
	c.must(c.Client.Send(line))
}

// Write writes bytes as they are.
func (c *Tester) Write(s string) {
	c.t.Helper()
	c.must(c.Client.Write([]byte(s)))
}

// Register registers.
func (c *Tester) Register(nick string, caps ...string) {
	c.t.Helper()
	c.must(c.Client.Register(nick, caps...))
}

// Join joins channels, one after the other.
func (c *Tester) Join(channels ...string) {
	c.t.Helper()
	for _, ch := range channels {
		c.must(c.Client.Join(ch))
	}
}

// Expect takes the next lines, which must contain one text each.
func (c *Tester) Expect(texts ...string) Line {
	c.t.Helper()
	var l Line
	for _, text := range texts {
		var err error
		l, err = c.Client.Expect(text)
		c.must(err)
	}
	return l
}

// Await takes lines up to one that contains text.
func (c *Tester) Await(text string) Line {
	c.t.Helper()
	l, err := c.Client.Await(text)
	c.must(err)
	return l
}

// Fence answers the lines up to the answer of a PING.
func (c *Tester) Fence() []Line {
	c.t.Helper()
	lines, err := c.Client.Fence()
	c.must(err)
	return lines
}

// Silent fences and fails if the server had said anything.
func (c *Tester) Silent() {
	c.t.Helper()
	for _, l := range c.Fence() {
		c.t.Fatalf("%s: unexpected line %q", orDash(c.Nick), l.Text)
	}
}

// Ask sends a line and answers what the server says to it, joined by LF.
func (c *Tester) Ask(line string) string {
	c.t.Helper()
	lines, err := c.Client.Ask(line)
	c.must(err)
	return Texts(lines)
}

// Gone waits for the end of the connection and answers the lines up to it.
func (c *Tester) Gone() []Line {
	c.t.Helper()
	var lines []Line
	deadline := time.Now().Add(Patience)
	for {
		l, err := c.Next(time.Until(deadline))
		if err == ErrTimeout {
			c.t.Fatalf("%s: still connected", orDash(c.Nick))
		}
		if err != nil {
			return lines
		}
		lines = append(lines, l)
	}
}

// Texts joins lines by LF.
func Texts(lines []Line) string {
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.Text
	}
	return strings.Join(texts, "\n")
}
