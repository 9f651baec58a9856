package link

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// stream is one connection of a link, as the link's loop sees it. The loop is its only user; none of its methods blocks.
//
// conn implements it by two goroutines over net.Conn. Legs of the proxy's event loops could stand in its place: their bytes come by received,
// too, and send never waits for the kernel.
type stream interface {
	// received gives what has come, in order, and is closed behind the last byte. Who does not receive stops the sender, by the
	// kernel's window.
	received() <-chan []byte
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
}

// lingerTime is how long the other end has to take what it was sent before its end. Closed earlier, with bytes of it unread, the kernel would reset the
// connection, and what the other end had not read yet would be lost.
const lingerTime = 5 * time.Second

// readSize is how much is read at once.
const readSize = 32 << 10

// keepAlive finds a peer that is gone without a word, sooner than its own pings would.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}

// conn is a stream over an ordinary connection.
type conn struct {
	net.Conn
	in    chan []byte
	taken chan struct{} // see room
	wake  chan struct{} // something is to be written, or the end
	over  chan struct{} // closed by finish and close: nobody receives any more

	mu       sync.Mutex // guards all below
	out      []byte
	writing  int // bytes that the writer has
	finished bool
	why      error
}

// newConn owns c from here on. running counts its goroutines.
func newConn(c net.Conn, running *sync.WaitGroup) *conn {
	if tcp, ok := underlying(c).(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepAlive)
	}
	s := &conn{Conn: c, in: make(chan []byte), taken: make(chan struct{}, 1), wake: make(chan struct{}, 1), over: make(chan struct{})}
	running.Add(2)
	written := make(chan struct{})
	go func() { defer running.Done(); s.write(written) }()
	go func() { defer running.Done(); s.read(written) }()
	return s
}

// underlying is what TLS is spoken over.
func underlying(c net.Conn) net.Conn {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return c
}

func (s *conn) received() <-chan []byte { return s.in }
func (s *conn) room() <-chan struct{}   { return s.taken }

func (s *conn) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

func (s *conn) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out) + s.writing
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

// read is a goroutine. It ends with the connection, and closes it.
func (s *conn) read(written <-chan struct{}) {
	buf := make([]byte, readSize)
	for {
		n, err := s.Conn.Read(buf)
		if n > 0 {
			select {
			case <-s.over: // and what comes is dropped
			case s.in <- append([]byte(nil), buf[:n]...):
			}
		}
		if err != nil {
			s.fail(err)
			break
		}
	}
	close(s.in)
	<-s.over // until it is said what becomes of our side
	<-written
	s.Conn.Close()
}

// write is a goroutine. It ends when all is written behind finish, or when the connection does not take it.
func (s *conn) write(written chan<- struct{}) {
	defer close(written)
	for range s.wake {
		for {
			b, finished := s.take()
			if len(b) == 0 && !finished {
				break
			}
			if len(b) == 0 {
				if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
					c.CloseWrite()
				}
				return
			}
			if _, err := s.Conn.Write(b); err != nil {
				s.fail(err)
				s.Conn.Close() // so that the reader ends too
				<-s.over
				return
			}
			s.mu.Lock()
			s.writing = 0
			s.mu.Unlock()
			signal(s.taken)
		}
	}
}

func (s *conn) take() (b []byte, finished bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, s.out = s.out, nil
	s.writing = len(b)
	return b, s.finished
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
