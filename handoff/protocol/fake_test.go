package protocol

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// fakeIrcd is an Ircd without IRC: a list of what it was told to do, and users that it exports as they are given.
type fakeIrcd struct {
	mu        sync.Mutex
	calls     []string
	event     chan string // each call, too; tests wait on it
	records   []Message   // to be exported
	got       []Message   // at Prepare
	kick      string      // at Begin
	conflicts []Note
	warns     []Note
	freezeErr error
	exportErr error
	commitErr error
	opened    map[string]Open
	streams   map[string]net.Conn // since Open and Commit
	releasing func()              // called by Release, if set
	gate      chan struct{}       // if set, Export waits for it after the first record
}

func newFakeIrcd() *fakeIrcd {
	return &fakeIrcd{event: make(chan string, 1000), opened: map[string]Open{}, streams: map[string]net.Conn{}}
}

func (f *fakeIrcd) did(what string) {
	f.mu.Lock()
	f.calls = append(f.calls, what)
	f.mu.Unlock()
	select {
	case f.event <- what:
	default: // nobody waits: a fuzzer
	}
}

// wait waits until the ircd was told to do what.
func (f *fakeIrcd) wait(t *testing.T, what string) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case got := <-f.event:
			if got == what {
				return
			}
		case <-late:
			t.Fatalf("the ircd was never told to %s", what)
		}
	}
}

func (f *fakeIrcd) count(what string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == what {
			n++
		}
	}
	return n
}

func (f *fakeIrcd) Hello(coordinator string) Hello {
	return Hello{Software: "fake", Version: "1", Name: "fake.example", SID: "0FK", Users: 3, Unmovable: 1, Channels: 2,
		Caps: []string{"sasl=PLAIN,EXTERNAL", "multi-prefix"}, ISupport: []string{"CHANTYPES=#", "NETWORK=Fake Net"[:12]}}
}

func (f *fakeIrcd) Find(nick string) (string, string, bool) {
	switch nick {
	case "alice":
		return "i.1", "Alice", true
	case "past":
		return "", "past", true
	}
	return "", "", false
}

func (f *fakeIrcd) Open(o Open) (func(net.Conn, []byte), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, twice := f.opened[o.U]; twice {
		return nil, &Error{Code: CodeUInUse, U: o.U}
	}
	f.opened[o.U] = o
	return func(conn net.Conn, rest []byte) {
		defer conn.Close()
		conn.Write([]byte("got:"))
		conn.Write(rest)
		io.Copy(conn, conn)
	}, nil
}

func (f *fakeIrcd) Freeze(ctx context.Context, sel []Selection) error {
	f.did("freeze")
	return f.freezeErr
}

func (f *fakeIrcd) Export(x ExportScope, emit func(Message) error) (int, error) {
	for _, m := range f.records {
		if x.Peek && m.Verb == VerbUser {
			m = User{m}.Strip().Message
		}
		if err := emit(m); err != nil {
			return 0, err
		}
		if f.gate != nil {
			<-f.gate
		}
	}
	f.did("export")
	return 1, f.exportErr
}

func (f *fakeIrcd) Resume() { f.did("resume") }
func (f *fakeIrcd) Release(quit string) {
	if f.releasing != nil {
		f.releasing()
	}
	f.did("release " + quit)
}

func (f *fakeIrcd) Begin(tx, kick string) error {
	f.mu.Lock()
	f.kick = kick
	f.mu.Unlock()
	f.did("begin")
	return nil
}

func (f *fakeIrcd) Prepare(records []Message) (Prepared, error) {
	f.mu.Lock()
	f.got = records
	f.mu.Unlock()
	f.did("prepare")
	return Prepared{Warns: f.warns, Conflicts: f.conflicts}, nil
}

func (f *fakeIrcd) Commit(streams map[string]net.Conn, quiet bool) error {
	f.did("commit")
	if f.commitErr != nil {
		return f.commitErr
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for u, conn := range streams {
		f.streams[u] = conn
		if !quiet {
			conn.Write(AppendLive(nil, u))
		}
	}
	return nil
}

func (f *fakeIrcd) Abort() { f.did("abort") }

func (f *fakeIrcd) closeStreams() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.streams {
		conn.Close()
	}
}

// rig is one ircd with both its listeners, and a coordinator that has said HELLO.
type rig struct {
	t       *testing.T
	ircd    *fakeIrcd
	server  *Server
	control string // address
	c       *Control
	hello   Hello
}

