package ircd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// ship is a server with its handoff, and a control connection to it.
type ship struct {
	t       *testing.T
	srv     *Server
	handoff *Handoff
	c       *protocol.Control
	hello   protocol.Hello
}

// coordinatorName is what all stream ids of the tests begin with.
const coordinatorName = "test"

func newShip(t *testing.T, cfg Config) *ship {
	t.Helper()
	srv, _ := startServer(t, cfg)
	h, err := srv.StartHandoff(HandoffConfig{Control: "unix:" + filepath.Join(t.TempDir(), "c")})
	if err != nil {
		t.Fatal(err)
	}
	s := &ship{t: t, srv: srv, handoff: h}
	s.c = s.dial()
	return s
}

func (s *ship) dial() *protocol.Control {
	s.t.Helper()
	c, err := protocol.Dial(s.t.Context(), s.handoff.Address())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if s.hello, err = c.Hello(s.t.Context(), protocol.Hello{Name: coordinatorName}); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// client connects a client past the coordinator.
func (s *ship) client(nick string, caps ...string) *ircclient.Tester {
	s.t.Helper()
	return user(s.t, s.srv.Addr().String(), nick, caps...)
}

// ferry is as much of a proxy as a move needs: sessions that count bytes, stop, and change streams.
type ferry struct {
	t        *testing.T
	mu       sync.Mutex
	to       *ship // where new sessions go
	ln       net.Listener
	sessions []*session
	n        int
	pumps    sync.WaitGroup
}

func newFerry(t *testing.T, to *ship) *ferry {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &ferry{t: t, to: to, ln: ln}
	f.pumps.Go(f.serve)
	t.Cleanup(f.close)
	return f
}

func (f *ferry) close() {
	f.ln.Close()
	f.mu.Lock()
	for _, s := range f.sessions {
		s.close()
	}
	f.mu.Unlock()
	f.pumps.Wait()
}

func (f *ferry) serve() {
	for {
		conn, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.n++
		s := &session{f: f, u: fmt.Sprintf("%s.%d", coordinatorName, f.n), client: conn}
		s.moved = sync.NewCond(&s.down)
		to := f.to
		f.mu.Unlock()
		if err := s.open(to); err != nil {
			f.t.Error(err)
			conn.Close()
			continue
		}
		f.mu.Lock()
		f.sessions = append(f.sessions, s)
		f.mu.Unlock()
		f.pumps.Go(s.upwards)
		f.pumps.Go(s.downwards)
	}
}

// user connects a client through the ferry.
func (f *ferry) user(nick string, caps ...string) *ircclient.Tester {
	f.t.Helper()
	return user(f.t, f.ln.Addr().String(), nick, caps...)
}

// session is one client of the ferry. up guards what goes to the backend: who holds it has frozen the client. down guards what comes back.
type session struct {
	f      *ferry
	u      string
	client net.Conn

	up     sync.Mutex
	stream net.Conn // the backend
	in     uint64

	down   sync.Mutex
	moved  *sync.Cond // out or next changed
	out    uint64
	next   net.Conn // attached and live
	frozen bool     // the old stream may end without a word
	closed bool
}

// passed is how many bytes have gone to the backend.
func (s *session) passed() uint64 {
	s.up.Lock()
	defer s.up.Unlock()
	return s.in
}

func (s *session) open(to *ship) error {
	var err error
	if s.stream, err = net.Dial("tcp", to.hello.Stream); err != nil {
		return err
	}
	s.stream.Write(protocol.AppendOpen(nil, protocol.Open{SKey: to.hello.SKey, U: s.u,
		Remote: netip.MustParseAddrPort("192.0.2.10:5000"), Local: netip.MustParseAddrPort("198.51.100.1:6667"),
		TLS: "TLSv1.3/TLS_AES_128_GCM_SHA256", CertFP: "abcd"}))
	return protocol.ParseStreamAnswer([]byte(readLine(s.stream)), protocol.VerbOpened, s.u, "")
}

func readLine(r io.Reader) string {
	var line []byte
	var b [1]byte
	for {
		if _, err := r.Read(b[:]); err != nil || b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

// upwards carries the client's bytes as they come, half lines too.
func (s *session) upwards() {
	buf := make([]byte, 1000)
	for {
		n, err := s.client.Read(buf)
		s.up.Lock()
		if n > 0 {
			s.stream.Write(buf[:n])
			s.in += uint64(n)
		}
		if err != nil {
			s.stream.(*net.TCPConn).CloseWrite()
			s.up.Unlock()
			return
		}
		s.up.Unlock()
	}
}

// downwards carries the backend's bytes; at the end of a stream it goes on with the next one, once there is one.
func (s *session) downwards() {
	buf, from := make([]byte, 1000), s.stream
	for {
		n, err := from.Read(buf)
		s.down.Lock()
		if n > 0 {
			s.client.Write(buf[:n])
			s.out += uint64(n)
			s.moved.Broadcast()
		}
		if err != nil {
			for s.next == nil && !s.closed && s.frozen {
				s.moved.Wait()
			}
			if s.next == nil {
				s.client.Close()
				s.down.Unlock()
				return
			}
			from, s.next = s.next, nil
		}
		s.down.Unlock()
	}
}

// readUpTime is for bytes that the source says it has written: they are in the kernel.
const readUpTime = 2 * time.Second

// readUp waits until out bytes have gone to the client.
func (s *session) readUp(out uint64) error {
	s.down.Lock()
	defer s.down.Unlock()
	late := time.AfterFunc(readUpTime, s.moved.Broadcast)
	defer late.Stop()
	end := time.Now().Add(readUpTime)
	for s.out < out && time.Now().Before(end) {
		s.moved.Wait()
	}
	if s.out != out {
		return fmt.Errorf("%s: %d bytes came, the source tells %d", s.u, s.out, out)
	}
	return nil
}

func (s *session) close() {
	s.client.Close()
	s.down.Lock()
	s.closed = true
	s.moved.Broadcast()
	s.down.Unlock()
	s.up.Lock()
	s.stream.Close()
	s.up.Unlock()
}

// move is one transaction of a ferry: tests take its steps one by one.
type move struct {
	f        *ferry
	from, to *ship
	tx, tok  string
	attached map[string]net.Conn
	records  []protocol.Message
	users    map[string]protocol.User
	sessions []*session
	alter    func(user *protocol.Message) // if set, changes the records on their way
}

func (f *ferry) newMove(from, to *ship) *move {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &move{f: f, from: from, to: to, tx: protocol.NewSecret(), tok: protocol.NewSecret(), attached: map[string]net.Conn{},
		users: map[string]protocol.User{}, sessions: append([]*session(nil), f.sessions...)}
}

func (m *move) importTx() error {
	return m.to.c.Import(m.f.t.Context(), m.tx, m.tok, time.Minute, "")
}

func (m *move) attach() error {
	for _, s := range m.sessions {
		conn, err := net.Dial("tcp", m.to.hello.Stream)
		if err != nil {
			return err
		}
		conn.Write(protocol.AppendAttach(nil, protocol.Attach{SKey: m.to.hello.SKey, Tx: m.tx, U: s.u, Tok: m.tok}))
		if err := protocol.ParseStreamAnswer([]byte(readLine(conn)), protocol.VerbAttached, s.u, ""); err != nil {
			return err
		}
		m.attached[s.u] = conn
	}
	return nil
}

// freeze stops the clients.
func (m *move) freeze() {
	for _, s := range m.sessions {
		s.up.Lock()
		s.setFrozen(true)
	}
}

func (m *move) thaw() {
	for _, s := range m.sessions {
		s.setFrozen(false)
		s.up.Unlock()
	}
}

func (s *session) setFrozen(frozen bool) {
	s.down.Lock()
	defer s.down.Unlock()
	s.frozen = frozen
	s.moved.Broadcast()
}

func (m *move) export() error { return m.exportWith(m.f.t.Context()) }

func (m *move) exportWith(ctx context.Context) error {
	req := protocol.ExportRequest{Tx: m.tx, Freeze: 10 * time.Second}
	for _, s := range m.sessions {
		req.Select = append(req.Select, protocol.Selection{U: s.u, In: s.in})
	}
	_, err := m.from.c.Export(ctx, req, func(r protocol.Message) error {
		if r.Verb == protocol.VerbUser {
			m.users[r.Get("u")] = protocol.User{Message: r}
			r = protocol.User{Message: r}.Strip().Message
			if m.alter != nil {
				m.alter(&r)
			}
		}
		m.records = append(m.records, r)
		return nil
	})
	return err
}

func (m *move) prepare() (protocol.Prepared, error) { return m.prepareWith(m.f.t.Context()) }

func (m *move) prepareWith(ctx context.Context) (protocol.Prepared, error) {
	for _, r := range m.records {
		if err := m.to.c.Record(ctx, r); err != nil {
			return protocol.Prepared{}, err
		}
	}
	return m.to.c.Prepare(ctx, m.tx)
}

func (m *move) readUp() error {
	for _, s := range m.sessions {
		if u, ok := m.users[s.u]; ok {
			_, out, _ := u.Cut()
			if err := s.readUp(out); err != nil {
				return err
			}
		}
	}
	return nil
}

// splice puts the new streams in the place of the old ones.
func (m *move) splice() error {
	for _, s := range m.sessions {
		conn := m.attached[s.u]
		if line := readLine(conn); line != "LIVE u="+s.u {
			return fmt.Errorf("%s: %q, not LIVE", s.u, line)
		}
		rq, sq := m.users[s.u].Queues()
		s.down.Lock()
		s.client.Write(sq)
		s.out, s.next = 0, conn
		s.stream.Close()
		s.moved.Broadcast()
		s.down.Unlock()
		conn.Write(rq)
		s.stream, s.in = conn, uint64(len(rq))
	}
	return nil
}

// stage opens the import at the destination and attaches the new streams.
func (m *move) stage() {
	m.f.t.Helper()
	noErr(m.f.t, m.importTx())
	noErr(m.f.t, m.attach())
}

// finish goes on from the end of the export to the thaw; with quit, who stays sees ordinary quits.
func (m *move) finish(quit string) {
	t := m.f.t
	t.Helper()
	_, err := m.prepare()
	noErr(t, err)
	noErr(t, m.readUp())
	noErr(t, m.from.c.Release(t.Context(), m.tx, quit))
	_, err = m.to.c.Commit(t.Context(), m.tx)
	noErr(t, err)
	noErr(t, m.splice())
	m.thaw()
}

// run is a whole move, all well.
func (m *move) run() {
	t := m.f.t
	t.Helper()
	step := func(name string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	step("import", m.importTx())
	step("attach", m.attach())
	m.freeze()
	defer m.thaw()
	step("export", m.export())
	if m.from != m.to {
		p, err := m.prepare()
		step("prepare", err)
		if len(p.Warns)+len(p.Conflicts) > 0 {
			t.Fatalf("warnings %v, conflicts %v", p.Warns, p.Conflicts)
		}
	}
	step("read up", m.readUp())
	step("release", m.from.c.Release(t.Context(), m.tx, ""))
	if m.from == m.to {
		p, err := m.prepare()
		step("prepare", err)
		if len(p.Conflicts) > 0 {
			t.Fatalf("conflicts %v", p.Conflicts)
		}
	}
	users, err := m.to.c.Commit(t.Context(), m.tx)
	step("commit", err)
	if users != len(m.users) {
		t.Fatalf("%d users committed, %d exported", users, len(m.users))
	}
	step("splice", m.splice())
	m.f.mu.Lock()
	m.f.to = m.to
	m.f.mu.Unlock()
}
