package ircd

import (
	"context"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// behindPoll is how often a stopped world looks for input that is still on its way.
const behindPoll = 200 * time.Microsecond

// Freeze stops the world by taking Server.mu, which Resume and Release give back.
func (e *handoffEnd) Freeze(ctx context.Context, sel []protocol.Selection) error {
	s := e.srv
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return &protocol.Error{Code: protocol.CodeRefused, Text: "shutting down"}
	}
	s.settle()
	e.selected = e.selected[:0]
	var behind []protocol.Selection
	for _, want := range sel {
		c := e.client(want.U)
		if c == nil {
			continue // never came, or left: not exported
		}
		e.selected = append(e.selected, c)
		behind = append(behind, want)
	}
	if err := e.readUp(ctx, behind); err != nil {
		e.Resume()
		return err
	}
	for _, c := range e.selected {
		c.conn.setBlocked(false)
		c.conn.flush()
	}
	return nil
}

// readUp reads the selected streams until each has come to its count, running nothing.
func (e *handoffEnd) readUp(ctx context.Context, behind []protocol.Selection) error {
	for {
		var err error
		behind = slices.DeleteFunc(behind, func(want protocol.Selection) bool {
			conn := e.client(want.U).conn
			if conn.in > want.In {
				err = &protocol.Error{Code: protocol.CodeCount, U: want.U, Text: "more came than was told"}
			}
			there, readErr := conn.fillTo(want.In)
			if readErr != nil && !there {
				err = &protocol.Error{Code: protocol.CodeBehind, U: want.U, Text: "the stream ended"}
			}
			return there
		})
		switch {
		case err != nil:
			return err
		case len(behind) == 0:
			return nil
		case ctx.Err() != nil:
			return &protocol.Error{Code: protocol.CodeBehind, U: behind[0].U, Text: "input is missing"}
		}
		time.Sleep(behindPoll)
	}
}

// Export emits what is known of the selected users who are registered.
func (e *handoffEnd) Export(x protocol.ExportScope, emit func(protocol.Message) error) (int, error) {
	users := e.selected
	if x.Peek {
		e.srv.mu.Lock()
		defer e.srv.mu.Unlock()
		users = nil
		for _, want := range x.Select {
			if c := e.client(want.U); c != nil {
				users = append(users, c)
			}
		}
	}
	users = slices.DeleteFunc(slices.Clone(users), func(c *Client) bool { return !c.registered })
	out := exporter{emit: func(m protocol.Message) error { return emit(e.faults.record(m)) }, peek: x.Peek, now: time.Now()}
	if err := out.export(users); err != nil {
		return 0, err
	}
	return e.unmovable(x.Coordinator), nil
}

// Resume lets the world go on: first what was read and not run.
func (e *handoffEnd) Resume() {
	for _, c := range e.selected {
		if !c.gone && len(c.conn.recvq) > 0 {
			c.run()
		}
	}
	e.thaw()
}

// Release forgets the selected users, and the world goes on.
func (e *handoffEnd) Release(quit string) {
	s := e.srv
	var old []int
	for _, c := range e.selected {
		if c.conn.state == connOpen {
			old = append(old, c.conn.letGo()) // first, so that a QUIT of one is not written to another
		}
	}
	for _, c := range e.selected {
		if quit != "" {
			c.quit(quit)
		} else {
			s.removeClient(c)
		}
		delete(e.streams, c.u)
	}
	// Nobody has to wait for thousands of closes: clients are standing still.
	s.running.Go(func() {
		for _, fd := range old {
			closeFD(fd)
		}
	})
	e.thaw()
}

func (e *handoffEnd) thaw() {
	clear(e.selected)
	e.selected = e.selected[:0]
	e.srv.settle()
	e.srv.mu.Unlock()
}

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
	set := func(key, value string) {
		if value != "" {
			r.Set(key, value)
		}
	}
	set("id", c.id)
	r.SetInt("nts", c.nickTS)
	set("ident", c.ident)
	set("rhost", c.realHost)
	set("dhost", c.dispHost)
	set("ip", c.ip.String())
	r.SetInt("port", int64(c.port))
	set("real", c.realname)
	r.SetInt("signon", c.signon)
	r.SetInt("idle", max(0, x.now.Unix()-c.spoke))
	if c.away != "" {
		r.Set("away", c.away)
		r.SetInt("awayat", c.awayAt)
	}
	set("account", c.account)
	set("certfp", c.certfp)
	set("tls", c.tls)
	set("oper", c.oper)
	set("snomask", c.snomask)
	set("caps", c.caps.names())
	if c.capVersion > 0 {
		r.SetInt("capver", int64(c.capVersion))
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
		r.SetInt("in", int64(c.conn.in))
		r.SetInt("out", int64(c.conn.out))
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

// letGo is closeNow, but that the descriptor is the caller's to close.
func (c *conn) letGo() int {
	c.state = connClosed
	c.owner = nil
	c.recvq = c.srv.putBuffer(c.recvq)
	c.sendq = c.srv.putBuffer(c.sendq)
	c.srv.poll.remove(c.fd, c.key)
	c.srv.conns--
	return c.fd
}

// shut ends a stream as if its peer had.
func (c *conn) shut() { syscall.Shutdown(c.fd, syscall.SHUT_RDWR) }
