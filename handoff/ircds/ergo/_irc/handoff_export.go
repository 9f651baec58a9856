// SPDX-License-Identifier: MIT

package irc

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ergochat/ergo/irc/caps"
	"github.com/ergochat/ergo/irc/modes"
	"github.com/ergochat/ergo/irc/protocol"
	"github.com/ergochat/ergo/irc/utils"
)

// handoffExporter writes records, while the world stands still.
type handoffExporter struct {
	server     *Server
	emit       func(protocol.Message) error
	peek       bool
	now        time.Time
	records    int
	remembered int // bytes of history
}

func (x *handoffExporter) send(m protocol.Message) error {
	x.records++
	return x.emit(m)
}

// export tells of the streams whose clients are registered: channels, users, memberships.
func (x *handoffExporter) export(streams []*handoffConn) error {
	first := make(map[*Client]string) // the stream that stands for the client
	var users []*handoffConn
	channels := make(utils.HashSet[*Channel])
	for _, c := range streams {
		session := c.session.Load()
		if session == nil || !session.client.registered || c.begun != session.client {
			continue // not registered, or its goroutine has not said so yet
		}
		users = append(users, c)
		if first[session.client] == "" {
			first[session.client] = c.u
			for channel := range session.client.channels {
				channels.Add(channel)
			}
		}
	}
	for channel := range channels {
		if err := x.channel(channel); err != nil {
			return err
		}
	}
	for _, c := range users {
		if err := x.send(x.user(c, first[c.session.Load().client])); err != nil {
			return err
		}
	}
	for client, u := range first {
		for channel := range client.channels {
			if err := x.member(u, client, channel); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *handoffExporter) channel(channel *Channel) error {
	r := protocol.NewChan(channel.name, channel.createdTime.Unix())
	if channel.topic != "" || !channel.topicSetTime.IsZero() {
		r.Set("topic", channel.topic)
		r.Set("tby", channel.topicSetBy)
		r.SetInt("tat", channel.topicSetTime.Unix())
	}
	x.modes(&r.Message, channel.flags.AllModes(), handoffChannelFlags)
	if channel.key != "" {
		r.SetModeParam("key", channel.key)
	}
	if channel.userLimit > 0 {
		r.SetModeParam("limit", strconv.Itoa(channel.userLimit))
	}
	if channel.forward != "" {
		r.Set(handoffForward, channel.forward)
	}
	r.Set(handoffKeyChannel, handoffMarshal(handoffChannel{UUID: channel.uuid, Created: channel.createdTime, TopicAt: channel.topicSetTime,
		Founder: channel.registeredFounder, Registered: channel.registeredTime, Transfer: channel.transferPendingTo,
		Access: channel.accountToUMode, Settings: channel.settings, Metadata: channel.metadata}))
	x.history(&r.Message, &channel.history)
	if err := x.send(r.Message); err != nil {
		return err
	}
	for mode, name := range handoffLists {
		for mask, info := range channel.lists[mode].Masks() {
			l := protocol.NewList(channel.name, name, mask, info.CreatorNickmask, info.TimeCreated.Unix())
			l.SetInt(handoffKeyTime, info.TimeCreated.UnixNano())
			if info.CreatorAccount != "" {
				l.Set(handoffKeyAccount, info.CreatorAccount)
			}
			if err := x.send(l.Message); err != nil {
				return err
			}
		}
	}
	return nil
}

// modes says what is set. A mode that a newer Ergo has and the tables have not goes by its letter.
func (x *handoffExporter) modes(m *protocol.Message, set []modes.Mode, names map[modes.Mode]string) {
	for _, mode := range set {
		name, ok := names[mode]
		if !ok {
			name = handoffOwnMode + "u" + strconv.Itoa(int(mode)) // keys have no capitals
		}
		m.SetBare(handoffModeKey(name))
	}
}

func (x *handoffExporter) member(u string, client *Client, channel *Channel) error {
	data := channel.members[client]
	if data == nil {
		return nil
	}
	var letters strings.Builder
	for _, mode := range modes.ChannelUserModes {
		if data.modes.HasMode(mode) {
			letters.WriteRune(rune(mode))
		}
	}
	r := protocol.NewMemb(u, channel.name, letters.String())
	r.SetInt("at", data.joinTime/int64(time.Second))
	r.SetInt(handoffKeyTime, data.joinTime)
	return x.send(r.Message)
}

// user is the record of one stream. The first of a client has all; a further one what is the connection's own.
func (x *handoffExporter) user(c *handoffConn, first string) protocol.Message {
	session := c.session.Load()
	client := session.client
	r := protocol.NewUser(c.u, client.nick)
	set := func(key, value string) {
		if value != "" {
			r.Set(key, value)
		}
	}
	r.SetInt("nts", client.ctime.Unix())
	set("ident", client.username)
	set("rhost", client.rawHostname)
	set("dhost", client.hostname)
	set("ip", session.IP().String())
	r.SetInt("port", int64(c.wrapped.RemoteAddr().(*net.TCPAddr).Port))
	r.Set(handoffKeyLocal, c.wrapped.LocalAddr().String())
	set("real", client.realname)
	r.SetInt("signon", client.ctime.Unix())
	r.SetInt("idle", max(0, int64(x.now.Sub(client.lastActive)/time.Second)))
	if client.account != "" {
		set("account", client.accountName)
	}
	set("certfp", session.certfp)
	set("tls", c.tls)
	set("caps", strings.Join(handoffCapNames(&session.capabilities), " "))
	r.SetInt("capver", int64(session.capVersion))
	r.SetList("monitor", slices.Sorted(slices.Values(x.server.monitorManager.List(session))))
	if first == c.u {
		x.client(&r, client, set)
	} else {
		r.Set(handoffKeyWith, first)
	}
	x.session(&r, session)
	if !x.peek {
		r.SetInt("in", int64(c.in))
		r.SetInt("out", int64(c.out))
		set("rq", string(c.rq()))
		set("sq", string(c.sq))
	}
	return r.Message
}

func (x *handoffExporter) client(r *protocol.User, client *Client, set func(key, value string)) {
	set("away", client.awayMessage)
	if client.oper != nil {
		set("oper", client.oper.Name)
		set("snomask", x.server.snomasks.String(client))
	}
	x.modes(&r.Message, slices.DeleteFunc(client.modes.AllModes(), func(m modes.Mode) bool { return m == modes.Operator }), handoffUserModes)
	var accepted []string
	for other := range x.server.accepts.clientToAccepted[client] {
		accepted = append(accepted, other.nick)
	}
	slices.Sort(accepted)
	r.SetList("accept", accepted)
	state := handoffClient{Signon: client.ctime, Active: client.lastActive, Host: client.rawHostname, Cloak: client.cloakedHostname,
		VHost: client.vhost, Registered: client.accountRegDate, Languages: client.languages, LastSeen: client.lastSeen,
		ReadMarkers: client.readMarkers, Metadata: client.metadata, Invites: make(map[string]handoffInvite, len(client.invitedTo)),
		Logins: client.loginThrottle.ThrottleDetails, MetadataThrottle: client.metadataThrottle,
		NextSession: client.nextSessionID, RegisterSent: client.registerCmdSent}
	for name, invite := range client.invitedTo {
		state.Invites[name] = handoffInvite{Channel: invite.channelCreatedAt, At: invite.invitedAt}
	}
	r.SetList("invites", slices.Sorted(maps.Keys(client.invitedTo)))
	r.Set(handoffKeyClient, handoffMarshal(state))
	x.history(&r.Message, &client.history)
}

func (x *handoffExporter) session(r *protocol.User, session *Session) {
	lag := &session.fakelag
	state := handoffSession{ID: session.sessionID, Created: session.ctime, Active: session.lastActive, Host: session.rawHostname,
		Device: session.deviceID, Away: session.awayMessage, AwayAt: session.awayAt,
		Subscriptions: slices.Sorted(maps.Keys(session.metadataSubscriptions)), Batches: session.batchCounter.Load(),
		Push: session.webPushEndpoint, MissedSince: session.autoreplayMissedSince,
		Lag: handoffLag{State: lag.state, Burst: lag.burstCount, Touch: lag.lastTouch.Round(0), Budgets: lag.config.CommandBudgets,
			Suspended: lag.suspended}}
	if batch := session.multilineBatch; batch.label != "" {
		state.Multiline = &handoffMultiline{Label: batch.label, Command: batch.command, Target: batch.target, Response: batch.responseLabel,
			Message: batch.message, Bytes: batch.lenBytes, Tags: batch.tags}
	}
	r.Set(handoffKeySession, handoffMarshal(state))
	if session.awayMessage != "" && !session.awayAt.IsZero() {
		r.SetInt("awayat", session.awayAt.Unix())
	}
	for name, lost := range map[string]bool{"sasl": session.sasl.mechanism != "", "znc": session.zncPlaybackTimes != nil,
		"token": session.tokenValidateBatch != nil} {
		if lost {
			r.SetBare(handoffKeyLost + name)
		}
	}
}

// handoffCapNames are the names of all capabilities in a set.
func handoffCapNames(set *caps.Set) []string {
	return strings.Fields(strings.Join(set.Strings(caps.Cap302, nil, 0), " "))
}