var errRefused = errors.New("the test refuses")

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	f := newFakeIrcd()
	return newRigOf(t, f, f, cfg)
}

// newRigOf is newRig for an ircd that is more than the fake in it.
func newRigOf(t *testing.T, ircd Ircd, f *fakeIrcd, cfg Config) *rig {
	t.Helper()
	r := &rig{t: t, ircd: f}
	r.server = NewServer(ircd, cfg)
	path := filepath.Join(t.TempDir(), "c")
	control, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.server.SetStream(streams.Addr().String())
	var wg sync.WaitGroup
	wg.Go(func() { r.server.ListenControl(control) })
	wg.Go(func() { r.server.ListenStream(streams) })
	t.Cleanup(func() {
		control.Close()
		streams.Close()
		r.ircd.closeStreams()
		r.server.Close()
		wg.Wait()
	})
	r.control = "unix:" + path
	r.c = r.dial()
	r.hello, err = r.c.Hello(t.Context(), Hello{Name: "i", Pass: cfg.Pass})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// dial opens a control connection without HELLO.
func (r *rig) dial() *Control {
	r.t.Helper()
	c, err := Dial(r.t.Context(), r.control)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// another opens a second control connection with HELLO.
func (r *rig) another() *Control {
	r.t.Helper()
	c := r.dial()
	if _, err := c.Hello(r.t.Context(), Hello{Name: "i", Pass: r.server.cfg.Pass}); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// stream dials a stream and says first.
func (r *rig) stream(first string) *streamEnd {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.hello.Stream)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, first)
	return &streamEnd{t: r.t, Conn: conn}
}

// attach attaches u and waits for ATTACHED.
func (r *rig) attach(tx, u, tok string) *streamEnd {
	r.t.Helper()
	s := r.stream(string(AppendAttach(nil, Attach{SKey: r.hello.SKey, Tx: tx, U: u, Tok: tok})))
	if err := s.answer(VerbAttached, u); err != nil {
		r.t.Fatal(err)
	}
	return s
}

type streamEnd struct {
	t *testing.T
	net.Conn
}

// line reads one line byte by byte, so that nothing behind it is taken.
func (s *streamEnd) line() string {
	s.t.Helper()
	var line []byte
	var b [1]byte
	for {
		if _, err := s.Read(b[:]); err != nil {
			s.t.Fatalf("stream ended after %q: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

func (s *streamEnd) answer(want, u string) error {
	s.t.Helper()
	return ParseStreamAnswer([]byte(s.line()), want, u, "")
}

// ended waits for the end of the stream, after whatever is still in it.
func (s *streamEnd) ended() {
	s.t.Helper()
	if _, err := io.Copy(io.Discard, s); err != nil && errors.Is(err, errTimeout(err)) {
		s.t.Fatal("the stream was not closed")
	}
}

func errTimeout(err error) error {
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return err
	}
	return errRefused
}

func wantCode(t *testing.T, err error, code Code) {
	t.Helper()
	if !HasCode(err, code) {
		t.Fatalf("got %v, want code %s", err, code)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// twoUsers are records of a channel with two users, as a source tells them.
func twoUsers() []Message {
	ch := NewChan("#sea", 1000)
	ch.Set("topic", "a topic with spaces, \xe9 and \\")
	ch.SetMode("noextmsg")
	ch.SetModeParam("key", "hush")
	var recs []Message
	recs = append(recs, ch.Message, NewList("#sea", "ban", "*!*@bad.example", "alice", 1001).Message)
	for i, nick := range []string{"Alice", "Bob"} {
		u := NewUser([]string{"i.1", "i.2"}[i], nick)
		u.SetInt("signon", 1000)
		u.SetList("caps", []string{"sasl=PLAIN", "server-time"})
		u.Set("x.fake.thing", "kept \r\n\x00")
		u.SetInt("in", 10)
		u.SetInt("out", 20)
		u.Set("rq", "PRIVMSG #sea :half\r\n")
		u.Set("sq", ":x PRIVMSG #sea :y\r\n")
		recs = append(recs, u.Message)
	}
	for _, u := range []string{"i.1", "i.2"} {
		recs = append(recs, NewMemb(u, "#sea", "o").Message)
	}
	return recs
}

var testRemote, testLocal = netip.MustParseAddrPort("192.0.2.7:4000"), netip.MustParseAddrPort("[2001:db8::1]:6667")
