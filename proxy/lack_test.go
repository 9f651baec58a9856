package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// What happens when there is no memory, or no descriptor.

// occupy takes the memory of an arena on its only loop, until it is tight or, if all, until there is none left. It answers what gives it back.
func (r *rig) occupy(all bool) (giveBack func()) {
	r.t.Helper()
	w, chunk := r.workers[0], make([]byte, wire.ChunkBytes)
	var taken []*wire.Queue
	r.onAll(ctxOf(r.t), func(*worker) {
		w.shard.OnFull(func() bool { return false })
		for all || !r.arena.Tight() {
			q := &wire.Queue{}
			if err := w.shard.Append(q, chunk); err != nil {
				break
			}
			taken = append(taken, q)
		}
		w.shard.OnFull(w.makeRoom)
	})
	return func() {
		r.onAll(ctxOf(r.t), func(*worker) {
			for _, q := range taken {
				w.shard.Clear(q)
			}
		})
	}
}

// oneLoop is moves with one loop and little memory.
func oneLoop(t *testing.T) (r *rig, a, b *native) {
	t.Helper()
	a, b = newNative(t, "a"), newNative(t, "b")
	r = newRig(t, rigOptions{backends: []config.Backend{a.config(), b.config()}, loops: 1, maxBytes: 8 << 20})
	r.up("main/a")
	r.up("main/b")
	return r, a, b
}

// When the arena is tight, before it is full, the one that holds most is ended without anybody having asked for memory.
func TestReliefComesByItself(t *testing.T) {
	r, a, _ := oneLoop(t)
	all := r.holders(a, 20, 50)
	defer r.occupy(false)()
	r.eventually("relief", func() bool { return r.holds(all)[1] == 0 })
	r.End([]string{all[0].u}, backend.CauseBackendGone, "bye")
}

// One that no move has is ended at once.
func TestReliefEndsWhoRelays(t *testing.T) {
	r, a, _ := oneLoop(t)
	x := r.user(a, "ann")
	x.client.SetReadBuffer(4 << 10)
	go io.WriteString(x.server, strings.Repeat(":irc NOTICE ann :"+strings.Repeat("x", 490)+"\r\n", 40_000))
	r.eventually("a queue", func() bool { return r.holds([]*user{x})[0] >= leastWorth>>10 })
	if !r.relief.relieve() {
		t.Fatal("no relief")
	}
	r.ended("memory")
	x.server.expectGone()
}

// What the old ircd had read and not run is put before what waits; if there is no room for it, nobody goes on without it.
func TestSpliceWithoutRoomEndsTheSession(t *testing.T) {
	r, a, b := oneLoop(t)
	x := r.user(a, "ann")
	r.freeze(x)
	server := r.attach(x, b)
	giveBack := r.occupy(true)
	done := make(chan []backend.Moved, 1)
	go func() {
		done <- r.Splice(ctxOf(t), "main/b", []backend.Splice{{U: x.u, RQ: []byte("PRIVMSG #x :" + strings.Repeat("y", 400) + "\r\n")}})
	}()
	server.send("LIVE u=" + x.u + "\n")
	x.client.expectGone()
	giveBack()
	<-done
	server.expectEnd() // and no line
	server.Close()
	r.ended("memory")
}

// Without room for the line that says who a client is, nothing of the client is said.
func TestNobodyIsIntroducedWithoutRoom(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("pw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, maxBytes: 8 << 20,
		backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityWebIRC, WebIRCPasswordFile: password, WebIRCAfter: "user"}}})
	r.up("main/a")
	client := r.dial()
	client.send("NICK ann\r\nCAP LS\r\n")
	r.eventually("held lines", func() bool {
		all, _ := r.Sessions(ctxOf(t))
		return len(all) == 1 && all[0].Held == len("NICK ann\r\nCAP LS\r\n")
	})
	giveBack := r.occupy(true)
	r.turnTime(t, userTime)
	client.expectGone()
	r.ended("memory")
	giveBack()
	for {
		select {
		case c := <-d.accepted: // and those of health checks
			if said, _ := io.ReadAll(newConn(t, c)); len(said) > 0 {
				t.Errorf("the ircd was told %q", said)
			}
			continue
		default:
		}
		break
	}
}

