// SPDX-License-Identifier: MIT

package irc

import (
	"net"
	"time"

	"github.com/ergochat/ergo/irc/flatip"
	"github.com/ergochat/ergo/irc/modes"
	"github.com/ergochat/ergo/irc/protocol"
)

// What COMMIT does, while the world stands still.

// goLive gives a session its stream and, if it is the first, puts its client into Ergo's maps.
func (h *handoffEnd) goLive(u *handoffNewUser, tcp *net.TCPConn, quiet bool) {
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
	if !quiet {
		tcp.Write(protocol.AppendLive(nil, c.u)) // a fresh socket takes it; a dead one shows at the first read
	}

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
		client := m.user.client
		client.stateMutex.Lock()
		client.channels.Add(channel)
		client.stateMutex.Unlock()
		joined[channel] = true
	}
	for channel := range joined {
		channel.regenerateMembersCache()
	}
}

// save has the database know who is always on. Its writer is a goroutine that asks nobody: the channels have to be there before.
func (u *handoffNewUser) save() {
	if u.first && u.client.alwaysOn {
		u.client.markDirty(IncludeAllAttrs)
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
