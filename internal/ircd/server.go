package ircd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Server is one IRC server. Build it with New, then Start, then Close.
type Server struct {
	cfg   Config
	log   *slog.Logger
	stats stats

	mu   sync.Mutex // the world: all below, and every conn, Client and Channel
	poll *poller

	clients             map[*Client]struct{} // everybody who is live, registered or not
	nicks               map[string]*Client   // by folded nick; also of those who have not finished registration
	ids                 map[string]*Client   // registered users by id
	reserved            map[string]string    // folded nicks that nobody may take now, with what for (an import that is prepared)
	channels            map[string]*Channel  // by folded name
	watchers            map[string][]*Client // MONITOR: who wants to know of a folded nick
	lastID              uint32               // counter of user ids
	mark                uint64               // of the running walk over peers, see Client.peers
	opers               map[*Client]struct{}
	invisible, maxUsers int
	started             time.Time

	conns      int
	dirty      []*conn              // have output to be written by settle
	overflowed []*conn              // are over their send queue limit, to be closed by settle
	lingering  map[*conn]time.Time  // are closing; until when
	throttled  map[*Client]struct{} // have lines in recvq that the flood limit does not let run yet
	buffers    [][]byte             // queues to be used again
	scratch    []byte               // for one read
	acceptors  []*acceptor
	addrs      []netip.AddrPort
	proxied    []net.Listener // read PROXY v1, in goroutines
	pending    map[net.Conn]struct{}
	closing    bool
	hooks      []func() // called by Close, see onClose

	running sync.WaitGroup // all goroutines
	stop    chan struct{}  // closed by Close: the ticker ends
	drained chan struct{}  // closed when Close was called and the last connection is gone
}

// stats can be read while the world is stopped.
type stats struct {
	users, channels atomic.Int64
}

// New checks cfg and opens the listeners, so that Addr answers at once; clients are served from Start on.
func New(cfg Config) (*Server, error) {
	s := &Server{
		cfg:       cfg.withDefaults(),
		clients:   make(map[*Client]struct{}),
		nicks:     make(map[string]*Client),
		ids:       make(map[string]*Client),
		opers:     make(map[*Client]struct{}),
		reserved:  make(map[string]string),
		channels:  make(map[string]*Channel),
		watchers:  make(map[string][]*Client),
		lingering: make(map[*conn]time.Time),
		throttled: make(map[*Client]struct{}),
		pending:   make(map[net.Conn]struct{}),
		scratch:   make([]byte, readChunk),
		started:   time.Now(),
		stop:      make(chan struct{}),
		drained:   make(chan struct{}),
	}
	s.log = s.cfg.Log.With("ircd", s.cfg.Name)
	if len(s.cfg.SID) != 3 || !strings.Contains(s.cfg.Name, ".") {
		return nil, fmt.Errorf("ircd: name %q needs a dot, sid %q three characters", s.cfg.Name, s.cfg.SID)
	}
	var err error
	if s.poll, err = newPoller(); err != nil {
		return nil, err
	}
	for _, l := range s.cfg.Listen {
		if err := s.openListener(l); err != nil {
			s.Close()
			return nil, fmt.Errorf("ircd listen %s: %w", l.Address, err)
		}
	}
	return s, nil
}

func (s *Server) openListener(l Listener) error {
	if !l.ProxyV1 {
		addr, err := s.listen(l.Address, s.acceptClient)
		s.addrs = append(s.addrs, addr)
		return err
	}
	ln, err := net.Listen("tcp", l.Address)
	if err != nil {
		return err
	}
	s.proxied = append(s.proxied, ln)
	s.addrs = append(s.addrs, ln.Addr().(*net.TCPAddr).AddrPort())
	return nil
}

// Start serves clients until Close. It returns at once.
func (s *Server) Start() {
	s.running.Add(2 + len(s.proxied))
	go s.loop()
	go s.tick()
	for _, ln := range s.proxied {
		go s.serveProxyV1(ln)
	}
}

