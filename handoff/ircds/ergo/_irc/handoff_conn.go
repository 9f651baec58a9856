// SPDX-License-Identifier: MIT

package irc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/ergochat/irc-go/ircreader"

	"github.com/ergochat/ergo/irc/protocol"
	"github.com/ergochat/ergo/irc/utils"
)

// handoffConn is an IRCConn over a stream of HANDOFF/1. It knows to the byte what was read and written, which line was read and not yet
// run, and what the socket has not taken.
type handoffConn struct {
	end     *handoffEnd
	u       string
	tls     string
	certfp  string
	wrapped *utils.WrappedConn
	tcp     *net.TCPConn
	moved   bool                    // came by ATTACH: no burst, no PROXY line
	session atomic.Pointer[Session] // from its first turn in the world on
	begun   *Client                 // whose goroutine has the session; of a client that is just coming back to another one, not session.client
	gone    atomic.Bool             // released: nothing is read, run or written any more

	readMu sync.Mutex // held over a read, and by a frozen world
	thawed sync.Cond
	frozen atomic.Bool // the reader is to let go of readMu
	buf    []byte
	start  int // of the line that was given out last
	line   int // its bytes, terminator included; they stay in buf until the next read
	unrun  bool
	in     uint64
	ended  error

	held atomic.Bool // writes do not wait for the socket
	sq   []byte      // not taken by the socket, only while held; it and out are guarded by Socket.writeLock
	out  uint64
}

// handoffAddr is the connection as Ergo may look at it: with the client's addresses.
type handoffAddr struct {
	*net.TCPConn
	remote, local net.Addr
}

func (a handoffAddr) RemoteAddr() net.Addr { return a.remote }
func (a handoffAddr) LocalAddr() net.Addr  { return a.local }

const handoffSocketBuffer = 64 << 10 // what a client has not read stays small

// newHandoffConn makes a conn for a client that the coordinator has told of; rest was read already.
func (h *handoffEnd) newHandoffConn(tcp *net.TCPConn, o protocol.Open, rest []byte) *handoffConn {
	tcp.SetReadBuffer(handoffSocketBuffer)
	tcp.SetWriteBuffer(handoffSocketBuffer)
	wrapped := &utils.WrappedConn{
		Conn: handoffAddr{TCPConn: tcp, remote: net.TCPAddrFromAddrPort(o.Remote), local: net.TCPAddrFromAddrPort(o.Local)},
	}
	confirmProxyData(wrapped, "", "", "", h.server.Config()) // loopback and secure-nets
	wrapped.Secure = wrapped.Secure || o.TLS != ""
	c := &handoffConn{end: h, u: o.U, tls: o.TLS, certfp: o.CertFP, wrapped: wrapped, tcp: tcp,
		buf: bytes.Clone(rest), in: uint64(len(rest))}
	c.thawed.L = &c.readMu
	return c
}

func (c *handoffConn) UnderlyingConn() *utils.WrappedConn { return c.wrapped }

func (c *handoffConn) Close() error {
	c.end.forget(c)
	return c.tcp.Close()
}

// ReadLine is called outside the world. The line is run, as far as a record tells, when its goroutine has come in with it.
func (c *handoffConn) ReadLine() ([]byte, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.start, c.line = c.start+c.line, 0
	for looked := c.start; ; {
		if n := bytes.IndexByte(c.buf[looked:], '\n'); n >= 0 {
			end := looked + n
			c.line, c.unrun = end+1-c.start, true
			line := bytes.TrimSuffix(c.buf[c.start:end], []byte{'\r'})
			if globalUtf8EnforcementSetting && !utf8.Valid(line) {
				return line, errInvalidUtf8
			}
			return line, nil
		}
		c.buf, c.start = append(c.buf[:0], c.buf[c.start:]...), 0
		looked = len(c.buf)
		if looked >= maxReadQBytes() {
			return nil, ircreader.ErrReadQ
		}
		if c.ended != nil {
			return nil, c.ended
		}
		if err := c.read(maxReadQBytes() - looked); err != nil {
			for c.frozen.Load() {
				c.thawed.Wait()
			}
			looked = c.start // who froze it has perhaps read on
		}
	}
}

// read reads once. It fails only where a deadline has ended it: that the stream is at its end is kept for when all lines are run.
func (c *handoffConn) read(most int) error {
	if c.gone.Load() {
		c.ended = io.EOF
		return nil
	}
	at := len(c.buf)
	if cap(c.buf)-at < min(most, initialBufferSize) {
		c.buf = append(c.buf, make([]byte, initialBufferSize)...)[:at]
	}
	n, err := c.tcp.Read(c.buf[at:min(cap(c.buf), at+most)])
	c.buf = c.buf[:at+n]
	c.in += uint64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.ended = err
	return nil
}

