package keeper

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// What a client says without an answer.

// Keep gives a descriptor, which stays the caller's, to the keeper; one that the tag had before is closed there. When it returns nil the descriptor outlives this
// process. It never waits. ErrBusy: not now, see Ready. Any other error: it is not kept.
func (c *Client) Keep(tag Tag, fd int) error { return c.KeepAll([]Tag{tag}, []int{fd}) }

// KeepAll is Keep for several, at most MaxBatch, all or none.
func (c *Client) KeepAll(tags []Tag, fds []int) error {
	if len(tags) != len(fds) || len(tags) > maxBatch {
		return fmt.Errorf("keep %d descriptors with %d tags: at most %d", len(fds), len(tags), maxBatch)
	}
	c.send.Lock()
	defer c.send.Unlock()
	if err := c.flush(); err != nil {
		return err
	}
	return c.message(verbKeep, appendTags(c.send.body[:headerSize], tags), fds...)
}

// MaxBatch is how many descriptors go into one KeepAll.
const MaxBatch = maxBatch

// Drop has the keeper close its duplicates. What finds the socket full goes later by itself, and before any Keep that comes behind it.
func (c *Client) Drop(tags ...Tag) error {
	c.send.Lock()
	defer c.send.Unlock()
	c.send.drops = append(c.send.drops, tags...)
	err := c.flush()
	if errors.Is(err, ErrBusy) {
		c.awaitRoom()
		return nil
	}
	return err
}

// flush sends the drops that wait. The caller has the lock.
func (c *Client) flush() error {
	for len(c.send.drops) > 0 {
		n := min(len(c.send.drops), maxBatch)
		if err := c.message(verbDrop, appendTags(c.send.body[:headerSize], c.send.drops[:n])); err != nil {
			if !errors.Is(err, ErrBusy) {
				c.send.drops = nil
			}
			return err
		}
		c.send.drops = c.send.drops[n:]
	}
	c.send.drops = nil
	return nil
}

// KeepMemory gives memory to the keeper by a name, in the place of what the name had before; fd -1: nothing more.
func (c *Client) KeepMemory(name string, fd int) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("keep memory %q: a name has 1 to %d bytes", name, maxName)
	}
	c.send.Lock()
	defer c.send.Unlock()
	body := append(c.send.body[:headerSize], name...)
	if fd < 0 {
		return c.message(verbMemory, body)
	}
	return c.message(verbMemory, body, fd)
}

// Serving tells the keeper that clients are served: if this daemon ends, all is held for the whole grace time.
func (c *Client) Serving() error {
	c.send.Lock()
	defer c.send.Unlock()
	return c.message(verbServing, c.send.body[:headerSize])
}

// Ending tells the keeper that this daemon is to stop: what it still holds when the daemon has ended, however that is, is closed at once.
func (c *Client) Ending() error {
	c.send.Lock()
	defer c.send.Unlock()
	return c.message(verbEnding, c.send.body[:headerSize])
}

// Fenced reports whether the keeper has said that another daemon has the claim.
func (c *Client) Fenced() bool { return c.fenced.Load() }

// message sends one. The caller has the lock, and has left room for the header.
func (c *Client) message(verb byte, msg []byte, fds ...int) error {
	if c.fenced.Load() {
		return ErrFenced
	}
	header(msg[:0], verb, 0)
	return c.sendmsg(msg, fds)
}

func (c *Client) sendmsg(msg []byte, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	var err error
	if werr := c.raw.Write(func(fd uintptr) bool {
		err = unix.Sendmsg(int(fd), msg, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true
	}); werr != nil {
		return c.gone(werr)
	}
	switch err {
	case nil:
		return nil
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS, unix.ENOMEM, unix.ETOOMANYREFS: // the last: too many of this user's descriptors are on their way
		return ErrBusy
	case unix.EBADF:
		return fmt.Errorf("give descriptor to the keeper: %w", err)
	}
	return c.gone(err)
}

// Ready calls f once, from another goroutine, when it is worth to try again behind ErrBusy, or when the keeper is gone.
func (c *Client) Ready(f func()) {
	c.send.Lock()
	defer c.send.Unlock()
	c.send.ready = append(c.send.ready, f)
	c.awaitRoom()
}

// roomPause is between two looks for room: a full socket says when it has some, the user's limit of descriptors on their way does not.
const roomPause = time.Millisecond

// awaitRoom has a goroutine wait for room. The caller has the lock.
func (c *Client) awaitRoom() {
	if c.send.waiting {
		return
	}
	c.send.waiting = true
	go c.waitForRoom()
}

func (c *Client) waitForRoom() {
	tick := time.NewTicker(roomPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.done:
		}
		if c.room() {
			c.callReady()
			return
		}
	}
}

// room reports whether the socket has room again, or is gone, and sends the drops that waited.
func (c *Client) room() bool {
	c.send.Lock()
	defer c.send.Unlock()
	if errors.Is(c.flush(), ErrBusy) {
		return false
	}
	var writable bool
	err := c.raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, perr := unix.Poll(p, 0)
		writable = perr == nil && n > 0
	})
	return writable || err != nil
}

// callReady tells who waited for room.
func (c *Client) callReady() {
	c.send.Lock()
	ready := c.send.ready
	c.send.ready, c.send.waiting = nil, false
	c.send.Unlock()
	for _, f := range ready {
		f()
	}
}
