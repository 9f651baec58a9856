package ircd

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// staged is an import on its way. Nothing of it is in the server's maps but the reserved names.
type staged struct {
	tx       string
	kick     string // why members of younger channels are kicked; "": they are conflicts
	at       time.Time
	users    []*stagedUser
	byU      map[string]*stagedUser
	channels []*stagedChannel
	byName   map[string]*stagedChannel // as the records call them
	members  []stagedMember
	reserved []string // keys in Server.reserved
	prepared protocol.Prepared
}

type stagedUser struct {
	client *Client
	flood  time.Duration
	spoke  int64 // 0: idle counts
	idle   int64
}

// stagedChannel is a channel to be made, or the live one of the same name and ts, which gets members only.
type stagedChannel struct {
	channel *Channel
	live    bool

	// Of one that is live: the place of its warning, and whether that names what is lost, all of it or not.
	merged           int
	loses, losesMore bool
}

type stagedMember struct {
	user    *stagedUser
	channel *stagedChannel
	modes   memberModes
	at      int64
	order   int64
}

// Begin opens an import.
func (e *handoffEnd) Begin(tx, kick string) error {
	e.srv.mu.Lock()
	defer e.srv.mu.Unlock()
	if e.srv.closing {
		return &protocol.Error{Code: protocol.CodeRefused, Tx: tx, Text: "shutting down"}
	}
	e.staged = &staged{tx: tx, kick: kick}
	return nil
}

// Prepare builds dormant clients and channels and reserves their names.
func (e *handoffEnd) Prepare(records []protocol.Message) (protocol.Prepared, error) {
	s := e.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	st := e.staged
	st.at = time.Now()
	st.byU, st.byName = make(map[string]*stagedUser), make(map[string]*stagedChannel)
	b := builder{staged: st, srv: s}
	for _, m := range records {
		b.record(m)
	}
	b.limits()
	return st.prepared, nil
}

// Abort gives the reserved names back and forgets the rest.
func (e *handoffEnd) Abort() {
	s := e.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	e.unreserve()
	e.staged = nil
}

func (e *handoffEnd) unreserve() {
	for _, name := range e.staged.reserved {
		delete(e.srv.reserved, name)
	}
}

// Commit makes all prepared users live in one turn: nobody is told but who is kicked, and the lines on the new streams begin with LIVE.
// Who has no stream quits then, and the server's bans are applied as they are now.
func (e *handoffEnd) Commit(streams map[string]net.Conn, quiet bool) error {
	s := e.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return &protocol.Error{Code: protocol.CodeRefused, Text: "shutting down"}
	}
	st := e.staged
	e.unreserve()
	e.sweep()
	var lost []*Client
	for _, u := range st.users {
		if !e.goLive(u, streams[u.client.u], quiet) {
			lost = append(lost, u.client)
		}
	}
	for _, ch := range st.channels {
		if !ch.live {
			s.clear(s.channel(ch.channel.name), st.kick)
			s.insertChannel(ch.channel)
		}
	}
	st.join(s)
	e.staged = nil
	for _, c := range lost {
		c.quit("Connection lost")
	}
	for _, u := range st.users {
		if reason, banned := s.ban(u.client); banned && !u.client.gone {
			u.client.numeric(errYoureBanned, "You are banned from this server: "+reason)
			u.client.quit("Banned: " + reason)
		}
	}
	s.settle()
	return nil
}

// clear ends a channel, which may be nil: the server kicks all members.
func (s *Server) clear(ch *Channel, reason string) {
	for ch != nil && len(ch.members) > 0 {
		m := ch.members[0]
		ch.broadcast(newServerMessage(s, "KICK", ch.name, m.client.nick, cut(reason, kickLen)), nil)
		s.partQuietly(m)
	}
}

// goLive gives a prepared client its stream and puts it into the maps. False: there is no stream (nil), or it could not be put into the
// loop; the client is live all the same and has to quit.
func (e *handoffEnd) goLive(u *stagedUser, stream net.Conn, quiet bool) bool {
	s, c, now := e.srv, u.client, time.Now()
	c.heard, c.born = now, now
	if c.spoke = u.spoke; c.spoke == 0 {
		c.spoke = now.Unix() - u.idle
	}
	if u.flood > 0 {
		c.credit = now.Add(u.flood)
	}
	if c.id == "" || s.ids[c.id] != nil {
		c.id = s.nextID()
	}
	err := errMissing
	if stream != nil {
		if c.conn, err = s.newConn(stream.(*heldStream).take(), c); err != nil {
			s.log.Warn("stream lost at commit", "err", err)
		}
	}
	if err != nil {
		c.conn = &conn{srv: s, state: connClosed}
	}
	s.insertClient(c)
	e.streams[c.u] = c
	if err == nil && !quiet {
		e.sayLive(c)
	}
	return err == nil
}

// errMissing is the lack of a stream of a user who is to quit for it.
var errMissing = errors.New("no stream")

// sayLive writes the LIVE line; the byte counts begin behind it.
func (e *handoffEnd) sayLive(c *Client) {
	switch e.faults.live() {
	case FaultDrop:
		return
	case FaultClose:
		c.conn.shut()
		return
	}
	c.conn.queue(protocol.AppendLive(nil, c.u), noLimit)
	c.conn.flush()
	c.conn.out = -uint64(len(c.conn.sendq)) // what of LIVE is still to be written, nothing as a rule
}

// join makes all memberships, in the order of the channels' lists, and then puts each user's own list into its order.
func (st *staged) join(s *Server) {
	order := make(map[*Member]int64, len(st.members))
	for _, m := range st.members {
		order[s.joinQuietly(m.user.client, m.channel.channel, m.modes, m.at)] = m.order
	}
	for _, u := range st.users {
		slices.SortStableFunc(u.client.members, func(a, b *Member) int { return cmp.Compare(order[a], order[b]) })
	}
}