var longAgo = time.Unix(1, 0)

// wakeReader asks the goroutine that reads to let go of the input; freezeInput then takes it, until thawInput.
func (c *handoffConn) wakeReader() {
	c.frozen.Store(true)
	c.tcp.SetReadDeadline(longAgo)
}

func (c *handoffConn) freezeInput() { c.readMu.Lock() }

func (c *handoffConn) thawInput() {
	c.tcp.SetReadDeadline(time.Time{})
	c.frozen.Store(false)
	c.readMu.Unlock()
	c.thawed.Broadcast()
}

// readTo reads until that many bytes have come in all. The input is frozen.
func (c *handoffConn) readTo(ctx context.Context, want uint64) error {
	if c.in > want {
		return &protocol.Error{Code: protocol.CodeCount, U: c.u, Text: "more came than was told"}
	}
	deadline, _ := ctx.Deadline()
	c.tcp.SetReadDeadline(deadline)
	for c.in < want {
		if err := c.read(int(min(want-c.in, 64<<10))); err != nil {
			return &protocol.Error{Code: protocol.CodeBehind, U: c.u, Text: "input is missing"}
		}
		if c.ended != nil && c.in < want {
			return &protocol.Error{Code: protocol.CodeBehind, U: c.u, Text: "the stream ended"}
		}
	}
	return nil
}

// rq is what was read and not run. The input is frozen.
func (c *handoffConn) rq() []byte {
	if c.unrun {
		return c.buf[c.start:]
	}
	return c.buf[c.start+c.line:]
}

func (c *handoffConn) WriteLine(line []byte) error { return c.write(net.Buffers{line}) }

func (c *handoffConn) WriteLines(lines [][]byte) error { return c.write(lines) }

// write is called by one goroutine at a time. While the stream is held it always succeeds.
func (c *handoffConn) write(lines net.Buffers) error {
	for {
		if c.gone.Load() {
			return net.ErrClosed
		}
		if len(c.sq) > 0 {
			lines = append(net.Buffers{c.sq}, lines...)
			c.sq = nil
		}
		n, err := lines.WriteTo(c.tcp)
		c.out += uint64(n)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		for _, rest := range lines {
			c.sq = append(c.sq, rest...)
		}
		if c.held.Load() {
			return nil
		}
	}
}

// hold makes writes not wait for the socket any more.
func (c *handoffConn) hold() {
	c.held.Store(true)
	c.tcp.SetWriteDeadline(longAgo)
}

// letGo undoes hold: what waited is Ergo's to write again.
func (c *handoffConn) letGo() {
	c.held.Store(false)
	c.tcp.SetWriteDeadline(time.Time{})
	if c.session.Load() == nil {
		return
	}
	socket := c.session.Load().socket
	socket.writeLock.Lock()
	c.giveBack()
	socket.writeLock.Unlock()
	if socket.readyToWrite() {
		socket.wakeWriter()
	}
}

// giveBack puts sq in front of what Ergo has to write. The caller has writeLock.
func (c *handoffConn) giveBack() {
	if len(c.sq) == 0 {
		return
	}
	socket := c.session.Load().socket
	socket.Lock()
	defer socket.Unlock()
	socket.buffers = append([][]byte{c.sq}, socket.buffers...)
	socket.totalLength += len(c.sq)
	c.sq = nil
}

// freezeOutput keeps everybody from writing until thawOutput, and leaves in sq all that the socket does not take now.
func (c *handoffConn) freezeOutput() {
	if c.session.Load() == nil {
		return
	}
	socket := c.session.Load().socket
	socket.writeLock.Lock()
	socket.Lock()
	for _, b := range socket.buffers {
		c.sq = append(c.sq, b...)
	}
	socket.buffers, socket.totalLength = nil, 0
	socket.Unlock()
	c.tcp.SetWriteDeadline(time.Time{})
	if raw, err := c.tcp.SyscallConn(); err == nil && len(c.sq) > 0 {
		raw.Write(func(fd uintptr) bool {
			if n, err := syscall.Write(int(fd), c.sq); err == nil {
				c.out += uint64(n)
				c.sq = c.sq[n:]
			}
			return true
		})
	}
}

func (c *handoffConn) thawOutput() {
	if c.session.Load() == nil {
		return
	}
	c.giveBack()
	c.session.Load().socket.writeLock.Unlock()
}
