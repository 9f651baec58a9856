package proxy

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/internal/config"
)

// fullIRCd is one whose queue of connections has room for one, which a health check takes: whoever connects then gets no answer until it accepts.
func fullIRCd(t *testing.T) (r *rig, l net.Listener) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "ircd")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	if l, err = net.FileListener(f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r = newRig(t, rigOptions{fall: 1, inter: time.Hour, loops: 1,
		backends: []config.Backend{{Name: "a", Address: l.Addr().String(), Identity: config.IdentityNone}}})
	r.up("main/a")
	return r, l
}

// A connect that is not answered at once is waited for, and what the client says meanwhile goes out behind it.
func TestConnectThatTakesAWhile(t *testing.T) {
	r, l := fullIRCd(t)
	client := r.dial()
	client.send("NICK ann\r\n")
	r.eventually("a connect under way", func() bool { return r.Counts().States["dialing"] == 1 })
	d := &ircd{t: t, l: l, accepted: make(chan *net.TCPConn, 10)}
	go func() {
		for range 2 { // the check's, and the client's, whose SYN is repeated within a second or three
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.accepted <- c.(*net.TCPConn)
		}
	}()
	server := d.next()
	server.expect("NICK ann\r\n")
	server.send(":irc 001 ann :hello\r\n")
	client.expect(":irc 001 ann :hello\r\n")
}

// One that is never answered is given up, and the backend is told.
func TestConnectThatIsNeverAnswered(t *testing.T) {
	r, _ := fullIRCd(t)
	down := make(chan string, 10)
	defer r.set.Subscribe(func(e backend.Event) {
		if e.Kind == backend.EventDown {
			down <- e.Text
		}
	})()
	r.dial().send("NICK ann\r\n")
	r.eventually("a connect under way", func() bool { return r.Counts().States["dialing"] == 1 })
	began := time.Now()
	r.turnTime(t, dialTime)
	select {
	case text := <-down:
		if !strings.Contains(text, unix.ETIMEDOUT.Error()) || time.Since(began) > patience/2 {
			t.Errorf("down: %s", text)
		}
	case <-time.After(patience):
		t.Error("it is up still")
	}
	r.eventually("another try, or the wait for one", func() bool { return r.Counts().States["dialing"]+r.Counts().States["waiting"] == 1 })
}
