package ircd

import (
	"bytes"
	"strings"
	"time"

	"github.com/ergochat/irc-go/ircmsg"
)

// maxLine is the longest line that is run, CR LF included.
const maxLine = maxTags + maxBody

// input is one line of a client.
type input struct {
	ircmsg.Message
	tags string // as they came, without @
}

// param answers the parameter i, or "".
func (in *input) param(i int) string {
	if i < len(in.Params) {
		return in.Params[i]
	}
	return ""
}

// input is the loop's word that bytes came.
func (c *Client) input(*conn) {
	c.heard = time.Now()
	c.pinged = time.Time{}
	c.run()
}

// run runs the whole lines of the receive queue, as far as the flood limit lets it.
func (c *Client) run() {
	q := c.conn.recvq
	done := 0
	for !c.gone {
		end := bytes.IndexByte(q[done:], '\n')
		if end < 0 {
			break
		}
		if !c.mayRun() {
			break
		}
		raw := q[done : done+end]
		done += end + 1
		if c.skipEOL {
			c.skipEOL = false
			continue
		}
		c.runLine(string(bytes.TrimSuffix(raw, []byte{'\r'})))
	}
	if c.conn.state == connOpen && !c.gone {
		c.conn.consume(done)
		c.checkQueue()
	}
}

// checkQueue looks at what run has left over: the beginning of a line, or lines that wait for the flood limit.
func (c *Client) checkQueue() {
	switch q := c.conn.recvq; {
	case bytes.IndexByte(q, '\n') >= 0:
		c.srv.throttled[c] = struct{}{}
		if len(q) > c.srv.cfg.Limits.RecvQ {
			c.quit("RecvQ exceeded")
		}
	case c.skipEOL:
		c.conn.consume(len(q))
	case len(q) > maxLine:
		c.numeric(errInputTooLong, "Input line was too long")
		c.skipEOL = true
		c.conn.consume(len(q))
	}
}

// mayRun charges one line to the flood limit, or answers false.
func (c *Client) mayRun() bool {
	f := c.srv.cfg.Flood
	if f.Lines <= 0 {
		return true
	}
	price, now := f.Per/time.Duration(f.Lines), time.Now()
	if c.credit.Before(now) {
		c.credit = now
	}
	if c.credit.Sub(now) >= price*time.Duration(f.Burst) {
		return false
	}
	c.credit = c.credit.Add(price)
	return true
}

// runLine runs one line without its end.
func (c *Client) runLine(text string) {
	in, ok := c.parse(text)
	if !ok {
		return
	}
	cmd, known := commands[in.Command]
	switch {
	case !known:
		if c.registered {
			c.numeric(errUnknownCommand, in.Command, "Unknown command")
		} else {
			c.numeric(errNotRegistered, "You have not registered")
		}
	case !c.registered && !cmd.early:
		c.numeric(errNotRegistered, "You have not registered")
	case len(in.Params) < cmd.params:
		c.numeric(errNeedMoreParams, in.Command, "Not enough parameters")
	default:
		cmd.run(c, in)
	}
}

// parse lets the library take the line apart, but for the tags, which are only looked at when they are relayed.
func (c *Client) parse(text string) (*input, bool) {
	in := new(input)
	if strings.HasPrefix(text, "@") {
		tags, rest, _ := strings.Cut(text, " ")
		if len(tags)+1 > maxTags {
			c.numeric(errInputTooLong, "Input line was too long")
			return nil, false
		}
		in.tags, text = tags[1:], rest
	}
	msg, err := ircmsg.ParseLineStrict(text, true, maxBody)
	if err != nil && err != ircmsg.ErrorBodyTooLong {
		return nil, false // an empty line, or bytes that no line may have
	}
	in.Message = msg
	return in, true
}
