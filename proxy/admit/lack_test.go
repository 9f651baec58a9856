package admit

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
)

// What the machine does not have, or does not give us.

// without runs f where every socket of the family is refused with errno; family 0: all of them. The thread that it runs on ends with it.
func without(t *testing.T, family uint32, errno unix.Errno, f func()) {
	t.Helper()
	var refused error
	alone(func() {
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jf: 3},
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // its first argument
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: family, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		if family == 0 {
			filter[3] = unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}
		}
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		refused = errors.Join(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
			unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0))
		if refused == nil {
			f()
		}
	})
	if refused != nil {
		t.Skipf("no seccomp here: %v", refused)
	}
}

// alone runs f on a thread that ends with it.
func alone(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// Where the kernel has no IPv6, no host is all addresses of IPv4.
func TestMachineWithoutIPv6(t *testing.T) {
	h := newHouse(t, nil)
	without(t, unix.AF_INET6, unix.EAFNOSUPPORT, func() {
		if err := h.listen(":0", config.Listener{}); err != nil {
			t.Errorf("all addresses: %v", err)
			return
		}
		if err := h.listen("[::1]:0", config.Listener{}); !errors.Is(err, unix.EAFNOSUPPORT) || !strings.Contains(err.Error(), "[::1]") {
			t.Errorf("an address of IPv6: %v", err)
		}
	})
	if t.Failed() {
		return
	}
	if at := h.addr(); !at.Addr().Is4() || !at.Addr().IsUnspecified() {
		t.Errorf("listens at %s", at)
	}
	h.come("127.0.0.5")
}

// The error names what is missing, not what follows from it.
func TestNoSocketToListenOn(t *testing.T) {
	h := newHouse(t, nil)
	without(t, 0, unix.EMFILE, func() {
		if err := h.listen("127.0.0.1:0", config.Listener{}); !errors.Is(err, unix.EMFILE) || errors.Is(err, unix.EBADF) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLowPortNeedsTheCapability(t *testing.T) {
	h := newHouse(t, nil)
	alone(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&header, &data[0]); err != nil {
			t.Error(err)
			return
		}
		data[0].Effective &^= 1 << unix.CAP_NET_BIND_SERVICE
		if err := unix.Capset(&header, &data[0]); err != nil {
			t.Error(err)
			return
		}
		err := h.listen("127.0.0.9:1", config.Listener{})
		if err == nil {
			return // net.ipv4.ip_unprivileged_port_start lets everybody
		}
		if !strings.Contains(err.Error(), "need CAP_NET_BIND_SERVICE") {
			t.Errorf("got %v", err)
		}
	})
}

// Without a descriptor for the next client accept rests, instead of asking for the same client again and again.
func TestAcceptRestsWithoutDescriptors(t *testing.T) {
	h := newHouse(t, nil)
	addr := h.mustListen("127.0.0.1:0", config.Listener{})
	h.onAll(func(x *Sockets) { x.Pause() })
	dialFrom(t, "127.0.0.1", addr)
	giveBack := noDescriptors(t)
	h.onAll(func(x *Sockets) { x.Resume() })
	h.eventually("rest", func() bool { return h.loops[0].Pauses()+h.loops[1].Pauses() > 2 })
	giveBack()
	h.next()
}

// noDescriptors lets this process have no more until giveBack is called.
func noDescriptors(t *testing.T) (giveBack func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	free, errno := loop.Socket(netip.IPv4Unspecified())
	if errno != 0 {
		t.Fatal(errno)
	}
	loop.Close(free)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free), Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	giveBack = func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(giveBack)
	return giveBack
}

// Above the ceiling descriptors are for others: the client that reaches it comes in, the next ones when there is room below it again.
func TestCeilingKeepsDescriptorsForOthers(t *testing.T) {
	h := newHouse(t, nil)
	addr := h.mustListen("127.0.0.1:0", config.Listener{})
	h.onAll(func(x *Sockets) { x.Ceiling = 1 })
	dialFrom(t, "127.0.0.1", addr)
	h.next()
	h.eventually("rest", func() bool { return h.loops[0].Paused() != h.loops[1].Paused() })
	h.onAll(func(x *Sockets) {
		if x.Paused() {
			x.Resume()
			if !x.Paused() {
				t.Error("accept goes on above the ceiling")
			}
		}
		x.Pause() // once more is no rest of its own
		if x.Pauses() != 1 {
			t.Errorf("rested %d times", x.Pauses())
		}
	})
	h.rests.Store(0)
	h.eventually("look for room, again and again", func() bool { return h.rests.Load() > 3 })
	h.onAll(func(x *Sockets) { x.Ceiling = 1 << 30 })
	for range 20 {
		dialFrom(t, "127.0.0.1", addr)
	}
	for range 20 {
		h.next()
	}
}

// One client of a loop may reach the ceiling, not all that wait with it.
func TestCeilingIsReachedByOne(t *testing.T) {
	h := newHouse(t, nil)
	addr := h.mustListen("127.0.0.1:0", config.Listener{})
	slot := h.listeners["127.0.0.1:0"].slot
	h.onAll(func(x *Sockets) { x.Pause() })
	for range 20 {
		dialFrom(t, "127.0.0.1", addr)
	}
	h.onAll(func(x *Sockets) {
		x.Resume()
		x.Ceiling = 1
		x.Accept(x.key(slot))
	})
	if n := len(h.clients); n == 0 || n > 2 {
		t.Errorf("%d came in on two loops", n)
	}
	for range len(h.clients) {
		h.next()
	}
}
