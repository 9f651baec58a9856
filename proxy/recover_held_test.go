package proxy

import (
	"crypto/tls"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// memoryKeeper is a keeper in the test's process.
type memoryKeeper struct {
	t    testing.TB
	mu   sync.Mutex
	kept map[uint64]int
	now  *keptFor
}

// keptFor is a process's end of it, until it is killed.
type keptFor struct{ *memoryKeeper }

// process is the end of the process that comes next.
func (k *memoryKeeper) process() *keptFor {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = &keptFor{k}
	return k.now
}

func (f *keptFor) Keep(tag uint64, fd int) error {
	k := f.memoryKeeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now != f {
		return nil
	}
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if old, ok := k.kept[tag]; ok {
		unix.Close(old)
	}
	k.kept[tag] = n
	return nil
}

func (f *keptFor) Drop(tags ...uint64) error {
	k := f.memoryKeeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now != f {
		return nil
	}
	for _, tag := range tags {
		if fd, ok := k.kept[tag]; ok {
			unix.Close(fd)
			delete(k.kept, tag)
		}
	}
	return nil
}

func (*keptFor) Ready(f func()) { go f() }

// all are duplicates of what is kept.
func (k *memoryKeeper) all() map[uint64]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[uint64]int{}
	for tag, fd := range k.kept {
		all[tag] = duplicate(k.t, fd)
	}
	return all
}

// keptRig is a rig of two native ircds, with a keeper.
func keptRig(t *testing.T) (r *rig, a, b *native, k *memoryKeeper) {
	plaintextOnly(t)
	return keptRigOver(t, nil)
}

// keptRigOver is keptRig whose clients come over TLS if there is a configuration.
func keptRigOver(t *testing.T, secure map[string]*tls.Config) (r *rig, a, b *native, k *memoryKeeper) {
	k = &memoryKeeper{t: t, kept: map[uint64]int{}}
	t.Cleanup(func() {
		for _, fd := range k.all() {
			unix.Close(fd)
		}
	})
	a, b = newNative(t, "a"), newNative(t, "b")
	o := rigOptions{backends: []config.Backend{a.config(), b.config()}, keeper: k.process(), secure: secure}
	if secure != nil {
		o.listener.TLS = &config.ListenerTLS{}
	}
	r = newRig(t, o)
	r.secure = secure != nil
	r.up("main/a")
	r.up("main/b")
	if err := r.KeepAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, a, b, k
}

// killed has the loops of the rig's Proxy end between two turns, without a word, and another Proxy go on with what the keeper has. It answers whom
// moves have.
func (r *rig) killed(k *memoryKeeper) []backend.Held {
	r.t.Helper()
	old := r.Proxy
	held := r.goesOn(k, nil, old.workers...)
	if err := old.Close(); err != nil {
		r.t.Error(err)
	}
	return held
}

// goesOn is killed for a Proxy of which these loops turn still.
func (r *rig) goesOn(k *memoryKeeper, secure map[string]*tls.Config, turning ...*worker) []backend.Held {
	r.t.Helper()
	arena := duplicate(r.t, r.ArenaFD())
	for _, w := range turning {
		gone := make(chan struct{})
		w.loop.Post(func() {
			w.each(func(s *session) {
				if s.mv != nil && s.mv.attached.IsOpen() {
					unix.Close(s.mv.attached.FD())
				}
			})
			w.leave()
			close(gone)
		})
		<-gone
	}
	r.registry = prometheus.NewRegistry()
	s, report, err := Recover(Options{Instance: "test", Backends: r.set, Log: r.log, Registerer: r.registry, Keeper: k.process()}, Kept{Arena: arena, Descriptors: k.all()}, secure)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(report.Ended) > 0 || len(report.Unbound) > 0 {
		r.t.Errorf("%+v\n%s", report, r.logs.String())
	}
	held := s.Held()
	s.Start()
	r.Proxy = s.Proxy()
	return held
}

