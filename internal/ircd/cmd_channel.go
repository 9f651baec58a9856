package ircd

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

func cmdJoin(c *Client, in *input) {
	if in.param(0) == "0" {
		for len(c.members) > 0 {
			c.part(c.members[0], "")
		}
		return
	}
	keys := strings.Split(in.param(1), ",")
	for i, name := range strings.Split(in.param(0), ",") {
		key := ""
		if i < len(keys) {
			key = keys[i]
		}
		c.join(name, key)
	}
}

func (c *Client) join(name, key string) {
	if !validChannel(name) {
		c.numeric(errBadChanName, name, "Invalid channel name")
		return
	}
	s := c.srv
	ch := s.channel(name)
	if ch != nil && c.member(ch) != nil {
		return
	}
	if len(c.members) >= s.cfg.Limits.Channels {
		c.numeric(errTooManyChannels, name, "You are on too many channels")
		return
	}
	var modes memberModes
	if _, reserved := s.reserved[fold(name)]; reserved {
		c.numeric(errUnavailResource, name, "Nick/channel is temporarily unavailable")
		return
	}
	if ch == nil {
		ch, modes = s.newChannel(name), memberOp
	} else if code, text := ch.refuses(c, key); code != "" {
		c.numeric(code, ch.name, text)
		return
	}
	c.invited = remove(c.invited, fold(name))
	s.joinQuietly(c, ch, modes, time.Now().Unix())
	c.announceJoin(ch)
}

// announceJoin is what all of the channel see of a join, and what the joiner is told.
func (c *Client) announceJoin(ch *Channel) {
	ch.broadcast(newMessage(c, "JOIN", ch.name), nil)
	if c.away != "" {
		m := c.awayMessage()
		for _, member := range ch.members {
			if member.client != c && member.client.caps.has(capAwayNotify) {
				member.client.send(m)
			}
		}
	}
	ch.sendTopic(c)
	ch.sendNames(c)
}

// refuses answers why c may not join, or "".
func (ch *Channel) refuses(c *Client, key string) (code, text string) {
	invited := slices.Contains(c.invited, fold(ch.name))
	switch {
	case ch.banned(c) && !invited:
		return errBannedFromChan, "Cannot join channel (+b)"
	case ch.flags.has('i') && !invited && !ch.listed('I', c):
		return errInviteOnlyChan, "Cannot join channel (+i)"
	case ch.key != "" && ch.key != key && !invited:
		return errBadChannelKey, "Cannot join channel (+k)"
	case ch.limit > 0 && len(ch.members) >= ch.limit && !invited:
		return errChannelIsFull, "Cannot join channel (+l)"
	}
	return "", ""
}

func cmdPart(c *Client, in *input) {
	for _, name := range strings.Split(in.param(0), ",") {
		if m := c.here(name); m != nil {
			c.part(m, cut(in.param(1), kickLen))
		}
	}
}

func (c *Client) part(m *Member, reason string) {
	params := []string{m.channel.name}
	if reason != "" {
		params = append(params, reason)
	}
	m.channel.broadcast(newMessage(c, "PART", params...), nil)
	c.srv.partQuietly(m)
}

// here answers c's membership of a channel, or tells c why there is none.
func (c *Client) here(name string) *Member {
	ch := c.srv.channel(name)
	if ch == nil {
		c.numeric(errNoSuchChannel, name, "No such channel")
		return nil
	}
	m := c.member(ch)
	if m == nil {
		c.numeric(errNotOnChannel, ch.name, "You're not on that channel")
	}
	return m
}

// mayOp is for what only channel operators may do.
func (m *Member) mayOp() bool {
	if m.modes&memberOp == 0 {
		m.client.numeric(errChanOpNeeded, m.channel.name, "You're not a channel operator")
		return false
	}
	return true
}