// Addr answers the address of the first listener, with the real port.
func (s *Server) Addr() netip.AddrPort {
	if len(s.addrs) == 0 {
		return netip.AddrPort{}
	}
	return s.addrs[0]
}

// Addrs answers the addresses of all listeners in the order of Config.Listen.
func (s *Server) Addrs() []netip.AddrPort { return s.addrs }

// Name answers the server's name.
func (s *Server) Name() string { return s.cfg.Name }

// Users answers how many clients are registered. It may be called while the world is stopped.
func (s *Server) Users() int { return int(s.stats.users.Load()) }

// Channels answers how many channels there are. It may be called while the world is stopped.
func (s *Server) Channels() int { return int(s.stats.channels.Load()) }

// AddBan keeps users out from now on; those who are in stay.
func (s *Server) AddBan(b Ban) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Bans = append(s.cfg.Bans, b)
}

// loop is the goroutine that reads, runs and writes.
func (s *Server) loop() {
	defer s.running.Done()
	s.poll.run(func(events []syscall.EpollEvent) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range events {
			if src := s.poll.lookup(&events[i]); src != nil {
				src.ready(events[i].Events)
			}
		}
		s.settle()
	})
}

// do runs f with the world stopped, and settles.
func (s *Server) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.settle()
}

// settle ends a turn: it closes who is over the limit and writes what was queued. A quit queues more, hence the loop.
func (s *Server) settle() {
	for len(s.dirty) > 0 || len(s.overflowed) > 0 {
		for len(s.overflowed) > 0 {
			c := s.overflowed[len(s.overflowed)-1]
			s.overflowed = s.overflowed[:len(s.overflowed)-1]
			s.sendQExceeded(c)
		}
		for _, c := range s.dirty {
			c.dirty = false
			c.flush()
		}
		clear(s.dirty)
		s.dirty = s.dirty[:0]
	}
	if s.closing && s.conns == 0 && s.drained != nil {
		close(s.drained)
		s.drained = nil
	}
}

func (s *Server) sendQExceeded(c *conn) {
	client, ok := c.owner.(*Client)
	if c.state != connOpen || !ok {
		return
	}
	c.overflow()
	client.quit("SendQ exceeded")
}

// onClose registers what Close has to do first, without Server.mu. Not for several goroutines at once, nor beside Close.
func (s *Server) onClose(f func()) { s.hooks = append(s.hooks, f) }

// Close ends the server in order and waits for its goroutines: 1. nobody new comes in, 2. every client gets an ERROR line,
// 3. for lingerTime they may read it, 4. what is left is closed, and then the loop, because closing needs it until here.
func (s *Server) Close() error {
	for _, f := range s.hooks { // without the lock: who has stopped the world must be able to let it go on
		f()
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return errors.New("ircd: closed already")
	}
	s.closing = true
	drained := s.drained
	s.closeListeners()
	s.endClients("Server shutting down")
	s.settle()
	s.mu.Unlock()

	close(s.stop)
	select {
	case <-drained:
	case <-time.After(lingerTime):
	}
	s.mu.Lock()
	for c := range s.lingering {
		c.closeNow()
	}
	s.mu.Unlock()
	s.poll.close()
	s.running.Wait()
	return nil
}

func (s *Server) closeListeners() {
	for _, a := range s.acceptors {
		a.close()
	}
	for _, ln := range s.proxied {
		ln.Close()
	}
	for nc := range s.pending {
		nc.Close()
	}
}

// takeBuffer and putBuffer keep the memory of queues: bytes are in few of them at a time.
func (s *Server) takeBuffer() []byte {
	if n := len(s.buffers); n > 0 {
		b := s.buffers[n-1]
		s.buffers = s.buffers[:n-1]
		return b
	}
	return make([]byte, 0, bufferSize)
}

// putBuffer answers nil, for the queue to forget it.
func (s *Server) putBuffer(b []byte) []byte {
	if cap(b) >= bufferSize/2 && cap(b) <= bufferKeep && len(s.buffers) < 4096 {
		s.buffers = append(s.buffers, b[:0])
	}
	return nil
}