// A client that leaves while its backend's TLS shakes hands gives its turn to the next.
func TestWhoLeavesInAHandshakeGivesItsTurn(t *testing.T) {
	pair := certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test"}})
	var holding atomic.Bool
	begun, release := make(chan bool, 1000), make(chan bool)
	defer close(release)
	d := newIRCdOver(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if holding.Load() {
			begun <- true
			<-release
		}
		return &pair.Cert, nil
	}})
	ca, _ := pair.Write(t, t.TempDir(), "ca")
	r := newRig(t, rigOptions{loops: 1, inter: time.Hour, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone,
		TLS: &config.BackendTLS{CA: ca, ServerName: "irc.test"}}}})
	r.up("main/a")
	holding.Store(true)
	clients := make([]*conn, shakingAtOnce)
	for i := range clients {
		clients[i] = r.dial()
		clients[i].send("NICK ann\r\n")
	}
	r.eventually("all shake hands", func() bool { return len(begun) == len(clients) })
	holding.Store(false)
	next := r.dial()
	next.send("NICK next\r\n")
	r.eventually("another one waits", func() bool { return r.Counts().States["backend_handshake"] == len(clients)+1 })
	for _, c := range clients {
		c.reset()
	}
	d.next().expect("NICK next\r\n")
}

// A client whose descriptor cannot be watched is let go, with all that it held.
func TestClientThatCannotBeWatched(t *testing.T) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	r.up("main/a")
	client, server := r.joined(d, "ann")
	before := r.listeners.Connections()["irc"]
	refused := make(chan error, 1)
	r.workers[0].loop.Post(func() { refused <- watchNothingMore() })
	if err := <-refused; err != nil {
		t.Skipf("no seccomp here: %v", err)
	}
	other := r.dialPlain()
	other.expectGone()
	r.ended("memory")
	r.eventually("one session", func() bool { return r.Counts().Sessions == 1 })
	if after := r.listeners.Connections()["irc"]; after != before {
		t.Errorf("%d connections count, %d before", after, before)
	}
	if n := r.tallyOf("irc").live.Load(); n != 1 {
		t.Errorf("%d clients are in", n)
	}
	client.send("PING x\r\n")
	server.expect("PING x\r\n")
}

// watchNothingMore refuses the calling goroutine's thread to watch any more descriptors: ENOMEM. They end together.
func watchNothingMore() error {
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_EPOLL_CTL, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 24}, // its second argument
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.EPOLL_CTL_ADD, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOMEM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return errors.Join(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
		unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0))
}

// Only the want of descriptors lets new clients wait.
func TestWantOfDescriptors(t *testing.T) {
	for errno, want := range map[unix.Errno]bool{unix.EMFILE: true, unix.ENFILE: true, unix.ENOBUFS: false, unix.EAFNOSUPPORT: false} {
		if outOfDescriptors(errno) != want {
			t.Errorf("%v: %v", errno, !want)
		}
	}
}

// The old streams of a large move are closed, a moment later and not all at once.
func TestOldStreamsAreClosed(t *testing.T) {
	d := newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	for _, n := range []int{2*oldBatch + 10, 1} { // the second time from an empty list again
		r.onAll(ctxOf(t), func(w *worker) {
			for range n {
				fd, err := unix.FcntlInt(write.Fd(), unix.F_DUPFD_CLOEXEC, 0)
				if err != nil {
					t.Error(err)
					return
				}
				w.closeLater(fd)
			}
		})
		r.eventually("empty list", func() bool {
			left := -1
			r.onAll(ctxOf(t), func(w *worker) { left = len(w.old) })
			return left == 0
		})
	}
	write.Close()
	read.SetReadDeadline(time.Now().Add(patience))
	if _, err := read.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("some are open: %v", err)
	}
}

