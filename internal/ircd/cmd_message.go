package ircd

import (
	"strings"
	"time"
)

func cmdPrivmsg(c *Client, in *input) {
	if len(in.Params) > 1 {
		c.spoke = time.Now().Unix()
	}
	c.relay(in, false)
}

// cmdNotice is relayed likewise, but must never be answered (RFC 2812 section 3.3.2).
func cmdNotice(c *Client, in *input) { c.relay(in, true) }

func (c *Client) relay(in *input, silent bool) {
	switch {
	case in.param(0) == "" && !silent:
		c.numeric(errNoRecipient, "No recipient given ("+in.Command+")")
	case in.param(1) == "" && !silent:
		c.numeric(errNoTextToSend, "No text to send")
	case in.param(0) != "" && in.param(1) != "":
		for _, target := range targets(in) {
			c.relayTo(target, in, silent, in.param(1))
		}
	}
}

// cmdTagmsg is tags alone, only for those who asked for tags (IRCv3 message-tags).
func cmdTagmsg(c *Client, in *input) {
	if !c.caps.has(capMessageTags) {
		c.numeric(errUnknownCommand, "TAGMSG", "Unknown command")
		return
	}
	for _, target := range targets(in) {
		c.relayTo(target, in, true)
	}
}

// maxTargets is how many targets of one line are served.
const maxTargets = 20

func targets(in *input) []string {
	list := strings.Split(in.param(0), ",")
	return list[:min(len(list), maxTargets)]
}

// relayTo sends to a channel (or only to its members with a status, @#channel) or to a user.
func (c *Client) relayTo(target string, in *input, silent bool, text ...string) {
	name := strings.TrimLeft(target, "@+")
	if strings.HasPrefix(name, "#") {
		c.relayToChannel(name, target[:len(target)-len(name)], in, silent, text)
		return
	}
	other := c.srv.find(target)
	if other == nil {
		if !silent {
			c.numeric(errNoSuchNick, target, "No such nick")
		}
		return
	}
	m := c.relayed(in, other.nick, text)
	if in.Command != "TAGMSG" || other.caps.has(capMessageTags) {
		other.send(m)
	}
	if other.away != "" && in.Command == "PRIVMSG" {
		c.numeric(rplAway, other.nick, other.away)
	}
	c.echo(m)
}

func (c *Client) relayToChannel(name, status string, in *input, silent bool, text []string) {
	ch := c.srv.channel(name)
	if ch == nil {
		if !silent {
			c.numeric(errNoSuchChannel, name, "No such channel")
		}
		return
	}
	if !ch.maySpeak(c) {
		if !silent {
			c.numeric(errCannotSend, ch.name, "Cannot send to channel")
		}
		return
	}
	m := c.relayed(in, status+ch.name, text)
	need := memberModes(0)
	if strings.Contains(status, "+") {
		need = memberOp | memberVoice
	} else if status != "" {
		need = memberOp
	}
	for _, member := range ch.members {
		to := member.client
		if to == c || need != 0 && member.modes&need == 0 || in.Command == "TAGMSG" && !to.caps.has(capMessageTags) {
			continue
		}
		to.send(m)
	}
	c.echo(m)
}

func (c *Client) relayed(in *input, target string, text []string) *message {
	m := newMessage(c, in.Command, append([]string{target}, text...)...)
	if c.caps.has(capMessageTags) {
		m.tags = clientTags(in.tags)
	}
	return m
}

// echo is IRCv3 echo-message.
func (c *Client) echo(m *message) {
	if c.caps.has(capEchoMessage) {
		c.send(m)
	}
}
