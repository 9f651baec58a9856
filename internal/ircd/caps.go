package ircd

import (
	"slices"
	"strings"
)

// capSet is a set of IRCv3 capabilities.
type capSet uint16

const (
	capAccountTag capSet = 1 << iota
	capAwayNotify
	capCapNotify
	capEchoMessage
	capMessageTags
	capMultiPrefix
	capServerTime
)

// capNames is in the order of CAP LS. None of ours has a value.
var capNames = []struct {
	cap  capSet
	name string
}{
	{capAccountTag, "account-tag"},
	{capAwayNotify, "away-notify"},
	{capCapNotify, "cap-notify"},
	{capEchoMessage, "echo-message"},
	{capMessageTags, "message-tags"},
	{capMultiPrefix, "multi-prefix"},
	{capServerTime, "server-time"},
}

const allCaps capSet = 1<<7 - 1

func (s capSet) has(c capSet) bool { return s&c != 0 }

// names answers the capabilities of s, joined by spaces.
func (s capSet) names() string {
	var names []string
	for _, c := range capNames {
		if s.has(c.cap) {
			names = append(names, c.name)
		}
	}
	return strings.Join(names, " ")
}

// capByName answers 0 for an unknown name.
func capByName(name string) capSet {
	i := slices.IndexFunc(capNames, func(c struct {
		cap  capSet
		name string
	}) bool {
		return c.name == name
	})
	if i < 0 {
		return 0
	}
	return capNames[i].cap
}

func cmdCap(c *Client, in *input) {
	run, ok := capCommands[strings.ToUpper(in.param(0))]
	if !ok {
		c.numeric(errInvalidCapCmd, in.param(0), "Invalid CAP command")
		return
	}
	run(c, in)
}

var capCommands = map[string]func(*Client, *input){
	"LS":   capLS,
	"LIST": capList,
	"REQ":  capReq,
	"END":  capEnd,
}

func capLS(c *Client, in *input) {
	if in.param(1) >= "302" && len(in.param(1)) == 3 {
		c.capVersion = 302
		c.caps |= capCapNotify // 302 implies it
	}
	c.negotiating = !c.registered
	c.reply("CAP", c.shown(), "LS", allCaps.names())
}

func capList(c *Client, _ *input) {
	c.reply("CAP", c.shown(), "LIST", c.caps.names())
}

// capReq takes all of a request or nothing.
func capReq(c *Client, in *input) {
	c.negotiating = !c.registered
	caps, ok := c.caps, true
	for name := range strings.FieldsSeq(in.param(1)) {
		off := strings.HasPrefix(name, "-")
		bit := capByName(strings.TrimPrefix(name, "-"))
		switch {
		case bit == 0, off && bit == capCapNotify && c.capVersion >= 302:
			ok = false
		case off:
			caps &^= bit
		default:
			caps |= bit
		}
	}
	answer := "NAK"
	if ok {
		answer = "ACK"
		c.caps = caps
	}
	c.reply("CAP", c.shown(), answer, in.param(1))
}

func capEnd(c *Client, _ *input) {
	c.negotiating = false
	c.register()
}
