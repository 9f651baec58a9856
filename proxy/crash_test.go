package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// The process that is killed: the test binary once more, with a Proxy and a keeper in the process that has started it.

const crasherEnv = "IRCFERRY_TEST_CRASHER"

// crasherTask is what it is to do.
type crasherTask struct {
	First     bool
	Loops     int
	Listeners [3]string // addresses: in plaintext, with TLS, and for a backend behind TLS
	Backends  [2]string // addresses: in plaintext, behind TLS
	Cert, Key string    // files
	Step      string    // it kills itself there
	After     int       // when it has been there so often
	Poison    string    // ... or when bytes with this in them are worked
	Jail      string
	Blind     bool // without the kernel's counts: the negative control
}

const (
	arenaTag  = 1<<64 - 1
	keeperFD  = 3
	opKeep    = 'K'
	opDrop    = 'D'
	opReady   = 'R'
	batchSize = 200
)

// stubKeeper is the child's end of the keeper.
type stubKeeper struct{ fd int }

func (k *stubKeeper) send(op byte, tag uint64, fds ...int) error {
	msg := binary.BigEndian.AppendUint64([]byte{op}, tag)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for {
		switch err := unix.Sendmsg(k.fd, msg, oob, nil, unix.MSG_DONTWAIT); err {
		case unix.EAGAIN:
			return ErrKeeperBusy
		case unix.EINTR:
		default:
			return err
		}
	}
}

func (k *stubKeeper) Keep(tag uint64, fd int) error { return k.send(opKeep, tag, fd) }

