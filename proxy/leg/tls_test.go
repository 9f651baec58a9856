package leg

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/wire"
)

// joining holds back what is written behind the first piece, until release, so that it comes as one.
type joining struct {
	net.Conn
	mu       sync.Mutex
	written  int
	held     bytes.Buffer
	released bool
}

func (j *joining) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.written++; j.written == 1 || j.released {
		return j.Conn.Write(p)
	}
	return j.held.Write(p)
}

func (j *joining) release() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.released = true
	j.Conn.Write(j.held.Bytes())
}

// What a client says in one piece with the end of its handshake is the first that is read.
func TestWhatCameWithTheHandshake(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Client)
	j := &joining{Conn: c}
	peer := tls.Client(j, &tls.Config{InsecureSkipVerify: true})
	d.shake(l, c, certificate(t), func() error {
		if err := peer.Handshake(); err != nil {
			return err
		}
		_, err := peer.Write([]byte("early"))
		j.release()
		return err
	})
	if !l.More() {
		t.Fatal("nothing is to be read")
	}
	if got := l.Read(d.Loop, wire.StagingSize); string(got.Data) != "early" || got.End != NotYet || got.Full {
		t.Errorf("%+v", got)
	}
	go peer.Write([]byte("late"))
	if data, _ := d.read(l, 4); string(data) != "late" {
		t.Errorf("then %q", data)
	}
}

// A short read is not full, a full one is.
func TestFullReadsOfTLS(t *testing.T) {
	d := newDesk(t)
	l, peer, _ := d.secured(Client)
	if got := l.Read(d.Loop, wire.StagingSize); got.Read != 0 || got.End != NotYet {
		t.Errorf("behind the handshake: %+v", got)
	}
	peer.Write(pattern(1000))
	d.poll(l.FD(), unix.POLLIN)
	l.LookAgain()
	if got := l.Read(d.Loop, 100); !got.Full || got.Read != 100 || len(got.Data) > 0 {
		t.Errorf("a part of a record: %+v", got)
	}
	if got := l.Read(d.Loop, wire.StagingSize); got.Full || len(got.Data) != 1000 || l.More() {
		t.Errorf("the rest: %d bytes, full %v, more %v", len(got.Data), got.Full, l.More())
	}
	peer.CloseWrite()
	d.poll(l.FD(), unix.POLLIN)
	l.LookAgain()
	if got := l.Read(d.Loop, 24); got.Full || got.End != FIN {
		t.Errorf("close_notify: %+v", got)
	}
}

// Lines of a queue are sealed for an ircd behind TLS, and counted.
func TestOfferQueueSeals(t *testing.T) {
	d := newDesk(t)
	l, peer, _ := d.secured(Backend)
	q := &d.slot.ToBackend
	if err := d.Shard.AppendLines(q, []byte("PING a\r\nPING b\r\nPING")); err != nil {
		t.Fatal(err)
	}
	if err := l.OfferQueue(d.Loop, q, q.Whole()); err != nil {
		t.Fatal(err)
	}
	if got := <-reading(peer, 16); string(got) != "PING a\r\nPING b\r\n" || q.Len() != 4 || d.slot.BackendIn != 16 {
		t.Errorf("got %q; %d bytes are left, %d counted", got, q.Len(), d.slot.BackendIn)
	}
}

// An alert is not answered.
func TestAlertIsNotAnswered(t *testing.T) {
	d := newDesk(t)
	l, peer, c := d.secured(Client)
	if err := l.Raw(d.Loop, append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...)); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Read(make([]byte, 1)); err == nil { // which sends an alert
		t.Fatal("the peer takes what is no record")
	}
	_, got := d.read(l, 1)
	var te *wire.TLSError
	if got.End != Refused || !errors.As(got.Err, &te) || te.Alert != 0 || !l.WasReset() || l.More() {
		t.Errorf("%+v, reset %v", got, l.WasReset())
	}
	silent(t, c)
}

// Close says close_notify where it can, and only once.
func TestCloseSaysGoodbye(t *testing.T) {
	d := newDesk(t)
	l, peer, _ := d.secured(Client)
	l.Close(d.Loop)
	if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client sees %v, want close_notify", err)
	}

	e := newDesk(t)
	l, _, c := e.secured(Client)
	drained(c)
	for range 2 {
		if !l.End(e.Loop) {
			t.Fatal("the end did not go")
		}
	}
	l.Close(e.Loop)
	c.SetDeadline(time.Now().Add(patience))
	records, err := io.ReadAll(c)
	if err != nil || len(records) != 24 {
		t.Errorf("%d bytes, %v, want one alert", len(records), err)
	}

	f := newDesk(t)
	l, _, c = f.secured(Backend)
	l.NoMore() // it has ended first, and may not read any more
	drained(c)
	l.Close(f.Loop)
	if records, err := io.ReadAll(c); err != nil || len(records) != 0 {
		t.Errorf("%d bytes, %v, behind the ircd's own end", len(records), err)
	}
}

// drained takes what is there already: session tickets.
func drained(c *net.TCPConn) []byte {
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	defer c.SetDeadline(time.Now().Add(patience))
	all, _ := io.ReadAll(c)
	return all
}
