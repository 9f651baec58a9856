// SPDX-License-Identifier: MIT

package irc

import (
	"context"
	"fmt"
	"time"

	"github.com/ergochat/ergo/irc/flatip"
	"github.com/ergochat/ergo/irc/modes"
	"github.com/ergochat/ergo/irc/protocol"
)

// handoffPeekTime is how long a dry run or an import waits for running commands to end.
const handoffPeekTime = 5 * time.Second

// Freeze stops the world and brings the selected streams to their cut.
func (h *handoffEnd) Freeze(ctx context.Context, sel []protocol.Selection) error {
	began := time.Now()
	if !h.stop(ctx) {
		return &protocol.Error{Code: protocol.CodeInternal, Text: "a command runs on for too long"}
	}
	h.selected = h.selected[:0]
	for _, want := range sel {
		if c := h.stream(want.U); c != nil && !h.over(c) {
			c.wakeReader()
			h.selected = append(h.selected, c)
		}
	}
	for _, c := range h.selected {
		c.freezeInput()
	}
	wants := make(map[string]uint64, len(sel))
	for _, want := range sel {
		wants[want.U] = want.In
	}
	for _, c := range h.selected {
		if err := c.readTo(ctx, wants[c.u]); err != nil {
			for _, c := range h.selected {
				c.thawInput()
			}
			h.start()
			return err
		}
	}
	for _, c := range h.selected {
		c.freezeOutput()
	}
	h.log("EXPORT: %d streams stand still", began, len(h.selected))
	return nil
}

// over ends a client whose connection Ergo itself has given up, as its goroutine was about to: SendQ exceeded, KILL.
func (h *handoffEnd) over(c *handoffConn) bool {
	session := c.session.Load()
	if session == nil || !session.socket.IsClosed() {
		return false
	}
	session.client.destroy(session)
	return true
}

// Export tells of the selected users.
func (h *handoffEnd) Export(x protocol.ExportScope, emit func(protocol.Message) error) (unmovable int, err error) {
	streams := h.selected
	if x.Peek {
		ctx, cancel := context.WithTimeout(context.Background(), handoffPeekTime)
		defer cancel()
		if !h.stop(ctx) {
			return 0, &protocol.Error{Code: protocol.CodeInternal, Text: "a command runs on for too long"}
		}
		defer h.start()
		streams = nil
		for _, want := range x.Select {
			if c := h.stream(want.U); c != nil {
				streams = append(streams, c)
			}
		}
	}
	began := time.Now()
	out := &handoffExporter{server: h.server, emit: emit, peek: x.Peek, now: began}
	if err := out.export(streams); err != nil {
		return 0, err
	}
	h.log("EXPORT: %d records", began, out.records)
	_, unmovable = h.count(x.Coordinator)
	return unmovable, nil
}

// Remain counts who of the coordinator's users stays on a channel of those who go.
func (h *handoffEnd) Remain(coordinator string) (n int) {
	goes := make(map[*handoffConn]bool, len(h.selected))
	left := make(map[*Channel]bool)
	for _, c := range h.selected {
		goes[c] = true
		if session := c.session.Load(); session != nil && session.client.registered {
			for channel := range session.client.channels {
				left[channel] = true
			}
		}
	}
	for _, client := range h.server.clients.AllClients() {
		shares := false
		for channel := range client.channels {
			shares = shares || left[channel]
		}
		for _, session := range client.Sessions() {
			if c := session.handoffConn(); shares && c != nil && !goes[c] && protocol.Movable(c.u, coordinator) {
				n++
			}
		}
	}
	return n
}

// Resume lets the world go on.
func (h *handoffEnd) Resume() {
	for _, c := range h.selected {
		c.thawInput()
		c.thawOutput()
	}
	h.selected = nil
	h.start()
}

// Release forgets the selected users and lets the world go on. All streams are dead before the first user goes, so that nobody who is
// moved hears of the others.
func (h *handoffEnd) Release(quit string) {
	began := time.Now()
	streams := h.selected
	h.selected = nil
	for _, c := range streams {
		c.gone.Store(true)
		h.forget(c)
		if session := c.session.Load(); session != nil { // no last words
			socket := session.socket
			socket.Lock()
			socket.closed, socket.finalized, socket.buffers, socket.totalLength = true, true, nil, 0
			socket.Unlock()
		}
	}
	channels := make(map[*Channel]bool)
	for _, c := range streams {
		if session := c.session.Load(); session != nil {
			h.release(session, quit, channels)
		}
	}
	for channel := range channels {
		channel.regenerateMembersCache()
		if channel.IsEmpty() {
			h.server.channels.Cleanup(channel)
		}
	}
	for _, c := range streams {
		if session := c.session.Load(); session != nil {
			session.socket.writeLock.Unlock()
		}
		c.thawInput()
	}
	h.start()
	go func() { // nobody has to wait for thousands of closes: clients are standing still
		for _, c := range streams {
			c.tcp.Close()
		}
	}()
	h.log("RELEASE: %d streams", began, len(streams))
}

func (h *handoffEnd) release(session *Session, quit string, channels map[*Channel]bool) {
	client := session.client
	if !client.registered || quit != "" {
		if quit != "" {
			client.Quit(quit, session, nil)
		}
		client.destroy(session)
		return
	}
	session.stopIdleTimer()
	h.server.monitorManager.RemoveAll(session)
	h.server.connectionLimiter.RemoveClient(flatip.FromNetIP(session.IP()))
	client.stateMutex.Lock()
	client.removeSession(session)
	last, alwaysOn := len(client.sessions) == 0, client.alwaysOn
	if last && alwaysOn && client.autoAwayEnabledNoMutex(h.server.Config()) {
		client.setAutoAwayNoMutex(h.server.Config())
	}
	client.stateMutex.Unlock()
	if !last {
		return
	}
	h.server.stats.Remove(true, client.HasMode(modes.Invisible), client.HasMode(modes.Operator))
	if !alwaysOn { // who is always on stays, without a session, as Ergo has it
		h.vanish(client, channels)
	}
}

// vanish is destroy without a word to anybody, and without a WHOWAS entry: the user has not left.
func (h *handoffEnd) vanish(client *Client, channels map[*Channel]bool) {
	client.stateMutex.Lock()
	client.destroyed, client.alwaysOn = true, false // nothing of this is written to the database
	client.stateMutex.Unlock()
	for _, channel := range client.Channels() {
		channel.stateMutex.Lock()
		channel.members.Remove(client)
		channel.stateMutex.Unlock()
		client.removeChannel(channel)
		channels[channel] = true
	}
	h.server.clients.Remove(client)
	h.server.accepts.Remove(client)
	h.server.accounts.Logout(client)
	h.server.snomasks.RemoveClient(client)
}

// log leaves a line of each step with its time.
func (h *handoffEnd) log(format string, began time.Time, args ...any) {
	h.server.logger.Info("handoff", fmt.Sprintf(format, args...)+fmt.Sprintf(" in %.1f ms", float64(time.Since(began).Microseconds())/1000))
}