func (k *stubKeeper) Drop(tags ...uint64) error {
	for _, tag := range tags {
		for errors.Is(k.send(opDrop, tag), ErrKeeperBusy) {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

func (k *stubKeeper) Ready(f func()) { time.AfterFunc(time.Millisecond, f) }

// take is all that the parent has: messages of tags with their descriptors, and then one without.
func (k *stubKeeper) take() (map[uint64]int, error) {
	all := map[uint64]int{}
	buf, oob := make([]byte, 8*batchSize), make([]byte, unix.CmsgSpace(4*batchSize))
	for {
		n, m, flags, _, err := unix.Recvmsg(k.fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 || flags&unix.MSG_CTRUNC != 0 {
			return nil, fmt.Errorf("take: %d bytes, flags %#x, %w", n, flags, err)
		}
		if n < 8 {
			return all, nil
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:m])
		if err != nil {
			return nil, err
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil {
			return nil, err
		}
		for i, fd := range fds {
			all[binary.BigEndian.Uint64(buf[8*i:])] = fd
		}
	}
}

// crasher is the main function of the process.
func crasher(text string) {
	if err := runCrasher(text); err != nil {
		fmt.Fprintln(os.Stderr, "crasher:", err)
		os.Exit(1)
	}
}

func runCrasher(text string) error {
	var task crasherTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		return err
	}
	unix.CloseOnExec(keeperFD)
	keeper := &stubKeeper{fd: keeperFD}
	kept, err := keeper.take()
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(task.Cert, task.Key)
	if err != nil {
		return err
	}
	secure := map[string]*tls.Config{"ircs": handshake.ServerConfig(handshake.ServerOptions{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }, MinVersion: tls.VersionTLS12, Tickets: handshake.NewTickets()})}
	set, err := backend.NewSet(backend.Options{Instance: "test"})
	if err != nil {
		return err
	}
	check := config.Check{Inter: config.Duration(time.Second), Rise: 1, Fall: 1000, Timeout: config.Duration(5 * time.Second)}
	if err := set.Apply(map[string]config.Pool{
		"main": {Topology: config.Standalone, Check: check, Backends: []config.Backend{
			{Name: "a", Address: task.Backends[0], Weight: 100, Identity: config.IdentityNone}}},
		"over": {Topology: config.Standalone, Check: check, Backends: []config.Backend{
			{Name: "t", Address: task.Backends[1], Weight: 100, Identity: config.IdentityNone, TLS: &config.BackendTLS{CA: task.Cert, ServerName: "irc.test"}}}},
	}); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	o := Options{Instance: "test", Loops: task.Loops, MaxSessions: 1024, Backends: set, Log: log, Keeper: keeper, Quarantine: task.Jail}
	var p *Proxy
	start := func() {}
	if task.First {
		if p, err = New(o); err != nil {
			return err
		}
		if err := keeper.send(opKeep, arenaTag, p.ArenaFD()); err != nil {
			return err
		}
	} else {
		arena := kept[arenaTag]
		delete(kept, arenaTag)
		if task.Blind {
			if err := blind(arena, kept); err != nil {
				return err
			}
		}
		s, report, err := Recover(o, Kept{Arena: arena, Descriptors: kept}, secure)
		if err != nil {
			return err
		}
		log.Info("recovered", "report", fmt.Sprintf("%+v", report))
		p, start = s.Proxy(), s.Start
	}
	p.stumbleAt(task)
	start()
	if err := p.SetListeners([]config.Listener{{Name: "irc", Pool: "main", Address: task.Listeners[0]},
		{Name: "ircs", Pool: "main", Address: task.Listeners[1], TLS: &config.ListenerTLS{}}, {Name: "over", Pool: "over", Address: task.Listeners[2]}}, secure); err != nil {
		return err
	}
	if err := keeper.send(opReady, 0); err != nil {
		return err
	}
	look := make(chan os.Signal, 1)
	signal.Notify(look, syscall.SIGUSR1)
	go func() {
		for range look {
			p.dump()
		}
	}()
	select {}
}

// dump tells how each session stands.
func (p *Proxy) dump() {
	for _, w := range p.workers {
		w.loop.Post(func() {
			w.each(func(s *session) {
				slot := s.slot()
				fmt.Fprintf(os.Stderr, "%s %s marks %#x flags %#x to-client %+v to-backend %+v; client more %v full %v deaf %v ended %v kernel %+v; backend more %v full %v deaf %v ended %v kernel %+v\n",
					s.id(), s.state, slot.Marks, slot.Flags, slot.ToClient, slot.ToBackend, s.client.More(), s.client.Full(), s.client.Deaf(), s.client.Ended(),
					loop.Counts(s.client.FD()), s.backend.More(), s.backend.Full(), s.backend.Deaf(), s.backend.Ended(), loop.Counts(s.backend.FD()))
			})
		})
	}
}

// blind makes the kernel's counts what ours are, as if nobody had asked.
func blind(fd int, kept map[uint64]int) error {
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	a, err := wire.Attach(fd, wire.Options{})
	if err != nil {
		return err
	}
	defer a.Close()
	a.Recover()
	l, err := loop.New(nobody{})
	if err != nil {
		return err
	}
	defer l.Close()
	for i := range a.Shards() {
		lp := &leg.Loop{Loop: l, Shard: a.Shard(i)}
		lp.Shard.Journal()
		a.Used(i, func(id wire.SlotID, slot *wire.Slot) {
			lp.Shard.DropWorkOf(id)
			for _, side := range []leg.Side{leg.Client, leg.Backend} {
				fd, ok := kept[leg.Tag(id, slot.Generation, leg.PortOf(slot, side))]
				if x := leg.New(slot, side); ok && x.Take(lp, fd, 1) == nil {
					x.Begin(lp, 0)
					l.Unwatch(fd)
				}
			}
		})
	}
	return nil
}

type nobody struct{}

func (nobody) Ready(loop.Key, loop.Events)    {}
func (nobody) Expired(loop.Key)               {}
func (nobody) Panicked(loop.Key, any, []byte) {}
func (nobody) TurnOver()                      {}

// stumbleAt has the process kill itself at a step. What it is about to do once more is not interrupted but before and behind it: what ends two processes
// is quarantined.
func (p *Proxy) stumbleAt(task crasherTask) {
	if task.Step == "" {
		return
	}
	var n atomic.Int64
	redo := strings.HasPrefix(task.Step, "redo")
	for _, w := range p.workers {
		f := func(at string) {
			if at != task.Step || w.legs.Redoing() && !redo && task.Poison == "" {
				return
			}
			if task.Poison != "" && (w.shard.Staged().Slot == 0 || !bytes.Contains(w.shard.Staging()[:4096], []byte(task.Poison))) {
				return
			}
			if n.Add(1) == int64(task.After) {
				if at != "redone" && !w.legs.Redoing() { // nor what another loop does once more
					p.redoing.Lock()
				}
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		w.legs.Step = f
		w.shard.OnStep(f)
	}
}

// crashKeeper is the keeper in the test's process.
type crashKeeper struct {
	t    testing.TB
	mu   sync.Mutex
	kept map[uint64]int
}

// serve takes what a child gives until it has gone. ready is called when it says so.
func (k *crashKeeper) serve(fd int, ready func()) {
	buf, oob := make([]byte, 64), make([]byte, unix.CmsgSpace(64))
	for {
		n, m, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n < 9 {
			return
		}
		tag := binary.BigEndian.Uint64(buf[1:])
		k.mu.Lock()
		switch buf[0] {
		case opKeep:
			msgs, _ := unix.ParseSocketControlMessage(oob[:m])
			fds, _ := unix.ParseUnixRights(&msgs[0])
			if old, ok := k.kept[tag]; ok {
				unix.Close(old)
			}
			k.kept[tag] = fds[0]
		case opDrop:
			if old, ok := k.kept[tag]; ok {
				unix.Close(old)
				delete(k.kept, tag)
			}
		case opReady:
			ready()
		}
		k.mu.Unlock()
	}
}

// give sends all to a child.
func (k *crashKeeper) give(fd int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var tags []byte
	var fds []int
	flush := func() error {
		if len(fds) == 0 {
			return nil
		}
		err := unix.Sendmsg(fd, tags, unix.UnixRights(fds...), nil, 0)
		tags, fds = tags[:0], fds[:0]
		return err
	}
	for tag, f := range k.kept {
		tags, fds = binary.BigEndian.AppendUint64(tags, tag), append(fds, f)
		if len(fds) == batchSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return unix.Sendmsg(fd, []byte{0}, nil, nil, 0)
}

func (k *crashKeeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, fd := range k.kept {
		unix.Close(fd)
	}
	k.kept = nil
}

// kept makes a keeper stand behind the proxies of all rigs, so that every test of the room is one of what is done for a crash as well:
// IRCFERRY_TEST_KEEPER=1 go test ./proxy.
var kept = os.Getenv("IRCFERRY_TEST_KEEPER") != ""

// someKeeper is one that holds duplicates, as the real one does.
func someKeeper(t testing.TB) Keeper {
	if !kept {
		return nil
	}
	k := &ownKeeper{held: map[uint64]int{}}
	t.Cleanup(k.close)
	return k
}

// ownKeeper is a keeper in the proxy's own process.
type ownKeeper struct {
	mu   sync.Mutex
	held map[uint64]int
	busy int // so often it has no room
}

func (k *ownKeeper) Keep(tag uint64, fd int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy > 0 {
		k.busy--
		return ErrKeeperBusy
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if old, ok := k.held[tag]; ok {
		unix.Close(old)
	}
	k.held[tag] = own
	return nil
}

func (k *ownKeeper) Drop(tags ...uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, tag := range tags {
		if fd, ok := k.held[tag]; ok {
			unix.Close(fd)
			delete(k.held, tag)
		}
	}
	return nil
}

func (k *ownKeeper) Ready(f func()) { time.AfterFunc(time.Millisecond, f) }

func (k *ownKeeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, fd := range k.held {
		unix.Close(fd)
	}
	k.held = nil
}