func cmdTopic(c *Client, in *input) {
	if len(in.Params) == 1 {
		c.showTopic(in.param(0))
		return
	}
	m := c.here(in.param(0))
	if m == nil || m.channel.flags.has('t') && !m.mayOp() {
		return
	}
	ch := m.channel
	ch.topic, ch.topicBy, ch.topicAt = cut(in.param(1), topicLen), c.nick, time.Now().Unix()
	ch.broadcast(newMessage(c, "TOPIC", ch.name, ch.topic), nil)
}

func (c *Client) showTopic(name string) {
	ch := c.srv.channel(name)
	switch {
	case ch == nil || !ch.visible(c):
		c.numeric(errNoSuchChannel, name, "No such channel")
	case ch.topic == "":
		c.numeric(rplNoTopic, ch.name, "No topic is set.")
	default:
		ch.sendTopic(c)
	}
}

func cmdKick(c *Client, in *input) {
	m := c.here(in.param(0))
	if m == nil || !m.mayOp() {
		return
	}
	reason := in.param(2)
	if reason == "" {
		reason = c.nick
	}
	for _, nick := range strings.Split(in.param(1), ",") {
		victim := c.srv.find(nick)
		if victim == nil {
			c.numeric(errNoSuchNick, nick, "No such nick")
			continue
		}
		vm := victim.member(m.channel)
		if vm == nil {
			c.numeric(errUserNotInChannel, victim.nick, m.channel.name, "They are not on that channel")
			continue
		}
		m.channel.broadcast(newMessage(c, "KICK", m.channel.name, victim.nick, cut(reason, kickLen)), nil)
		c.srv.partQuietly(vm)
	}
}

func cmdInvite(c *Client, in *input) {
	switch len(in.Params) {
	case 0:
		for _, name := range c.invited {
			if ch := c.srv.channels[name]; ch != nil {
				c.numeric(rplInviteList, ch.name)
			}
		}
		c.numeric(rplEndOfInvites, "End of INVITE list")
		return
	case 1:
		c.numeric(errNeedMoreParams, "INVITE", "Not enough parameters")
		return
	}
	other := c.srv.find(in.param(0))
	if other == nil {
		c.numeric(errNoSuchNick, in.param(0), "No such nick")
		return
	}
	m := c.here(in.param(1))
	if m == nil || m.channel.flags.has('i') && !m.mayOp() {
		return
	}
	c.invite(other, m.channel)
}

func (c *Client) invite(other *Client, ch *Channel) {
	if other.member(ch) != nil {
		c.numeric(errUserOnChannel, other.nick, ch.name, "is already on channel")
		return
	}
	if f := fold(ch.name); !slices.Contains(other.invited, f) {
		other.invited = append(other.invited, f)
	}
	c.numeric(rplInviting, other.nick, ch.name)
	other.send(newMessage(c, "INVITE", other.nick, ch.name))
	if other.away != "" {
		c.numeric(rplAway, other.nick, other.away)
	}
}

func cmdNames(c *Client, in *input) {
	if in.param(0) == "" {
		c.numeric(rplEndOfNames, "*", "End of /NAMES list.")
		return
	}
	for _, name := range strings.Split(in.param(0), ",") {
		if ch := c.srv.channel(name); ch != nil && ch.visible(c) {
			ch.sendNames(c)
			continue
		}
		c.numeric(rplEndOfNames, name, "End of /NAMES list.")
	}
}

func cmdList(c *Client, in *input) {
	c.numeric(rplListStart, "Channel", "Users Name")
	if in.param(0) == "" {
		for _, ch := range c.srv.channels {
			c.listChannel(ch)
		}
	} else {
		for _, name := range strings.Split(in.param(0), ",") {
			if ch := c.srv.channel(name); ch != nil {
				c.listChannel(ch)
			}
		}
	}
	c.numeric(rplListEnd, "End of channel list.")
}

func (c *Client) listChannel(ch *Channel) {
	if ch.visible(c) {
		c.numeric(rplList, ch.name, strconv.Itoa(len(ch.members)), "["+ch.modeString(c)[0]+"] "+ch.topic)
	}
}
