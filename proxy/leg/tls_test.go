package leg

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/loop"
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
	if l.Full() {
		t.Error("full")
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

// keyUpdate is a record in which the peer asks for new keys of ours, its first.
func (d *desk) keyUpdate() []byte {
	d.t.Helper()
	expand := func(label string, n int) []byte {
		info := string([]byte{0, byte(n), byte(6 + len(label))}) + "tls13 " + label + "\x00"
		b, err := hkdf.Expand(sha256.New, d.secret, info, n)
		if err != nil {
			d.t.Fatal(err)
		}
		return b
	}
	block, err := aes.NewCipher(expand("key", 16))
	if err != nil {
		d.t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		d.t.Fatal(err)
	}
	head := []byte{23, 3, 3, 0, 6 + 16}
	return aead.Seal(head, expand("iv", 12), []byte{24, 0, 0, 1, 1, 22}, head)
}

// What the peer's TLS wants answered is answered, and what we say behind that is sealed accordingly.
func TestKeyUpdateIsAnswered(t *testing.T) {
	d := newDesk(t)
	l, peer, c := d.secured(Client)
	if suite := peer.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skipf("no AES-128-GCM here but %#x", suite)
	}
	l.Read(d.Loop, wire.StagingSize) // what came with the handshake: nothing
	drained(c)
	c.Write(d.keyUpdate())
	l.Event(d.poll(l.FD(), unix.POLLIN))
	if got := l.Read(d.Loop, wire.StagingSize); got.End != NotYet || len(got.Data) > 0 || got.Err != nil {
		t.Errorf("%+v", got)
	}
	if n := len(drained(c)); n != 5+6+16 {
		t.Errorf("answered by %d bytes, want a KeyUpdate", n)
	}
}

// An answer to who takes nothing any more is no error of the read: what was said before still counts.
func TestReplyToWhoTakesNothing(t *testing.T) {
	d := newDesk(t)
	l, peer, c := d.secured(Client)
	if suite := peer.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skipf("no AES-128-GCM here but %#x", suite)
	}
	l.Read(d.Loop, wire.StagingSize)
	c.Write(d.keyUpdate())
	l.Event(d.poll(l.FD(), unix.POLLIN))
	loop.EndWrites(l.FD()) // so that the answer finds a broken connection
	if got := l.Read(d.Loop, wire.StagingSize); got.End != NotYet || got.Err != nil || !l.Deaf() {
		t.Errorf("%+v, deaf %v", got, l.Deaf())
	}
}

// Behind an alert of ours nothing can be sealed: who tries hears that the connection is broken.
func TestNothingIsSealedBehindTheEnd(t *testing.T) {
	for _, side := range []Side{Client, Backend} {
		d := newDesk(t)
		l, _, _ := d.secured(side)
		for l.Waiting(d.Loop) == 0 {
			if side == Client {
				d.fill(l)
			} else if _, err := l.Offer(d.Loop, pattern(60_000)); err != nil {
				t.Fatal(err)
			}
		}
		if l.End(d.Loop) {
			t.Fatal("the end went before what waits")
		}
		l.TryAgain()
		in, out := d.slot.BackendIn, d.slot.ClientOut
		var err error
		if side == Client {
			err = l.Send(d.Loop, []byte("x"))
		} else {
			_, err = l.Offer(d.Loop, []byte("x"))
		}
		if !errors.Is(err, ErrBroken) || !errors.Is(err, wire.ErrTLSEnded) || !l.Deaf() || d.slot.BackendIn != in || d.slot.ClientOut != out {
			t.Errorf("side %d: %v, deaf %v", side, err, l.Deaf())
		}
	}
}

// Parameters that make no sense leave the leg as it was.
func TestSecureThatFails(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Client)
	if err := l.Secure(d.Loop, &wire.TLSParams{}, nil); err == nil || l.TLS() != 0 || l.More() {
		t.Errorf("%v, annex %d, more %v", err, l.TLS(), l.More())
	}
	if err := l.Send(d.Loop, []byte("x")); err != nil || string(<-reading(c, 1)) != "x" {
		t.Error("it is no plaintext leg any more")
	}
}

// A client may have more to read behind its close_notify, to be forgotten; of a backend nothing is awaited.
func TestMoreBehindCloseNotify(t *testing.T) {
	for _, side := range []Side{Client, Backend} {
		d := newDesk(t)
		l, peer, _ := d.secured(side)
		l.Read(d.Loop, wire.StagingSize)
		peer.CloseWrite()
		l.Event(d.poll(l.FD(), unix.POLLIN))
		l.flags |= ending // the kernel has its FIN, too
		if got := l.Read(d.Loop, wire.StagingSize); got.End != FIN || l.More() != (side == Client) {
			t.Errorf("side %d: %+v, more %v", side, got, l.More())
		}
	}
}

// Close says close_notify where it can, once, and only to who may want it.
func TestCloseSaysGoodbye(t *testing.T) {
	for name, c := range map[string]struct {
		side   Side
		before func(*desk, *Leg)
		want   int // bytes that the peer gets
	}{
		"a client":                      {Client, func(*desk, *Leg) {}, 24},
		"a backend":                     {Backend, func(*desk, *Leg) {}, 24},
		"ended before":                  {Client, func(d *desk, l *Leg) { l.End(d.Loop); l.End(d.Loop) }, 24},
		"nothing more to be said":       {Client, func(d *desk, l *Leg) { l.NothingMore() }, 0},
		"a client that has ended first": {Client, func(d *desk, l *Leg) { l.NoMore() }, 24},
		"an ircd that has ended first":  {Backend, func(d *desk, l *Leg) { l.NoMore() }, 0},
		"the kernel takes nothing":      {Client, func(d *desk, l *Leg) { l.flags |= full }, 0},
		"it was reset":                  {Client, func(d *desk, l *Leg) { l.flags |= deaf }, 0},
		"something waits":               {Client, func(d *desk, l *Leg) { d.Shard.Append(&d.slot.ToClient, []byte("half a record")) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			l, _, peer := d.secured(c.side)
			drained(peer)
			c.before(d, l)
			l.Close(d.Loop)
			if records, err := io.ReadAll(peer); err != nil || len(records) != c.want {
				t.Errorf("%d bytes, %v, want %d", len(records), err, c.want)
			}
		})
	}
	d := newDesk(t)
	l, peer := d.leg(Client)
	l.Close(d.Loop)
	if records, err := io.ReadAll(peer); err != nil || len(records) != 0 {
		t.Errorf("in plaintext %d bytes, %v", len(records), err)
	}
}

// A stream that is left is not watched any more, also where a duplicate lives.
func TestLeftStreamIsNotWatched(t *testing.T) {
	d := newDesk(t)
	l, _ := d.leg(Backend)
	fd := l.GiveUp(d.Loop)
	if err := d.Watch(fd, 1, false); err != nil {
		t.Errorf("it is watched still: %v", err)
	}
	d.Unwatch(fd)
	loop.Close(fd)
}

// drained takes what is there already: session tickets.
func drained(c *net.TCPConn) []byte {
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	defer c.SetDeadline(time.Now().Add(patience))
	all, _ := io.ReadAll(c)
	return all
}