// Close ends who is still there, closing streams of a move included, and a loop that has stopped takes nothing more.
func TestCloseEndsWhoIsThere(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	fd, err := unix.FcntlInt(write.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	write.Close()
	r.workers[0].loop.Post(func() { r.workers[0].closeLater(fd) })
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	x.client.expectGone()
	x.server.expectGone()
	read.SetReadDeadline(time.Now().Add(patience))
	if _, err := read.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("an old stream: %v", err)
	}
	if !strings.Contains(r.logs.String(), "reason=shutdown") {
		t.Errorf("no word of its end:\n%s", r.logs.String())
	}
	if err := r.Watchdog(); err == nil {
		t.Error("closed loops are well")
	}
}

// A session that is over is nobody's in the rest of the turn.
func TestWhoIsOverIsPassedOver(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	r.user(a, "ann")
	first, then := 0, 0
	r.workers[0].loop.Post(func() {})
	r.onAll(ctxOf(t), func(w *worker) {
		if w.sessions == 0 {
			return
		}
		w.each(func(s *session) {
			first++
			s.cutOff(ReasonInternal)
			if w.at(s.key(portClient)) != nil {
				t.Error("its key names it")
			}
		})
		w.each(func(*session) { then++ })
	})
	if first != 1 || then != 0 {
		t.Errorf("%d, and then %d", first, then)
	}
}

func TestLagIsMeasured(t *testing.T) {
	r, _, _ := moves(t, config.Listener{})
	for i, lag := range r.lag() {
		if lag <= 0 || lag >= lagBound {
			t.Errorf("loop %d: %v", i, lag)
		}
	}
	hold := make(chan bool)
	defer close(hold)
	r.workers[1].loop.Post(func() { <-hold })
	if lags := r.lag(); lags[1] != lagBound || lags[0] >= lagBound {
		t.Errorf("with a loop that stands still: %v", lags)
	}
}

// Backends that a reload has taken away are forgotten when nobody is there any more.
func TestBackendsThatAreGoneAreForgotten(t *testing.T) {
	d, e := newIRCd(t), newIRCd(t)
	r := newRig(t, rigOptions{loops: 1, backends: []config.Backend{{Name: "a", Address: d.addr(), Identity: config.IdentityNone}}})
	r.up("main/a")
	client, server := r.joined(d, "ann")
	leave := func() {
		server.Close()
		client.Close()
		r.eventually("nobody", func() bool { return r.Counts().Sessions == 0 })
	}
	known := func() (n int) {
		r.onAll(ctxOf(t), func(w *worker) { w.checkBooks(); n = len(w.peers) })
		return n
	}
	apply := func(name string, on *ircd) {
		t.Helper()
		pool := config.Pool{Topology: config.Standalone, Backends: []config.Backend{{Name: name, Address: on.addr(), Identity: config.IdentityNone, Weight: 100}},
			Check: config.Check{Inter: config.Duration(20 * time.Millisecond), Rise: 1, Fall: 1000, Timeout: config.Duration(time.Second)}}
		if err := r.set.Apply(map[string]config.Pool{"main": pool}); err != nil {
			t.Fatal(err)
		}
	}
	if n := known(); n != 1 {
		t.Errorf("%d backends are known", n)
	}
	apply("b", e)
	if n := known(); n != 1 {
		t.Errorf("%d backends are known, one of which has a client", n)
	}
	leave()
	if n := known(); n != 0 {
		t.Errorf("%d backends are known, of which nothing is left", n)
	}
	apply("a", e)
	r.up("main/a")
	client, server = r.joined(e, "ben")
	leave()
	apply("b", e)
	apply("a", e) // another one of that name
	if n := known(); n != 0 {
		t.Errorf("%d backends are known, whose name another one has", n)
	}
}

// What is under no session's key is nobody's fault.
func TestPanicOfNobody(t *testing.T) {
	r, a, _ := moves(t, config.Listener{})
	x := r.user(a, "ann")
	for _, w := range r.workers {
		w.loop.Post(func() { panic("on purpose") })
		w.loop.Post(func() { w.loop.Guard(loop.MakeKey(0, 1, portListener), func() { panic("on purpose") }) })
	}
	r.panics = 4
	x.toServer("PING x\r\n")
	x.toClient("PONG x\r\n")
}
