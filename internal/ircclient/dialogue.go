package ircclient

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrTimeout is what Next answers when nothing came.
var ErrTimeout = errors.New("no line in time")

// Next takes the next queued line.
func (c *Client) Next(timeout time.Duration) (Line, error) {
	var timer <-chan time.Time
	for {
		c.mu.Lock()
		if len(c.lines) > 0 {
			l := c.lines[0]
			c.lines = c.lines[1:]
			c.mu.Unlock()
			return l, nil
		}
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return Line{}, err
		}
		if timer == nil {
			timer = time.After(timeout)
		}
		select {
		case <-c.news:
		case <-timer:
			return Line{}, ErrTimeout
		}
	}
}

// Expect takes the next line, which must contain text.
func (c *Client) Expect(text string) (Line, error) {
	l, err := c.Next(Patience)
	if err != nil {
		return l, fmt.Errorf("expect %q: %w", text, err)
	}
	if !strings.Contains(l.Text, text) {
		return l, fmt.Errorf("expect %q: got %q", text, l.Text)
	}
	return l, nil
}

// Await takes lines up to one that contains text, and answers it; the others are dropped.
func (c *Client) Await(text string) (Line, error) {
	deadline := time.Now().Add(Patience)
	var last string
	for {
		l, err := c.Next(time.Until(deadline))
		if err != nil {
			return l, fmt.Errorf("await %q: %w (last line %q)", text, err, last)
		}
		if last = l.Text; strings.Contains(last, text) {
			return l, nil
		}
	}
}

// Fence asks the server PING and answers all queued lines up to its PONG: whatever was sent before has been run. A client with
// a handler has given the lines to it by then.
func (c *Client) Fence() ([]Line, error) {
	c.mu.Lock()
	c.fences++
	token := fmt.Sprintf("fence-%d", c.fences)
	handled := c.handler != nil
	passed := make(chan struct{})
	if handled {
		if c.waiting == nil {
			c.waiting = make(map[string]chan struct{})
		}
		c.waiting[token] = passed
	}
	c.mu.Unlock()
	if err := c.Send("PING " + token); err != nil {
		return nil, fmt.Errorf("fence: %w", err)
	}
	if !handled {
		return c.fenceQueued(token)
	}
	select {
	case <-passed:
		return nil, nil
	case <-c.done:
		return nil, fmt.Errorf("fence: %w", c.Err())
	case <-time.After(Patience):
		return nil, fmt.Errorf("fence: %w", ErrTimeout)
	}
}

func (c *Client) fenceQueued(token string) ([]Line, error) {
	var before []Line
	deadline := time.Now().Add(Patience)
	for {
		l, err := c.Next(time.Until(deadline))
		if err != nil {
			return before, fmt.Errorf("fence: %w", err)
		}
		if l.Command() == "PONG" && l.Param(1) == token {
			return before, nil
		}
		before = append(before, l)
	}
}

// Ask sends a line, fences, and answers the lines between.
func (c *Client) Ask(line string) ([]Line, error) {
	if err := c.Send(line); err != nil {
		return nil, err
	}
	return c.Fence()
}

// queued lets f have the lines to itself; a handler gets those that f has not taken.
func (c *Client) queued(f func() error) error {
	c.mu.Lock()
	handler := c.handler
	c.handler = nil
	c.mu.Unlock()
	if handler != nil {
		defer c.Handle(handler)
	}
	return f()
}

// Register says CAP (if caps are given), NICK and USER, and returns after the end of the MOTD. A handler does not see it.
func (c *Client) Register(nick string, caps ...string) error {
	return c.queued(func() error { return c.register(nick, caps) })
}

func (c *Client) register(nick string, caps []string) error {
	c.Nick = nick
	if len(caps) > 0 {
		c.Send("CAP LS 302")
		c.Send("CAP REQ :" + strings.Join(caps, " "))
	}
	c.Send("NICK " + nick)
	c.Send("USER " + strings.ToLower(nick) + " 0 * :" + nick + " the client")
	if len(caps) > 0 {
		if _, err := c.Await(" ACK "); err != nil {
			return fmt.Errorf("register %s: %w", nick, err)
		}
		c.Send("CAP END")
	}
	deadline := time.Now().Add(Patience)
	for {
		l, err := c.Next(time.Until(deadline))
		if err != nil {
			return fmt.Errorf("register %s: %w", nick, err)
		}
		switch l.Command() {
		case "376", "422":
			return nil
		case "432", "433", "465", "ERROR":
			return fmt.Errorf("register %s: %s", nick, l.Text)
		}
	}
}

// Join joins a channel and returns after the end of its names; other lines up to there are dropped, unseen by a handler.
func (c *Client) Join(channel string) error {
	return c.queued(func() error { return c.join(channel) })
}

func (c *Client) join(channel string) error {
	if err := c.Send("JOIN " + channel); err != nil {
		return err
	}
	_, err := c.Await(" 366 " + c.Nick + " " + channel + " ")
	return err
}
