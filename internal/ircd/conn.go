package ircd

import (
	"bytes"
	"io"
	"syscall"
	"time"
)

const (
	// readChunk is what one turn reads of one connection at most, so that a flood does not starve the others.
	readChunk = 16 << 10
	// bufferSize is the first size of a queue; buffers of up to bufferKeep bytes are used again.
	bufferSize = 1 << 10
	bufferKeep = 32 << 10
	// flushEarly is the queue length at which a connection is written to before its turn ends, so that a long answer is not
	// taken for a client that does not read.
	flushEarly = 64 << 10
	// lingerTime is how long a closed client may take to read its last lines.
	lingerTime = 2 * time.Second
)

// owner is who gets the input of a connection. Both methods are called under Server.mu.
type owner interface {
	// input is called when recvq has grown. The owner takes what it runs by consume.
	input(c *conn)
	// hangup is called once, when the peer has closed (io.EOF) or the connection broke. The owner lets go of c, which is closed
	// by the caller.
	hangup(c *conn, err error)
}

// connState is where a connection is.
//
//	open -> closing -> closed     finish: the queue is written, then FIN, then the peer's FIN is awaited for lingerTime
//	open -> closed                closeNow, or the peer hung up
type connState uint8

const (
	connOpen connState = iota
	connClosing
	connClosed
)

func (s connState) String() string {
	switch s {
	case connOpen:
		return "open"
	case connClosing:
		return "closing"
	default:
		return "closed"
	}
}

// conn is one TCP connection in the loop. All of it is guarded by Server.mu. Queues take memory only while bytes are in them.
type conn struct {
	srv   *Server
	owner owner
	fd    int
	key   pollKey

	recvq []byte // read and not yet run
	sendq []byte // not yet taken by the kernel
	in    uint64 // bytes read from the socket, recvq included
	out   uint64 // bytes taken by the kernel

	state   connState
	eof     bool // the peer sent FIN, or the connection broke
	blocked bool // the kernel took no more: the loop waits for EPOLLOUT
	dirty   bool // is in Server.dirty
	full    bool // is in Server.overflowed
}

// newConn puts a non-blocking socket into the loop. It owns fd from here on, also when it fails.
func (s *Server) newConn(fd int, o owner) (*conn, error) {
	c := &conn{srv: s, owner: o, fd: fd}
	key, err := s.poll.add(fd, syscall.EPOLLIN, c)
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	c.key = key
	s.conns++
	return c, nil
}

// ready is the loop's call.
func (c *conn) ready(events uint32) {
	if c.state == connClosed {
		return
	}
	if events&syscall.EPOLLOUT != 0 {
		c.setBlocked(false)
		c.flush()
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 && c.state != connClosed {
		c.readable()
	}
}

func (c *conn) readable() {
	n, err := c.fill(readChunk)
	if c.state == connClosing {
		c.recvq = c.srv.putBuffer(c.recvq)
		if err != nil {
			c.closeNow()
		}
		return
	}
	if n > 0 {
		c.owner.input(c)
	}
	if err != nil && c.state == connOpen {
		c.owner.hangup(c, err)
		if c.state == connOpen {
			c.closeNow()
		}
	}
}

// fill reads at most max bytes into recvq without running any of them. It answers how many, and why there will be no more:
// io.EOF or the socket's error. Nothing to read is 0 and nil.
func (c *conn) fill(max int) (int, error) {
	buf := c.srv.scratch[:min(max, len(c.srv.scratch))]
	for {
		n, err := syscall.Read(c.fd, buf)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, nil
		case err != nil:
			c.eof = true
			return 0, err
		case n == 0:
			c.eof = true
			return 0, io.EOF
		}
		if c.recvq == nil {
			c.recvq = c.srv.takeBuffer()
		}
		c.recvq = append(c.recvq, buf[:n]...)
		c.in += uint64(n)
		return n, nil
	}
}

// fillTo reads until in is total, as far as the kernel has it now, without running anything. It answers whether it is there.
func (c *conn) fillTo(total uint64) (bool, error) {
	for c.in < total {
		n, err := c.fill(int(min(total-c.in, readChunk)))
		if err != nil || n == 0 {
			return false, err
		}
	}
	return true, nil
}

// consume takes n bytes off the front of recvq.
func (c *conn) consume(n int) {
	rest := copy(c.recvq, c.recvq[n:])
	c.recvq = c.recvq[:rest]
	if rest == 0 {
		c.recvq = c.srv.putBuffer(c.recvq)
	}
}

// queue appends output; settle writes it. limit is the length above which the connection is given up (Server.overflowed).
func (c *conn) queue(b []byte, limit int) {
	if c.state != connOpen {
		return
	}
	if c.sendq == nil {
		c.sendq = c.srv.takeBuffer()
	}
	c.sendq = append(c.sendq, b...)
	if len(c.sendq) >= flushEarly {
		c.flush()
	}
	if len(c.sendq) > limit && !c.full {
		c.full = true
		c.srv.overflowed = append(c.srv.overflowed, c)
	}
	if !c.dirty && len(c.sendq) > 0 {
		c.dirty = true
		c.srv.dirty = append(c.srv.dirty, c)
	}
}

// flush writes as much of sendq as the kernel takes. That a connection is broken is for the loop to find, not for here.
func (c *conn) flush() {
	if c.blocked || c.state == connClosed {
		return
	}
	for len(c.sendq) > 0 && !c.blocked {
		n, err := syscall.Write(c.fd, c.sendq)
		if n > 0 {
			c.out += uint64(n)
			c.sendq = c.sendq[n:]
		}
		switch err {
		case nil, syscall.EINTR:
		case syscall.EAGAIN:
			c.setBlocked(true)
		default:
			c.sendq = c.sendq[:0]
		}
	}
	if len(c.sendq) == 0 {
		c.sendq = c.srv.putBuffer(c.sendq)
		if c.state == connClosing {
			c.sendFIN()
		}
	}
}

func (c *conn) setBlocked(blocked bool) {
	if c.blocked == blocked {
		return
	}
	c.blocked = blocked
	events := uint32(syscall.EPOLLIN)
	if blocked {
		events |= syscall.EPOLLOUT
	}
	c.srv.poll.change(c.fd, events, c.key)
}

// overflow gives up what the peer has not read, but for the rest of a line that is half out, so that the last words fit in.
func (c *conn) overflow() {
	if c.out == 0 {
		c.sendq = c.sendq[:0]
	} else if i := bytes.IndexByte(c.sendq, '\n'); i >= 0 {
		c.sendq = c.sendq[:i+1]
	}
}

// finish closes in order: what is queued goes out, then FIN, then the peer's FIN is awaited for lingerTime. (A close with unread
// input would be a reset, and the last lines could be lost.)
func (c *conn) finish() {
	if c.state != connOpen {
		return
	}
	c.state = connClosing
	c.owner = nil
	c.recvq = c.srv.putBuffer(c.recvq)
	c.srv.lingering[c] = time.Now().Add(lingerTime)
	c.flush()
}

func (c *conn) sendFIN() {
	if c.eof {
		c.closeNow()
		return
	}
	syscall.Shutdown(c.fd, syscall.SHUT_WR)
}

// closeNow closes at once and drops what is queued.
func (c *conn) closeNow() {
	if c.state == connClosed {
		return
	}
	c.state = connClosed
	c.owner = nil
	c.recvq = c.srv.putBuffer(c.recvq)
	c.sendq = c.srv.putBuffer(c.sendq)
	delete(c.srv.lingering, c)
	c.srv.poll.remove(c.fd, c.key)
	syscall.Close(c.fd)
	c.srv.conns--
}