func (r *rig) held(k *memoryKeeper, want backend.Held) {
	r.t.Helper()
	if got := r.killed(k); !slices.Equal(got, []backend.Held{want}) {
		r.t.Errorf("held %+v, want %+v", got, want)
	}
}

// A session that was frozen goes on with its ircd, or is parked, behind a crash.
func TestFrozenBehindACrash(t *testing.T) {
	r, a, b, k := keptRig(t)
	x := r.user(a, "ann")
	x.client.send("PRIVMSG #x :ha")
	r.eventually("half line", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Held > 0 })
	r.freeze(x)
	x.client.send("lf\r\n")
	x.server.send(":irc PRIVMSG ann :one\r\n")
	x.client.expect(":irc PRIVMSG ann :one\r\n")
	r.held(k, backend.Held{U: x.u, From: "main/a", Registered: true})
	x.server.send(":irc PRIVMSG ann :two\r\n")
	x.client.expect(":irc PRIVMSG ann :two\r\n")
	x.server.expectNothingYet()
	one(t, r.Thaw([]string{x.u}), "")
	x.server.expect("PRIVMSG #x :half\r\n")
	r.freeze2(x)
	r.held(k, backend.Held{U: x.u, From: "main/a", Registered: true})
	r.Park([]string{x.u}, "irc.a")
	x.server.expectGone()
	x.client.send("PRIVMSG #x :parked\r\n")
	r.splice(x, b, "PRIVMSG #x :not run\r\n", ":irc the end\r\n")
	x.client.expect(":irc the end\r\n")
	x.server.expect("PRIVMSG #x :not run\r\nPRIVMSG #x :parked\r\n")
}

// A parked one is parked on: what was held waits, its PINGs are answered as soon as the coordinator has said whose name, and it is spliced.
func TestParkedBehindACrash(t *testing.T) {
	r, a, b, k := keptRig(t)
	x := r.user(a, "ann")
	r.park(t, x)
	x.client.send("PING 1\r\nPRIVMSG #x :held\r\nPI")
	x.client.expect(":irc.a PONG irc.a :1\r\n")
	r.eventually("held lines", func() bool { all, _ := r.Sessions(ctxOf(t)); return all[0].Held >= 20 })
	r.held(k, backend.Held{U: x.u, From: "main/a", Parked: true, Registered: true})
	x.client.send("NG 2\r\n")
	x.client.expectNothingYet()
	r.Park([]string{x.u}, "irc.a")
	x.client.expect(":irc.a PONG irc.a :2\r\n")
	r.held(k, backend.Held{U: x.u, From: "main/a", Parked: true, Registered: true})
	m := r.splice(x, b, "", "")
	x.server.expect("PRIVMSG #x :held\r\n")
	if m.HeldLines != 1 {
		t.Errorf("%+v", m)
	}
	if r.killed(k) != nil {
		t.Error("somebody is held")
	}
	x.toServer("PRIVMSG #x :on\r\n")
}

// What was attached is attached still, and whoever waited for LIVE does: on the same stream, byte by byte.
func TestAttachedBehindACrash(t *testing.T) {
	for name, park := range map[string]bool{"frozen": false, "parked": true} {
		for how, quiet := range map[string]bool{"quiet": true, "LIVE": false} {
			t.Run(name+" "+how, func(t *testing.T) {
				r, a, b, k := keptRig(t)
				x := r.user(a, "ann")
				r.freeze(x)
				if park {
					r.Park([]string{x.u}, "irc.a")
				}
				x.client.send("PRIVMSG #x :held\r\n")
				server := r.attach(x, b)
				want := backend.Held{U: x.u, From: "main/a", Parked: park, Registered: true, Attached: true}
				r.held(k, want)
				r.held(k, want)
				splice := []backend.Splice{{U: x.u, RQ: []byte("PRIVMSG #x :not run\r\n"), SQ: []byte(":irc the end\r\n"), Live: quiet}}
				done := make(chan []backend.Moved, 1)
				go func(p *Proxy) { done <- p.Splice(ctxOf(t), "main/b", splice) }(r.Proxy)
				x.client.expect(":irc the end\r\n")
				if !quiet {
					r.awaitsLive()
					r.held(k, backend.Held{U: x.u, From: "main/a", Registered: true, At: "main/b"})
					<-done
					go func(p *Proxy) { done <- p.Splice(ctxOf(t), "main/b", splice) }(r.Proxy)
					server.send("LIVE u=" + x.u + "\n:irc first\r\n")
				}
				one(t, <-done, "")
				server.expect("PRIVMSG #x :not run\r\nPRIVMSG #x :held\r\n")
				if !quiet {
					x.client.expect(":irc first\r\n")
				}
				if r.killed(k) != nil {
					t.Error("somebody is held")
				}
				one(t, r.Splice(ctxOf(t), "main/b", splice), "") // the coordinator does not know how far it was
				x.client.send("PRIVMSG #x :on\r\n")
				server.expect("PRIVMSG #x :on\r\n")
				server.send(":irc on\r\n")
				x.client.expect(":irc on\r\n")
			})
		}
	}
}

