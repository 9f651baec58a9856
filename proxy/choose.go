package proxy

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/loop"
)

const (
	firstRetry  = 100 * time.Millisecond // doubled each time
	longestWait = 4 * time.Second
	connectTime = 15 * time.Second // all tries together; after it the client is told (admin/warnings.go names it)
	dialTime    = 3 * time.Second  // one connect: lets one lost SYN be repeated
	openTime    = 5 * time.Second  // from OPEN to OPENED
)

// opening is what a session has until it is registered at its backend, and what is forgotten then.
type opening struct {
	since   time.Duration // loop time when the present search for a backend began
	tries   int
	refused bool // the last try was answered with ERROR code=
	dialing bool // the connect is under way (in StateReopening; else StateDialing says it)
	phase   reopenPhase
	match   answerMatcher // of a session that is opened anew
	stream  backend.Opening
	shake   *shaking          // TLS handshake under way, of the client or towards the backend
	facts   *backend.TLSFacts // of the client's TLS; nil: plaintext
	first   []byte            // beginning of the backend's first line, which is not the client's

	// The registration; see register.go.
	talk    transcript
	early   []byte // client bytes that came with the PROXY header
	half    []byte // the client's half line
	answer  []byte // the backend's half line, as much as is needed to know it
	held    []byte // lines that wait for USER (webirc_after)
	say     []byte // lines of ours for the client that wait until the backend's half line is whole
	nick    string // as the client asked for it
	user    string // parameter 1 of USER
	spotter headerSpotter
	holding bool // until USER was seen
	headed  bool // a PROXY header was read
	begun   bool // the first bytes of the client, or behind its header, were looked at
}

func (w *worker) pool(s *session) string { return s.lst.conf.Load().Pool }

// client is what a backend is told.
func (w *worker) client(s *session) backend.Client {
	c := backend.Client{U: w.id(s), Addr: s.client.addrPort(), Local: s.local.addrPort()}
	if s.reg != nil {
		c.TLS = s.reg.facts
	}
	return c
}

// begin starts the search for a backend, for a session that was let in.
func (w *worker) begin(s *session) {
	if s.reg == nil {
		s.reg = w.newOpening()
	}
	s.reg.since, s.reg.tries = w.loop.Now(), 0
	w.enter(s, StateWaiting)
	w.choose(s)
}

// choose finds a backend and dials it, or waits: at the gate without end, else a while.
func (w *worker) choose(s *session) {
	pool := w.pool(s)
	if w.gated[pool] {
		w.noDeadline(s)
		return
	}
	p, ok := w.p.backends.Pool(pool)
	if !ok {
		w.retry(s)
		return
	}
	b, err := p.Choose(s.client.addrPort().Addr())
	if err != nil {
		w.retry(s)
		return
	}
	o, err := b.Open(w.client(s))
	if err != nil {
		w.retry(s)
		return
	}
	s.reg.stream = o
	w.setPeer(s, w.peerOf(b))
	w.enter(s, StateDialing)
	w.dial(s)
}

// retry waits for the next try, or ends the session when there were enough.
func (w *worker) retry(s *session) {
	w.dropBackend(s)
	s.slot.Flags = 0
	r := s.reg
	if w.loop.Now()-r.since >= connectTime {
		if r.refused {
			w.end(s, ReasonBackendRefused, "The server does not accept connections, please try again later")
		} else {
			w.end(s, ReasonNoBackend, "No server can be reached, please try again later")
		}
		return
	}
	w.enter(s, StateWaiting)
	wait := min(firstRetry<<min(r.tries, 10), longestWait)
	r.tries++
	w.within(s, min(wait, max(r.since+connectTime-w.loop.Now(), 0)))
	if s.has(clientMore) {
		w.readClient(s) // has it gone?
	}
}

// dial begins to connect to the stream address of reg.
func (w *worker) dial(s *session) {
	fd, errno := w.socketTo(s.reg.stream)
	if errno != 0 {
		w.dialFailed(s, errno)
		return
	}
	s.backendFD = int32(fd)
	errno = loop.Connect(fd, s.reg.stream.Addr)
	if errno != 0 && errno != unix.EINPROGRESS {
		loop.Close(fd)
		s.backendFD = -1
		w.dialFailed(s, errno)
		return
	}
	if errno != 0 {
		s.set(backendWatched)
	}
	if err := w.loop.Watch(fd, s.key(portBackend), errno != 0); err != nil {
		loop.Close(fd)
		s.backendFD = -1
		w.dialFailed(s, unix.ENOMEM)
		return
	}
	if errno == 0 { // on one host the answer is there at once
		w.connected(s)
		return
	}
	w.within(s, dialTime)
}

// streamBuffer fixes the socket buffers of streams that can be moved, so that what a client has not read when it is moved stays
// small (handoff/protocol/HANDOFF.md, "A move, in order").
const streamBuffer = 64 << 10

func (w *worker) socketTo(o backend.Opening) (int, unix.Errno) {
	fd, errno := loop.Socket(o.Addr.Addr())
	if errno != 0 {
		if outOfDescriptors(errno) {
			w.pauseAccept()
		}
		return -1, errno
	}
	if o.Native {
		loop.SetOption(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, streamBuffer)
		loop.SetOption(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, streamBuffer)
	}
	loop.SetOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if !o.Addr.Addr().IsLoopback() { // our own host does not vanish in silence
		loop.SetOption(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	}
	return fd, 0
}

// dialed is told that the connect is decided. Writable and nothing else means that it succeeded.
func (w *worker) dialed(s *session, ev loop.Events) {
	if ev&(loop.Broken|loop.HangUp|loop.Writable) == loop.Writable {
		w.connected(s)
		return
	}
	if errno := loop.SocketError(int(s.backendFD)); errno != 0 {
		w.dialFailed(s, errno)
		return
	}
	w.connected(s)
}

// dialFailed: what is our own lack is not held against the backend, which knows the errors of that kind.
func (w *worker) dialFailed(s *session, errno unix.Errno) {
	s.peer.b.DialFailed(errno)
	if s.state == StateReopening {
		w.reopenRetry(s)
		return
	}
	s.reg.refused = false
	w.retry(s)
}

func outOfDescriptors(errno unix.Errno) bool { return errno == unix.EMFILE || errno == unix.ENFILE }
