package ircd

import (
	"slices"
	"strconv"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// exporter writes records.
type exporter struct {
	emit func(protocol.Message) error
	peek bool
	now  time.Time
}

func (x *exporter) export(users []*Client) error {
	selected := make(map[*Client]bool, len(users))
	seen := make(map[*Channel]bool)
	var channels []*Channel
	for _, c := range users {
		selected[c] = true
		for _, m := range c.members {
			if !seen[m.channel] {
				seen[m.channel] = true
				channels = append(channels, m.channel)
			}
		}
	}
	for _, ch := range channels {
		if err := x.channel(ch); err != nil {
			return err
		}
	}
	for _, c := range users {
		if err := x.emit(x.user(c)); err != nil {
			return err
		}
	}
	for _, ch := range channels {
		for _, m := range ch.members { // in the order of NAMES
			if !selected[m.client] {
				continue
			}
			if err := x.emit(membRecord(m)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *exporter) channel(ch *Channel) error {
	r := protocol.NewChan(ch.name, ch.ts)
	if ch.topic != "" || ch.topicAt != 0 {
		r.Set("topic", ch.topic)
		r.Set("tby", ch.topicBy)
		r.SetInt("tat", ch.topicAt)
	}
	for _, mode := range chanModeTable {
		switch {
		case mode.kind == modeKey && ch.key != "":
			r.SetModeParam(mode.name, ch.key)
		case mode.kind == modeLimit && ch.limit > 0:
			r.SetModeParam(mode.name, strconv.Itoa(ch.limit))
		case mode.kind == modeFlag && ch.flags.has(mode.letter):
			r.SetMode(mode.name)
		}
	}
	if err := x.emit(r.Message); err != nil {
		return err
	}
	for _, mode := range chanModeTable {
		if mode.kind != modeList {
			continue
		}
		for _, entry := range ch.lists[mode.letter] {
			if err := x.emit(protocol.NewList(ch.name, mode.name, entry.mask, entry.by, entry.at).Message); err != nil {
				return err
			}
		}
	}
	return nil
}

// user is one USER record. Keys with a zero value are left out.
func (x *exporter) user(c *Client) protocol.Message {
	r := protocol.NewUser(c.u, c.nick)
	r.Fields = slices.Grow(r.Fields, 30)
	set := func(key, value string) {
		if value != "" {
			r.Add(key, value)
		}
	}
	number := func(key string, n int64) { r.Add(key, strconv.FormatInt(n, 10)) }
	set("id", c.id)
	number("nts", c.nickTS)
	set("ident", c.ident)
	set("rhost", c.realHost)
	set("dhost", c.dispHost)
	set("ip", c.ip.String())
	number("port", int64(c.port))
	set("real", c.realname)
	number("signon", c.signon)
	number("idle", max(0, x.now.Unix()-c.spoke))
	if c.away != "" {
		r.Set("away", c.away)
		number("awayat", c.awayAt)
	}
	set("account", c.account)
	set("certfp", c.certfp)
	set("tls", c.tls)
	set("oper", c.oper)
	set("snomask", c.snomask)
	set("caps", c.caps.names())
	if c.capVersion > 0 {
		number("capver", int64(c.capVersion))
	}
	r.SetList("monitor", c.monitored())
	r.SetList("invites", c.invited)
	for _, mode := range userModeTable {
		if c.modes.has(mode.letter) && mode.letter != 'o' && mode.letter != 's' {
			r.SetMode(mode.name)
		}
	}
	x.private(&r, c)
	if !x.peek {
		number("in", int64(c.conn.in))
		number("out", int64(c.conn.out))
		set("rq", string(c.conn.recvq))
		set("sq", string(c.conn.sendq))
	}
	return r.Message
}

// Keys of our own software.
const (
	keyLocal   = "x." + software + ".local"   // the listener that the client reached, addr:port
	keySpoke   = "x." + software + ".spoke"   // unix time that idle counts from: exact also after a park
	keyFlood   = "x." + software + ".flood"   // milliseconds that are still to be paid for lines
	keySkipEOL = "x." + software + ".skipeol" // the rest of an endless line is dropped
	keyOrder   = "x." + software + ".order"   // of a membership: its place in the user's own list
)

func (x *exporter) private(r *protocol.User, c *Client) {
	if c.local.IsValid() {
		r.Set(keyLocal, c.local.String())
	}
	r.SetInt(keySpoke, c.spoke)
	if debt := c.credit.Sub(x.now); debt > 0 {
		r.SetInt(keyFlood, debt.Milliseconds())
	}
	if c.skipEOL {
		r.SetBare(keySkipEOL)
	}
}

func membRecord(m *Member) protocol.Message {
	r := protocol.NewMemb(m.client.u, m.channel.name, m.modes.letters())
	r.SetInt("at", m.joined)
	r.SetInt(keyOrder, int64(slices.Index(m.client.members, m)))
	return r.Message
}
