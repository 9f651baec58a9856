// SPDX-License-Identifier: MIT

package irc

import (
	"net"
	"strings"

	"github.com/ergochat/ergo/irc/caps"
	"github.com/ergochat/ergo/irc/protocol"
)

// handoffSoftware is Ergo's name in HELLO and in the x. keys of records.
const handoffSoftware = "ergo"

// Hello tells the server's facts. A user of HANDOFF/1 is a session here: a client of three connections has three streams.
func (h *handoffEnd) Hello(coordinator string) (hello protocol.Hello) {
	handoffDo(func() {
		s, config := h.server, h.server.Config()
		hello = protocol.Hello{Software: handoffSoftware, Version: SemVer, Name: s.name, Channels: s.channels.Len(),
			Caps: strings.Fields(strings.Join(config.Server.supportedCaps.Strings(caps.Cap302, config.Server.capValues, 0), " "))}
		for _, line := range config.Server.isupport.CachedReply {
			hello.ISupport = append(hello.ISupport, line...)
		}
		hello.Users, hello.Unmovable = h.count(coordinator)
	})
	return hello
}

// count counts the sessions of registered clients, and those of them that are not this coordinator's.
func (h *handoffEnd) count(coordinator string) (users, unmovable int) {
	for _, client := range h.server.clients.AllClients() {
		for _, session := range client.Sessions() {
			users++
			c := session.handoffConn()
			if c == nil || !protocol.Movable(c.u, coordinator) {
				unmovable++
			}
		}
	}
	return users, unmovable
}

// Find answers the first stream of who has a nick.
func (h *handoffEnd) Find(nick string) (u, exact string, ok bool) {
	handoffDo(func() {
		client := h.server.clients.Get(nick)
		if client == nil {
			return
		}
		for _, session := range client.Sessions() {
			if c := session.handoffConn(); c != nil && !ok {
				u, exact, ok = c.u, client.Nick(), true
			}
		}
	})
	return u, exact, ok
}

// Open makes room for a new client; the function that it answers hands the stream to Ergo, as a listener would.
func (h *handoffEnd) Open(o protocol.Open) (serve func(net.Conn, []byte), err error) {
	handoffDo(func() {
		if h.stream(o.U) != nil {
			err = &protocol.Error{Code: protocol.CodeUInUse, U: o.U, Text: "the stream id is in use"}
		}
	})
	if err != nil {
		return nil, err
	}
	return func(conn net.Conn, rest []byte) {
		c := h.newHandoffConn(conn.(*net.TCPConn), o, rest)
		if !h.keep(c) { // two OPEN at once
			conn.Close()
			return
		}
		go h.server.RunClient(c, nil)
	}, nil
}

// keep notes a stream; false if its id is there already.
func (h *handoffEnd) keep(c *handoffConn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[c.u] != nil {
		return false
	}
	h.streams[c.u] = c
	return true
}

// forget is the end of a stream.
func (h *handoffEnd) forget(c *handoffConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams[c.u] == c {
		delete(h.streams, c.u)
	}
}

// stream answers the stream of an id, or nil.
func (h *handoffEnd) stream(u string) *handoffConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[u]
}
