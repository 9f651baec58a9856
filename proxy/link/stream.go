package link

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// stream is one connection of a link, as the link's loop sees it. The loop is its only user; none of its methods blocks.
//
// conn implements it, by two goroutines over a net.Conn.
type stream interface {
	// received gives what has come, in order, and is closed behind the last byte. Who does not receive stops the sender, by the
	// kernel's window. What was received is valid until took, which must follow.
	received() <-chan []byte
	took()
	// err says why received was closed; nil: the other end has closed its side.
	err() error
	// send puts b behind what waits to be written; b is copied. Behind finish or close it does nothing.
	send(b []byte)
	// waiting is how many bytes the kernel has not taken yet.
	waiting() int
	// room has a value when waiting has become less.
	room() <-chan struct{}
	// finish ends our side behind what was sent, drops what still comes, and closes when the other end has closed too, after lingerTime at most.
	finish()
	// close ends both directions at once.
	close()

	// stand stops it between two bytes, for another process that may go on with it. Until goOn or leave nothing comes by received, and nothing is written.
	stand()
	// goOn lets it go on as if nothing had been. A new stream begins with it.
	goOn()
	// carried is what another process must know of a stream that stands, and its socket, which stays the stream's.
	carried() (streamState, syscall.Conn, error)
	// stage has what comes read into buf from now on, of which unread bytes lie there already. The stream stands.
	stage(buf []byte) (unread int, socket syscall.Conn)
	// wrote is how many bytes the kernel has taken, modulo 2^32, and unsent what it has not, with that number.
	wrote() uint32
	unsent() (b []byte, wrote uint32)
	// sentAlready notes that the kernel has taken n bytes of what waits, and unreadAlready that it has given what nobody has received, both by another process.
	// The stream has not begun.
	sentAlready(n uint32) bool
	unreadAlready(b []byte)
	// wait returns when nothing of the stream runs any more.
	wait()
	// leave closes the socket here, without a byte or an end to the other side: another process has it.
	leave()
}

// lingerTime is how long the other end has to take what it was sent before its end. Closed earlier, with bytes of it unread, the kernel would reset the
// connection, and what the other end had not read yet would be lost.
const lingerTime = 5 * time.Second

// readSize is how much is read at once.
const readSize = 32 << 10

// keepAlive finds a peer that is gone without a word, sooner than its own pings would.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}

// conn is a stream over a TCP connection.
type conn struct {
	net.Conn
	in      chan []byte
	next    chan struct{} // see took
	taken   chan struct{} // see room
	wake    chan struct{} // something is to be written, or the end
	over    chan struct{} // closed by finish and close: nobody receives any more
	written chan struct{} // closed when the writer has nothing more to do
	running *sync.WaitGroup

	halt    chan struct{} // closed by stand
	working sync.WaitGroup

	buf    []byte // where reads go; the reader's
	unread []byte // of it, what nobody has received; the reader's
	ended  bool   // in is closed; the reader's

	mu       sync.Mutex // guards all below
	out      []byte
	writing  []byte // what the writer has
	gone     uint32 // what the kernel has taken, modulo 2^32
	finished bool
	why      error
}

// standing is a stream over c, which it owns from here on. It stands. running counts its goroutines.
func standing(c net.Conn, running *sync.WaitGroup) *conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepAlive)
	}
	return &conn{Conn: c, running: running, in: make(chan []byte), next: make(chan struct{}), taken: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		over: make(chan struct{}), written: make(chan struct{}), buf: make([]byte, readSize)}
}

// start starts the goroutines.
func (s *conn) start() {
	halt := make(chan struct{})
	s.halt = halt
	for _, work := range []func(<-chan struct{}){s.read, s.write} {
		s.running.Add(1)
		s.working.Add(1)
		go func() {
			defer s.running.Done()
			defer s.working.Done()
			work(halt)
		}()
	}
}

func (s *conn) received() <-chan []byte { return s.in }
func (s *conn) took()                   { s.next <- struct{}{} }
func (s *conn) room() <-chan struct{}   { return s.taken }

func (s *conn) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

func (s *conn) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out) + len(s.writing)
}

func (s *conn) send(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return
	}
	s.out = append(s.out, b...)
	signal(s.wake)
}

func (s *conn) finish() { s.end(false) }
func (s *conn) close()  { s.end(true) }

func (s *conn) end(now bool) {
	s.mu.Lock()
	if !s.finished {
		s.finished = true
		close(s.over)
	}
	s.mu.Unlock()
	signal(s.wake)
	if now {
		s.Conn.Close()
		return
	}
	s.Conn.SetDeadline(time.Now().Add(lingerTime))
}

// read is a goroutine. It ends with the connection, and closes it; or when the stream is to stand.
func (s *conn) read(halt <-chan struct{}) {
	for !s.ended {
		if len(s.unread) > 0 {
			if !s.deliver(halt) {
				return
			}
			continue
		}
		n, err := s.Conn.Read(s.buf)
		switch {
		case n > 0: // an error comes again
			atPoint("read")
			s.unread = s.buf[:n]
		case err != nil && halted(halt, err):
			return
		case err != nil:
			s.fail(err)
			s.ended = true
			close(s.in)
		}
	}
	for _, done := range []<-chan struct{}{s.over, s.written} { // until it is said what becomes of our side
		select {
		case <-done:
		case <-halt:
			return
		}
	}
	s.Conn.Close()
}

// deliver waits until somebody has taken what was read; false: the stream is to stand.
func (s *conn) deliver(halt <-chan struct{}) bool {
	select {
	case <-s.over: // and what comes is dropped
	case s.in <- s.unread:
		<-s.next
	case <-halt:
		return false
	}
	s.unread = nil
	return true
}

// halted reports whether err is that of a stream that is to stand.
func halted(halt <-chan struct{}, err error) bool {
	select {
	case <-halt:
		return errors.Is(err, os.ErrDeadlineExceeded)
	default:
		return false
	}
}

// write is a goroutine. It ends when all is written behind finish, when the connection does not take it, or when the stream is to stand.
func (s *conn) write(halt <-chan struct{}) {
	select {
	case <-s.written: // before it stood
		return
	default:
	}
	for more := true; more; {
		select {
		case <-s.wake:
			more = s.writeAll(halt)
		case <-halt:
			return
		}
	}
}

// writeAll writes what there is; false: it was the last, or the stream is to stand.
func (s *conn) writeAll(halt <-chan struct{}) bool {
	for {
		b, finished := s.take()
		if len(b) == 0 {
			if finished {
				if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
					c.CloseWrite()
				}
				close(s.written)
			}
			return !finished
		}
		n, err := s.Conn.Write(b)
		atPoint("written")
		s.note(n)
		switch {
		case err != nil && halted(halt, err):
			return false
		case err != nil:
			s.fail(err)
			s.Conn.Close() // so that the reader ends too
			close(s.written)
			return false
		}
		signal(s.taken)
	}
}

// take is what is to be written.
func (s *conn) take() (b []byte, finished bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.writing) == 0 {
		s.writing, s.out = s.out, nil
	}
	return s.writing, s.finished
}

func (s *conn) note(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone += uint32(n)
	if s.writing = s.writing[n:]; len(s.writing) == 0 {
		s.writing = nil
	}
}

// fail keeps the first cause.
func (s *conn) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil && !s.finished && !errors.Is(err, io.EOF) {
		s.why = err
	}
}

// signal leaves a value in a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