// awaitsLive waits until a session waits for LIVE.
func (r *rig) awaitsLive() {
	r.t.Helper()
	r.eventually("a session that waits for LIVE", func() (there bool) {
		for _, w := range r.workers {
			there = there || w.counts.states[StateSplicing].Load() == 1
		}
		return there
	})
}

// A process is killed at each step of a splice: client and ircd get each byte once, in order.
func TestKilledInTheMidstOfASplice(t *testing.T) {
	plaintextOnly(t)
	for name, secure := range map[string]map[string]*tls.Config{"plaintext": nil, "TLS": {"irc": serverTLS(t, 0)}} {
		points := 0
		for died := true; died; points++ {
			t.Run(fmt.Sprint(name, "/", points+1), func(t *testing.T) { died = splicedAt(t, secure, points+1) })
		}
		if points < 4 {
			t.Errorf("%s: %d steps", name, points)
		}
	}
}

func splicedAt(t *testing.T, secure map[string]*tls.Config, at int) (died bool) {
	r, a, b, k := keptRigOver(t, secure)
	x := r.user(a, "ann")
	r.freeze(x)
	r.Park([]string{x.u}, "irc.a")
	x.client.send("PRIVMSG #x :held\r\n")
	server := r.attach(x, b)
	splice := []backend.Splice{{U: x.u, RQ: []byte("PRIVMSG #x :not run\r\n"), SQ: []byte(":irc the end\r\n"), Live: true}}
	dead, end := make(chan *worker, 1), make(chan struct{})
	t.Cleanup(func() { close(end) })
	var steps atomic.Int32
	if err := r.onAll(ctxOf(t), func(w *worker) {
		f := func(step string) {
			if steps.Add(1) == int32(at) {
				t.Logf("killed at %q", step)
				dead <- w
				<-end // nothing more happens in this process
				runtime.Goexit()
			}
		}
		w.legs.Step = f
		w.shard.OnStep(f)
	}); err != nil {
		t.Fatal(err)
	}
	old, done := r.Proxy, make(chan []backend.Moved, 1)
	go func() { done <- old.Splice(ctxOf(t), "main/b", splice) }()
	select {
	case w := <-dead:
		died = true
		for _, other := range old.workers {
			if other != w {
				r.goesOn(k, secure, other)
			}
		}
		go func() { done <- r.Splice(ctxOf(t), "main/b", splice) }()
	case m := <-done:
		if steps.Add(-1<<30) < int32(at)-1<<30 { // nobody dies any more
			done <- m
			break
		}
		t.Skip("killed behind the splice")
	}
	one(t, <-done, "")
	x.client.expect(":irc the end\r\n")
	server.expect("PRIVMSG #x :not run\r\nPRIVMSG #x :held\r\n")
	x.client.send("PRIVMSG #x :on\r\n")
	server.expect("PRIVMSG #x :on\r\n")
	server.send(":irc on\r\n")
	x.client.expect(":irc on\r\n")
	return died
}
