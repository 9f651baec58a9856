package ircd

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

func cmdWho(c *Client, in *input) {
	mask := in.param(0)
	opersOnly := in.param(1) == "o"
	show := func(other *Client, m *Member) {
		if !opersOnly || other.oper != "" {
			c.sendWho(other, m)
		}
	}
	switch {
	case strings.HasPrefix(mask, "#"):
		c.whoChannel(mask, show)
	case c.srv.find(mask) != nil:
		show(c.srv.find(mask), nil)
	default:
		c.whoMask(mask, show)
	}
	c.numeric(rplEndOfWho, orStar(mask), "End of /WHO list.")
}

func (c *Client) whoChannel(name string, show func(*Client, *Member)) {
	ch := c.srv.channel(name)
	if ch == nil || !ch.visible(c) {
		return
	}
	inside := c.member(ch) != nil
	for _, m := range ch.members {
		if inside || c.oper != "" || !m.client.modes.has('i') {
			show(m.client, m)
		}
	}
}

func (c *Client) whoMask(mask string, show func(*Client, *Member)) {
	if mask == "" || mask == "0" {
		mask = "*"
	}
	for other := range c.srv.clients {
		if !other.registered || other.modes.has('i') && other != c && c.oper == "" && !c.shares(other) {
			continue
		}
		if match(mask, other.nick) || match(mask, other.dispHost) || match(mask, other.realname) || match(mask, c.srv.cfg.Name) {
			show(other, nil)
		}
	}
}

// sendWho is one 352. Without a channel of its own the line names one that both may know of.
func (c *Client) sendWho(other *Client, m *Member) {
	for i := 0; m == nil && i < len(other.members); i++ {
		if other.members[i].channel.visible(c) {
			m = other.members[i]
		}
	}
	channel, flags := "*", "H"
	if other.away != "" {
		flags = "G"
	}
	if other.oper != "" {
		flags += "*"
	}
	if m != nil {
		channel = m.channel.name
		flags += m.modes.prefixes(c.caps.has(capMultiPrefix))
	}
	c.numeric(rplWhoReply, channel, other.ident, other.dispHost, c.srv.cfg.Name, other.nick, flags, "0 "+other.realname)
}

func cmdWhois(c *Client, in *input) {
	nick := in.Params[len(in.Params)-1] // WHOIS server nick asks that server: it is us
	other := c.srv.find(nick)
	if other == nil {
		c.numeric(errNoSuchNick, nick, "No such nick")
	} else {
		c.sendWhois(other)
	}
	c.numeric(rplEndOfWhois, nick, "End of /WHOIS list.")
}

func (c *Client) sendWhois(o *Client) {
	s, inside := c.srv, c == o || c.oper != ""
	c.numeric(rplWhoisUser, o.nick, o.ident, o.dispHost, "*", o.realname)
	if inside {
		c.numeric(rplWhoisHost, o.nick, fmt.Sprintf("is connecting from %s@%s %s", o.ident, o.realHost, hostOf(o.ip)))
	}
	c.inChunks(c.whoisChannels(o), func(part string) { c.numeric(rplWhoisChannels, o.nick, part) })
	c.numeric(rplWhoisServer, o.nick, s.cfg.Name, s.cfg.Network+" IRC server")
	if o.away != "" {
		c.numeric(rplAway, o.nick, o.away)
	}
	if o.oper != "" {
		c.numeric(rplWhoisOperator, o.nick, "is an IRC operator")
	}
	if o.account != "" {
		c.numeric(rplWhoisAccount, o.nick, o.account, "is logged in as")
	}
	if o.tls != "" {
		text := "is using a secure connection"
		if inside {
			text += " [" + o.tls + "]"
		}
		c.numeric(rplWhoisSecure, o.nick, text)
	}
	if o.certfp != "" && inside {
		c.numeric(rplWhoisCertFP, o.nick, "has client certificate fingerprint "+o.certfp)
	}
	idle := max(0, time.Now().Unix()-o.spoke)
	c.numeric(rplWhoisIdle, o.nick, strconv.FormatInt(idle, 10), strconv.FormatInt(o.signon, 10), "seconds idle, signon time")
}

// whoisChannels answers the channels of o that c may know of, with o's status in them.
func (c *Client) whoisChannels(o *Client) []string {
	var names []string
	for _, m := range o.members {
		if m.channel.visible(c) && (c == o || c.oper != "" || !o.modes.has('i') || c.member(m.channel) != nil) {
			names = append(names, m.modes.prefixes(c.caps.has(capMultiPrefix))+m.channel.name)
		}
	}
	return names
}

func cmdUserhost(c *Client, in *input) {
	var found []string
	for _, nick := range in.Params[:min(len(in.Params), 5)] {
		o := c.srv.find(nick)
		if o == nil {
			continue
		}
		star, away := "", "+"
		if o.oper != "" {
			star = "*"
		}
		if o.away != "" {
			away = "-"
		}
		found = append(found, o.nick+star+"="+away+o.ident+"@"+o.dispHost)
	}
	c.numeric(rplUserhost, strings.Join(found, " "))
}

func cmdIson(c *Client, in *input) {
	var found []string
	for _, param := range in.Params {
		for nick := range strings.FieldsSeq(param) {
			if o := c.srv.find(nick); o != nil {
				found = append(found, o.nick)
			}
		}
	}
	c.numeric(rplISON, strings.Join(found, " "))
}
