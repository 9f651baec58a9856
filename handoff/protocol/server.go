package protocol

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Config is what a Server is told. Zero values are good.
type Config struct {
	Pass      string // a coordinator must tell it; "": none, the socket's permissions guard it
	Stream    string // addr:port that HELLO tells; "": nothing is told, set by SetStream
	MaxUsers  int    // users in one transaction; 0: 100000
	MaxLine   int    // announced; 0: MaxLine
	MaxBytes  int    // bytes of all records of one transaction; 0: 256 MiB
	Intercept Intercept
}

// Limits and times of a Server. The standard names those that both ends must know.
const (
	defaultMaxUsers = 100_000
	defaultMaxBytes = MaxRecords
	firstLineTime   = 10 * time.Second // HELLO on control, OPEN or ATTACH on a stream
	writeTime       = 30 * time.Second // an answer that nobody reads
	behindTime      = time.Second      // for the selected streams to come up to in
)

// What a coordinator may ask for at most.
const (
	MaxFreeze = 60 * time.Second
	MaxLease  = time.Hour
)

// Server is the ircd's end of HANDOFF/1: all that the standard says of lines, states, secrets, sums and limits. It drives an Ircd.
//
// One goroutine serves each control connection; Serve methods may be called from any. A Server lives as long as its ircd process.
type Server struct {
	ircd  Ircd
	cfg   Config
	skey  string
	epoch string
	table table
	src   source
	dst   dest

	mu     sync.Mutex
	stream string
	conns  map[net.Conn]struct{} // to be closed by Close
	closed bool
	done   chan struct{}
	wg     sync.WaitGroup
}

// NewServer makes a Server with a fresh epoch and stream secret.
func NewServer(ircd Ircd, cfg Config) *Server {
	if cfg.MaxUsers <= 0 {
		cfg.MaxUsers = defaultMaxUsers
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	return &Server{ircd: ircd, cfg: cfg, skey: NewSecret(), epoch: NewSecret(), stream: cfg.Stream,
		conns: make(map[net.Conn]struct{}), done: make(chan struct{})}
}

// NewSecret returns 128 random bits as 32 hex digits: a tx, a tok, an skey or an epoch.
func NewSecret() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// SetStream sets the address that HELLO tells for streams.
func (s *Server) SetStream(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream = addr
}

// ListenControl serves control connections of a listener until it is closed; then it returns nil, or what else ended it.
func (s *Server) ListenControl(l net.Listener) error { return s.accept(l, s.ServeControl) }

// ListenStream serves streams of a listener until it is closed.
func (s *Server) ListenStream(l net.Listener) error { return s.accept(l, s.ServeStream) }

func (s *Server) accept(l net.Listener, serve func(net.Conn)) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() && s.pause(5*time.Millisecond) {
				continue // no descriptors, or a client that was gone before accept
			}
			return fmt.Errorf("accept %s: %w", l.Addr(), err)
		}
		if !s.track(conn) {
			conn.Close()
			return nil
		}
		go func() {
			defer s.wg.Done()
			serve(conn)
		}()
	}
}

// track notes a connection for Close and counts its goroutine; false after Close.
func (s *Server) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[conn] = struct{}{}
	s.wg.Add(1)
	return true
}

// untrack is for a connection that is closed or that the ircd owns now.
func (s *Server) untrack(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// Close ends control connections and streams that are not the ircd's yet, resumes a frozen world, aborts an open import, and waits for the
// goroutines of its listeners. Listeners are the caller's to close, before.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.src.stop(s)
	s.dst.stop(s)
}

// pause waits, and reports whether it could to the end.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

// intercept lets the test hook see a message; it reports whether to go on with it, and whether the connection ends.
func (s *Server) intercept(d Direction, m *Message) (pass, end bool) {
	if s.cfg.Intercept == nil {
		return true, false
	}
	a := s.cfg.Intercept(d, m)
	if a.Delay > 0 && !s.pause(a.Delay) {
		return false, true
	}
	return !a.Drop && !a.Close, a.Close
}

// hello is what HELLO answers.
func (s *Server) hello(coordinator string) Hello {
	h := s.ircd.Hello(coordinator)
	s.mu.Lock()
	h.Stream = s.stream
	s.mu.Unlock()
	h.V, h.SKey, h.MaxUsers, h.MaxLine = Version, s.skey, s.cfg.MaxUsers, s.cfg.MaxLine
	h.Role, h.Pass = "", ""
	if h.Epoch == "" {
		h.Epoch = s.epoch
	}
	if h.MaxLine == 0 {
		h.MaxLine = MaxLine
	}
	if h.Feat == nil {
		h.Feat = []string{"open", "export", "import", "peek", "find", FeatProof, FeatMissing, FeatQuiet, FeatFence}
		if _, tells := s.ircd.(Remainer); tells {
			h.Feat = append(h.Feat, FeatRemain)
		}
		if _, ok := s.ircd.(Linker); ok {
			h.Feat = append(h.Feat, FeatLinks)
		}
	}
	return h
}
