// SPDX-License-Identifier: MIT

package irc

import (
	"runtime"
	"time"
)

// What a session's goroutine calls from Client.run and where Ergo makes it sleep. It is in the world but while it reads and sleeps.

// handoffConn is the session's stream, or nil: of a client that came past all coordinators.
func (session *Session) handoffConn() *handoffConn {
	c, _ := session.socket.conn.(*handoffConn)
	return c
}

// handoffOpened tells a new session what OPEN has told of the client.
func (session *Session) handoffOpened() {
	if c := session.handoffConn(); c != nil {
		session.certfp = c.certfp
	}
}

// handoffMoved reports whether the client was registered before this process had it.
func (session *Session) handoffMoved() bool {
	c := session.handoffConn()
	return c != nil && c.moved
}

// handoffEnter begins the goroutine's life in the world; what it answers ends it.
func (session *Session) handoffEnter() (leave func()) {
	theWorld.enter()
	if c := session.handoffConn(); c != nil {
		c.session.Store(session)
		c.begun = session.client
	}
	return theWorld.leave
}

// handoffRead reads a line outside the world and comes in with it.
func (session *Session) handoffRead() (string, error) {
	theWorld.leave()
	line, err := session.socket.Read()
	session.handoffBack()
	return line, err
}

// handoffBack comes back into the world. A session that was released meanwhile ends here: its line is run elsewhere.
func (session *Session) handoffBack() {
	theWorld.enter()
	c := session.handoffConn()
	if c == nil {
		return
	}
	if c.gone.Load() {
		runtime.Goexit() // the deferred destroy and leave still run, and find nothing to do
	}
	c.unrun = false
}

// handoffFakelag has the session sleep outside the world.
func (session *Session) handoffFakelag() { session.fakelag.sleepFunc = session.handoffSleep }

// handoffSleep is Fakelag's sleep before a line is run, or after one that was run is paid for.
func (session *Session) handoffSleep(d time.Duration) {
	if c := session.handoffConn(); c != nil {
		c.unrun = session.deferredFakelagCount == 0
	}
	theWorld.leave()
	time.Sleep(d)
	session.handoffBack()
}
