// SPDX-License-Identifier: MIT

package irc

import (
	"github.com/ergochat/irc-go/ircmsg"

	"github.com/ergochat/ergo/irc/protocol"
	"github.com/ergochat/ergo/irc/utils"
)

// What kick= of IMPORT asks for: channels that somebody made after the records' do not keep the records' users out.

// givesWay reports whether a channel that lives here is younger than the record, and the import has a reason to kick its members.
func (st *handoffImport) givesWay(here *Channel, r protocol.Chan) bool {
	return st.kick != "" && here != nil && r.TS() != 0 && here.createdTime.Unix() > r.TS()
}

// likeness answers whether a name that nobody has looks like one that is taken, and whose that is; nil of one that may not be used at all.
func (h *handoffEnd) likeness(skeleton string) (like *Channel, taken bool) {
	cm := &h.server.channels
	cm.RLock()
	defer cm.RUnlock()
	if !cm.chansSkeletons.Has(skeleton) {
		return nil, false
	}
	for _, entry := range cm.chans {
		if its, err := Skeleton(entry.channel.name); err == nil && its == skeleton {
			return entry.channel, true
		}
	}
	return nil, true
}

// clear ends what is younger than the record's channel and in its place at this moment, which PREPARE need not have seen.
func (h *handoffEnd) clear(st *handoffImport, c *handoffNewChannel) {
	if st.kick == "" {
		return
	}
	here := h.server.channels.Get(c.want.name)
	if here == c.here && here != nil {
		return
	}
	if st.givesWay(here, c.record) {
		h.end(here, c.want, st.kick)
		c.here, c.merged = nil, false
	}
	skeleton, _ := Skeleton(c.want.name)
	if like, _ := h.likeness(skeleton); st.givesWay(like, c.record) {
		h.end(like, nil, st.kick)
	}
}

// end has the server kick all who are on a channel, and forgets it and its registration. Who is always on, has no connection and was put on
// it as this server began is on heir from now on, as he was: what he had there is older than the channel.
func (h *handoffEnd) end(channel, heir *Channel, reason string) {
	reason = ircmsg.TruncateUTF8Safe(reason, h.server.Config().Limits.KickLen)
	channel.regenerateMembersCache()
	members := channel.Members()
	for n, target := range members {
		data := channel.members[target]
		if heir != nil && len(target.sessions) == 0 && data.joinTime < channel.createdTime.UnixNano() {
			heir.members[target] = data
			target.stateMutex.Lock()
			target.channels.Add(heir)
			target.stateMutex.Unlock()
		} else {
			h.tellKick(channel, members[n:], target, reason)
		}
		channel.stateMutex.Lock()
		channel.members.Remove(target)
		channel.stateMutex.Unlock()
		target.removeChannel(channel)
	}
	channel.regenerateMembersCache()
	if heir != nil {
		heir.regenerateMembersCache()
	}
	if channel.registeredFounder != "" {
		h.server.channels.SetUnregistered(channel.name, channel.registeredFounder)
	}
	cm := &h.server.channels
	cm.Lock()
	defer cm.Unlock()
	if entry := cm.chans[channel.nameCasefolded]; entry != nil && entry.channel == channel { // SetUnregistered has ended it, or not
		skeleton, _ := Skeleton(channel.name)
		delete(cm.chans, channel.nameCasefolded)
		delete(cm.chansSkeletons, skeleton)
	}
}

func (h *handoffEnd) tellKick(channel *Channel, members []*Client, target *Client, reason string) {
	message := utils.MakeMessage(reason)
	for _, member := range members {
		for _, session := range member.Sessions() {
			session.sendFromClientInternal(false, message.Time, message.Msgid, h.server.name, "*", false, nil, "KICK", channel.name, target.nick, reason)
		}
	}
}
