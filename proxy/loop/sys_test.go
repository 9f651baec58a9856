package loop

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// socketOf is a socket for an address, closed with the test.
func socketOf(t *testing.T, addr netip.Addr) int {
	t.Helper()
	fd, errno := Socket(addr)
	if errno != 0 {
		t.Fatalf("socket for %s: %v", addr, errno)
	}
	t.Cleanup(func() { Close(fd) })
	return fd
}

// becomes waits for an event of a descriptor.
func becomes(t *testing.T, fd int, event int16) {
	t.Helper()
	set := []unix.PollFd{{Fd: int32(fd), Events: event}}
	for {
		n, err := unix.Poll(set, int(patience.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("nothing came: %v", err)
		}
		return
	}
}

// listening is a socket that listens on an address, and where.
func listening(t *testing.T, host string) (int, netip.AddrPort) {
	t.Helper()
	addr := netip.MustParseAddr(host)
	fd := socketOf(t, addr)
	var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: addr.As16()}
	if addr.Is4() {
		sa = &unix.SockaddrInet4{Addr: addr.As4()}
	}
	if err := unix.Bind(fd, sa); err == unix.EADDRNOTAVAIL {
		t.Skipf("%s: %v", host, err)
	} else if err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 10); err != nil {
		t.Fatal(err)
	}
	at := LocalAddr(fd)
	if at.Addr() != addr || at.Port() == 0 {
		t.Fatalf("listens at %s, want a port of %s", at, host)
	}
	return fd, at
}

func TestConnectAndAccept(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			l, at := listening(t, host)
			if fd, from, errno := Accept(l); fd != -1 || from.IsValid() || errno != unix.EAGAIN {
				t.Errorf("accepted %d from %v before anybody came: %v", fd, from, errno)
			}
			client := socketOf(t, at.Addr())
			if errno := Connect(client, at); errno != 0 && errno != unix.EINPROGRESS {
				t.Fatal(errno)
			}
			becomes(t, client, unix.POLLOUT)
			if errno := SocketError(client); errno != 0 {
				t.Fatal(errno)
			}
			becomes(t, l, unix.POLLIN)
			fd, from, errno := Accept(l)
			if errno != 0 {
				t.Fatal(errno)
			}
			if from != LocalAddr(client) || LocalAddr(fd) != at {
				t.Errorf("accepted from %v at %v, connected from %v to %v", from, LocalAddr(fd), LocalAddr(client), at)
			}
			if _, errno := Read(fd, make([]byte, 1)); errno != unix.EAGAIN {
				t.Errorf("an accepted socket without data: %v", errno)
			}
			ResetOnClose(fd)
			Close(fd)
			becomes(t, client, unix.POLLIN)
			if _, errno := Read(client, make([]byte, 1)); errno != unix.ECONNRESET {
				t.Errorf("behind a reset: %v", errno)
			}
		})
	}
}

// An address of IPv4 is one, however it is written.
func TestConnectToAMappedAddress(t *testing.T) {
	_, at := listening(t, "127.0.0.1")
	mapped := netip.AddrPortFrom(netip.AddrFrom16(at.Addr().As16()), at.Port())
	client := socketOf(t, mapped.Addr())
	if errno := Connect(client, mapped); errno != 0 && errno != unix.EINPROGRESS {
		t.Fatal(errno)
	}
	becomes(t, client, unix.POLLOUT)
	if errno := SocketError(client); errno != 0 {
		t.Error(errno)
	}
}

func TestConnectIsRefused(t *testing.T) {
	l, at := listening(t, "127.0.0.1")
	Close(l)
	client := socketOf(t, at.Addr())
	errno := Connect(client, at)
	if errno == unix.EINPROGRESS {
		becomes(t, client, unix.POLLOUT)
		errno = SocketError(client)
	}
	if errno != unix.ECONNREFUSED {
		t.Errorf("got %v", errno)
	}
}

func TestWhatIsNoSocket(t *testing.T) {
	if at := LocalAddr(-1); at.IsValid() {
		t.Errorf("it is at %v", at)
	}
	if errno := SocketError(-1); errno != unix.EBADF {
		t.Errorf("its error is %v", errno)
	}
	if errno := SetOption(-1, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); errno != unix.EBADF {
		t.Errorf("its option: %v", errno)
	}
	a, _ := pair(t)
	if at := LocalAddr(a); at.IsValid() {
		t.Errorf("a unix socket is at %v", at)
	}
}

func TestOptionsAreSet(t *testing.T) {
	fd := socketOf(t, netip.IPv4Unspecified())
	for _, o := range Watchful {
		if errno := SetOption(fd, o.Level, o.Name, o.Value); errno != 0 {
			t.Fatal(errno)
		}
		if v, err := unix.GetsockoptInt(fd, o.Level, o.Name); err != nil || v != o.Value {
			t.Errorf("option %d/%d is %d (%v), want %d", o.Level, o.Name, v, err, o.Value)
		}
	}
}

func TestZoneOfAnAddress(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	fd := socketOf(t, netip.IPv4Unspecified())
	for zone, want := range map[string]struct {
		id    uint32
		errno unix.Errno
	}{
		"":                        {0, 0},
		"lo":                      {uint32(lo.Index), 0},
		"4711":                    {4711, 0},
		"nosuch0":                 {0, unix.ENODEV},
		strings.Repeat("long", 9): {0, unix.ENODEV},
	} {
		a := netip.MustParseAddr("fe80::1").WithZone(zone)
		if id, errno := ZoneID(fd, a); id != want.id || errno != want.errno {
			t.Errorf("%q is %d (%v), want %d (%v)", zone, id, errno, want.id, want.errno)
		}
		if want.errno == 0 {
			continue
		}
		if errno := Connect(fd, netip.AddrPortFrom(a, 6667)); errno != want.errno {
			t.Errorf("connect to %s: %v, want %v", a, errno, want.errno)
		}
	}
}
