// SPDX-License-Identifier: MIT

package irc

import (
	"context"
	"net"
	"time"

	"github.com/ergochat/ergo/irc/flatip"
	"github.com/ergochat/ergo/irc/modes"
	"github.com/ergochat/ergo/irc/protocol"
	"github.com/ergochat/ergo/irc/sno"
)

// handoffImport is an import on its way. Nothing of it is in Ergo's maps but the reserved names.
type handoffImport struct {
	users    []*handoffNewUser
	byU      map[string]*handoffNewUser
	channels []*handoffNewChannel
	byName   map[string]*handoffNewChannel // as the records call them
	members  []handoffNewMember
	reserved []string
	prepared protocol.Prepared
}

// handoffNewUser is one stream: a client's first, which brings the client, or a further one.
type handoffNewUser struct {
	client   *Client
	session  *Session
	open     protocol.Open
	lag      handoffLag
	monitor  []string
	first    bool
	ghost    *Client        // who is always on here and has waited for this user
	account  *ClientAccount // nil: none
	snomasks []sno.Mask
	accept   []string
	record   protocol.User
}

// handoffNewChannel is a channel as the records tell it, and the one that is here.
type handoffNewChannel struct {
	want   *Channel
	here   *Channel // nil: none
	merged bool     // what is here stays as it is
	lists  map[modes.Mode]map[string]MaskInfo
	record protocol.Chan
}

type handoffNewMember struct {
	user    *handoffNewUser
	channel *handoffNewChannel
	data    *memberData
}

// stopShortly stops the world for an import or its parts.
func (h *handoffEnd) stopShortly() error {
	ctx, cancel := context.WithTimeout(context.Background(), handoffPeekTime)
	defer cancel()
	if !h.stop(ctx) {
		return &protocol.Error{Code: protocol.CodeInternal, Text: "a command runs on for too long"}
	}
	return nil
}

// Begin opens an import.
func (h *handoffEnd) Begin(string) error {
	h.staged = &handoffImport{byU: make(map[string]*handoffNewUser), byName: make(map[string]*handoffNewChannel)}
	return nil
}

// Prepare builds clients and channels that nobody can see, and reserves their names.
func (h *handoffEnd) Prepare(records []protocol.Message) (protocol.Prepared, error) {
	began := time.Now()
	if err := h.stopShortly(); err != nil {
		return protocol.Prepared{}, err
	}
	defer h.start()
	b := newHandoffBuilder(h)
	for _, m := range records {
		b.record(m)
	}
	b.finish()
	if b.fault != nil {
		return protocol.Prepared{}, b.fault
	}
	h.log("PREPARE: %d records", began, len(records))
	return h.staged.prepared, nil
}

// Abort gives the names back.
func (h *handoffEnd) Abort() {
	h.unreserve()
	h.staged = nil
}

func (h *handoffEnd) reserve(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reserved[name] = true
	h.staged.reserved = append(h.staged.reserved, name)
}

func (h *handoffEnd) unreserve() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range h.staged.reserved {
		delete(h.reserved, name)
	}
}

// Commit makes everybody live in one turn. Nobody is told, and bans are looked at when all are there.
func (h *handoffEnd) Commit(streams map[string]net.Conn) (int, error) {
	began := time.Now()
	if err := h.stopShortly(); err != nil {
		return 0, err
	}
	defer h.start()
	st := h.staged
	if err := h.stillFree(st); err != nil {
		return 0, err
	}
	h.unreserve()
	h.staged = nil
	left := make(map[*Channel]bool)
	for _, u := range st.users {
		if u.ghost != nil {
			u.client.pushSubscriptions = u.ghost.pushSubscriptions
			u.client.rebuildPushSubscriptionCache()
			h.vanish(u.ghost, left)
		}
	}
	for _, u := range st.users {
		h.goLive(u, streams[u.open.U].(*net.TCPConn))
	}
	for _, c := range st.channels {
		h.openChannel(c)
	}
	h.join(st.members)
	for channel := range left {
		channel.regenerateMembersCache()
		if channel.IsEmpty() {
			h.server.channels.Cleanup(channel)
		}
	}
	for _, u := range st.users {
		h.befriend(u)
	}
	for _, u := range st.users {
		h.applyBans(u)
		go u.client.run(u.session)
	}
	h.log("COMMIT: %d streams", began, len(st.users))
	return len(st.users), nil
}

// stillFree looks whether what PREPARE has found is as it was. Reserved names are, but for what services do.
func (h *handoffEnd) stillFree(st *handoffImport) error {
	for _, u := range st.users {
		if there := h.server.clients.Get(u.client.nick); u.first && (there != u.ghost || there != nil && len(there.sessions) > 0) {
			return &protocol.Error{Code: protocol.CodeInternal, U: u.open.U, Text: "the nick was taken after PREPARE"}
		}
		if h.stream(u.open.U) != nil {
			return &protocol.Error{Code: protocol.CodeUInUse, U: u.open.U, Text: "the stream id is in use"}
		}
	}
	for _, c := range st.channels {
		if h.server.channels.Get(c.want.name) != c.here {
			return &protocol.Error{Code: protocol.CodeInternal, Text: "a channel came or went after PREPARE"}
		}
	}
	return nil
}

