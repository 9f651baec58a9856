// SPDX-License-Identifier: MIT

package irc

import (
	"context"
	"net"
	"time"

	"github.com/ergochat/ergo/irc/modes"
	"github.com/ergochat/ergo/irc/protocol"
	"github.com/ergochat/ergo/irc/sno"
)

// handoffImport is an import on its way. Nothing of it is in Ergo's maps but the reserved names.
type handoffImport struct {
	kick     string // why members of younger channels have to go; "": these are conflicts
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
func (h *handoffEnd) Begin(_, kick string) error {
	h.staged = &handoffImport{kick: kick, byU: make(map[string]*handoffNewUser), byName: make(map[string]*handoffNewChannel)}
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

// Commit makes everybody live in one turn. Nobody is told, but who is kicked from a younger channel, and bans are looked at when all are there. Who
// has no stream gets one that has ended: his goroutine's first read makes him quit, like any user whose connection is lost.
func (h *handoffEnd) Commit(streams map[string]net.Conn, quiet bool) error {
	began := time.Now()
	if err := h.stopShortly(); err != nil {
		return err
	}
	defer h.start()
	st := h.staged
	if err := h.stillFree(st); err != nil {
		return err
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
	for _, c := range st.channels {
		h.clear(st, c)
	}
	for _, u := range st.users {
		tcp, ok := streams[u.open.U].(*net.TCPConn)
		if !ok {
			tcp = new(net.TCPConn) // every call of it fails
		}
		h.goLive(u, tcp, quiet)
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
		u.save()
	}
	for _, u := range st.users {
		h.applyBans(u)
		go u.client.run(u.session)
	}
	h.log("COMMIT: %d streams, %d users without", began, len(streams), len(st.users)-len(streams))
	return nil
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
		if here := h.server.channels.Get(c.want.name); here != c.here && !st.givesWay(here, c.record) {
			return &protocol.Error{Code: protocol.CodeInternal, Text: "a channel came or went after PREPARE"}
		}
	}
	return nil
}