// goLive gives a session its stream and, if it is the first, puts its client into Ergo's maps.
func (h *handoffEnd) goLive(u *handoffNewUser, tcp *net.TCPConn) {
	server, config, client, session := h.server, h.server.Config(), u.client, u.session
	c := h.newHandoffConn(tcp, u.open, nil)
	c.moved, c.begun = true, client
	c.session.Store(session)
	session.socket = NewSocket(c, config.Server.MaxSendQBytes)
	session.connID = server.generateConnectionID()
	session.resetFakelag()
	u.lag.restore(&session.fakelag)
	client.sessions = append(client.sessions, session)
	h.keep(c)
	tcp.Write(protocol.AppendLive(nil, c.u)) // a fresh socket takes it; a dead one shows at the first read

	ip := flatip.FromNetIP(session.realIP)
	server.connectionLimiter.ResetThrottle(ip) // who is moved has not connected
	server.connectionLimiter.AddClient(ip)
	for _, nick := range u.monitor {
		server.monitorManager.Add(session, nick, 1<<30)
	}
	client.stateMutex.Lock()
	client.updateIdleTimer(session, time.Now().UTC())
	client.stateMutex.Unlock()
	if !u.first {
		return
	}
	if u.account != nil {
		client.Login(*u.account)
		client.alwaysOn = client.alwaysOn && client.nick == client.accountName
		server.accounts.Lock()
		server.accounts.accountToClients[client.account] = append(server.accounts.accountToClients[client.account], client)
		server.accounts.Unlock()
	}
	client.resizeHistory(config)
	handoffRemember(u.record.Message, &client.history)
	server.clients.Lock()
	server.clients.byNick[client.nickCasefolded] = client
	server.clients.bySkeleton[client.skeleton] = client
	server.clients.Unlock()
	server.snomasks.AddMasks(client, u.snomasks...)
	server.stats.AddRegistered(client.HasMode(modes.Invisible), client.HasMode(modes.Operator))
	if client.alwaysOn {
		client.markDirty(IncludeAllAttrs)
	}
}

// openChannel makes a channel what its record says.
func (h *handoffEnd) openChannel(c *handoffNewChannel) {
	switch {
	case c.merged:
		return
	case c.here == nil:
		c.here = c.want
		cm := &h.server.channels
		skeleton, _ := Skeleton(c.want.name)
		cm.Lock()
		cm.chans[c.want.nameCasefolded] = &channelManagerEntry{channel: c.want, skeleton: skeleton}
		cm.chansSkeletons.Add(skeleton)
		cm.Unlock()
	default:
		c.here.become(c.want)
	}
	c.here.resizeHistory(h.server.Config())
	handoffRemember(c.record.Message, &c.here.history)
	c.here.MarkDirty(IncludeAllAttrs) // written if it is registered
}

// become takes over everything of another channel but its members.
func (channel *Channel) become(want *Channel) {
	channel.stateMutex.Lock()
	defer channel.stateMutex.Unlock()
	channel.flags.Copy(&want.flags)
	channel.lists, channel.key, channel.forward, channel.userLimit = want.lists, want.key, want.forward, want.userLimit
	channel.createdTime, channel.uuid = want.createdTime, want.uuid
	channel.registeredFounder, channel.registeredTime = want.registeredFounder, want.registeredTime
	channel.transferPendingTo, channel.accountToUMode, channel.settings = want.transferPendingTo, want.accountToUMode, want.settings
	channel.topic, channel.topicSetBy, channel.topicSetTime = want.topic, want.topicSetBy, want.topicSetTime
	channel.metadata = want.metadata
}

func (h *handoffEnd) join(members []handoffNewMember) {
	joined := make(map[*Channel]bool)
	for _, m := range members {
		channel := m.channel.here
		channel.stateMutex.Lock()
		channel.members[m.user.client] = m.data
		channel.stateMutex.Unlock()
		m.user.client.channels.Add(channel)
		joined[channel] = true
	}
	for channel := range joined {
		channel.regenerateMembersCache()
	}
}

// befriend restores the ACCEPT list, which is of clients and not of names.
func (h *handoffEnd) befriend(u *handoffNewUser) {
	for _, nick := range u.accept {
		if other := h.server.clients.Get(nick); other != nil {
			h.server.accepts.Accept(u.client, other)
		}
	}
}

// applyBans makes a user whom a ban of this moment matches quit, for all to see.
func (h *handoffEnd) applyBans(u *handoffNewUser) {
	if message := h.banned(u); message != "" && !u.client.destroyed {
		u.client.setKlined()
		u.client.Quit(message, nil, nil)
		u.client.destroy(nil)
	}
}

// banned answers what a D- or K-line says to the user, or "".
func (h *handoffEnd) banned(u *handoffNewUser) string {
	if u.session.realIP.IsLoopback() { // as everywhere in Ergo
		return ""
	}
	if is, info := h.server.dlines.CheckIP(flatip.FromNetIP(u.session.realIP)); is && !(info.RequireSASL && u.account != nil) {
		return info.BanMessage("You are banned from this server (%s)")
	}
	if is, info := h.server.klines.CheckMasks(u.client.AllNickmasks()...); is && !(info.RequireSASL && u.account != nil) {
		return info.BanMessage("You are banned from this server (%s)")
	}
	return ""
}

// restore puts Fakelag's state back; its settings are this server's.
func (l handoffLag) restore(lag *Fakelag) {
	lag.state, lag.burstCount, lag.lastTouch = l.State, l.Burst, l.Touch
	for command, left := range l.Budgets {
		if most, ok := lag.config.CommandBudgets[command]; ok {
			lag.config.CommandBudgets[command] = min(left, most)
		}
	}
	if l.Suspended {
		lag.Suspend()
	}
}
