package leg

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

const patience = 10 * time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:1")

// desk is a loop that never runs: the test is its goroutine, and waits for descriptors by poll(2).
type desk struct {
	t testing.TB
	*Loop
	arena  *wire.Arena
	slot   *wire.Slot
	secret []byte // of the peer, of TLS 1.3
}

type nobody struct{}

func (nobody) Ready(loop.Key, loop.Events)    {}
func (nobody) Expired(loop.Key)               {}
func (nobody) Panicked(loop.Key, any, []byte) {}
func (nobody) TurnOver()                      {}

func newDesk(t testing.TB) *desk {
	t.Helper()
	a, err := wire.New(wire.Options{Slots: 8, Shards: 1, MaxBytes: 8 << 20, MaxQueue: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l, err := loop.New(nobody{})
	if err != nil {
		t.Fatal(err)
	}
	_, slot, err := a.Shard(0).NewSlot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); a.Close() })
	return &desk{t: t, Loop: &Loop{Loop: l, Shard: a.Shard(0)}, arena: a, slot: slot}
}

// leg is an open leg and its peer.
func (d *desk) leg(side Side) (*Leg, *net.TCPConn) {
	d.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	defer ln.Close()
	fd, errno := loop.Socket(netip.MustParseAddr("127.0.0.1"))
	if errno != 0 {
		d.t.Fatal(errno)
	}
	l := New(d.slot, side)
	if errno := l.Connect(d.Loop, fd, netip.MustParseAddrPort(ln.Addr().String()), loop.MakeKey(1, 1, uint8(side))); errno == unix.EINPROGRESS {
		d.poll(l.FD(), unix.POLLOUT)
		if errno := l.Decided(loop.Writable); errno != 0 {
			d.t.Fatal(errno)
		}
	} else if errno != 0 {
		d.t.Fatal(errno)
	}
	c, err := ln.Accept()
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &l, c.(*net.TCPConn)
}

// poll waits for events of a descriptor and answers them, as the loop would report them.
func (d *desk) poll(fd int, events int16) loop.Events {
	d.t.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: events | unix.POLLRDHUP}}
	for {
		n, err := unix.Poll(p, int(patience/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			d.t.Fatal("no event", err)
		}
		return loop.Events(uint16(p[0].Revents))
	}
}

// read reads the leg until want bytes have come or its peer has ended.
func (d *desk) read(l *Leg, want int) (data []byte, last Got) {
	d.t.Helper()
	for len(data) < want && last.End == NotYet {
		if !l.More() {
			l.Event(d.poll(l.FD(), unix.POLLIN))
		}
		last = l.Read(d.Loop, wire.StagingSize)
		data = append(data, last.Data...)
	}
	return data, last
}

// write flushes what waits in the leg while the peer reads all of want.
func (d *desk) flush(l *Leg) {
	d.t.Helper()
	for l.Waiting(d.Loop) > 0 {
		if l.Event(d.poll(l.FD(), unix.POLLOUT)) {
			if _, err := l.Flush(d.Loop); err != nil {
				d.t.Fatal(err)
			}
		}
	}
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7 >> 3)
	}
	return p
}

func reading(c io.Reader, n int) <-chan []byte {
	got := make(chan []byte, 1)
	go func() {
		b := make([]byte, n)
		k, _ := io.ReadFull(c, b)
		got <- b[:k]
	}()
	return got
}

func TestReadsToTheEnd(t *testing.T) {
	for _, side := range []Side{Client, Backend, Attached} {
		d := newDesk(t)
		l, c := d.leg(side)
		sent := pattern(300_000)
		go func() { c.Write(sent); c.CloseWrite() }()
		data, last := d.read(l, len(sent)+1)
		if !bytes.Equal(data, sent) || last.End != FIN || last.Err != nil {
			t.Errorf("side %d: %d bytes, %+v", side, len(data), last)
		}
		if l.More() || l.Ended() {
			t.Errorf("side %d: more %v, ended %v before the owner has accepted it", side, l.More(), l.Ended())
		}
	}
}

func TestReadTakesNoMoreThanItMay(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Client)
	c.Write([]byte("ATTACHED u=1\nrest"))
	l.Event(d.poll(l.FD(), unix.POLLIN))
	if got := l.Read(d.Loop, 13); string(got.Data) != "ATTACHED u=1\n" || !got.Full || !l.More() {
		t.Errorf("%q, full %v, more %v", got.Data, got.Full, l.More())
	}
	if got := l.Read(d.Loop, 13); string(got.Data) != "rest" || got.Full || l.More() {
		t.Errorf("%q, full %v, more %v", got.Data, got.Full, l.More())
	}
}

func TestSendQueuesWhatTheKernelDoesNotTake(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Client)
	var sent []byte
	for l.Waiting(d.Loop) < 200_000 {
		p := pattern(50_001)
		sent = append(sent, p...)
		if err := l.Send(d.Loop, p); err != nil {
			t.Fatal(err)
		}
	}
	if !l.Full() || d.slot.ClientOut != uint64(len(sent)) {
		t.Errorf("full %v, counted %d of %d", l.Full(), d.slot.ClientOut, len(sent))
	}
	got := reading(c, len(sent))
	d.flush(l)
	if !bytes.Equal(<-got, sent) {
		t.Error("the peer got something else")
	}
	if !l.End(d.Loop) || !d.slot.Flags.Has(wire.ClientFINSent) {
		t.Error("the end was not sent")
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
}

// What a backend without TLS has not taken does not count, and stays in the caller's queue.
func TestOfferCountsWhatWasTaken(t *testing.T) {
	d := newDesk(t)
	l, c := d.leg(Backend)
	q := &d.slot.ToBackend
	sent := pattern(1 << 20)
	if err := d.Shard.AppendLines(q, sent); err != nil {
		t.Fatal(err)
	}
	if err := l.OfferQueue(d.Loop, q, 100); err != nil || l.Full() || d.slot.BackendIn != 100 {
		t.Errorf("a few bytes: %v, full %v, counted %d", err, l.Full(), d.slot.BackendIn)
	}
	if n, err := l.Offer(d.Loop, nil); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
	for !l.Full() {
		if err := l.OfferQueue(d.Loop, q, q.Len()); err != nil {
			t.Fatal(err)
		}
		if q.Len() == 0 {
			d.Shard.AppendLines(q, pattern(1<<20))
			sent = append(sent, pattern(1<<20)...)
		}
	}
	if taken := len(sent) - q.Len(); d.slot.BackendIn != uint64(taken) || l.Waiting(d.Loop) != 0 {
		t.Errorf("counted %d, taken %d, waiting in the leg %d", d.slot.BackendIn, taken, l.Waiting(d.Loop))
	}
	got := reading(c, len(sent))
	for q.Len() > 0 {
		if l.Event(d.poll(l.FD(), unix.POLLOUT)) {
			for q.Len() > 0 && !l.Full() {
				l.OfferQueue(d.Loop, q, q.Len())
			}
		}
	}
	if !bytes.Equal(<-got, sent) {
		t.Error("the peer got something else")
	}
}

// A peer that is gone makes the leg deaf; what it has said before is still read.
func TestBrokenPeer(t *testing.T) {
	for _, side := range []Side{Client, Backend} {
		d := newDesk(t)
		l, c := d.leg(side)
		c.Write([]byte("last words"))
		d.poll(l.FD(), unix.POLLIN)
		c.SetLinger(0)
		c.Close()
		for d.poll(l.FD(), 0)&loop.HangUp == 0 {
		}
		var err error
		for err == nil {
			if side == Client {
				err = l.Send(d.Loop, []byte("x"))
			} else {
				_, err = l.Offer(d.Loop, []byte("x"))
			}
		}
		if !errors.Is(err, ErrBroken) || !l.Deaf() || !l.More() || !l.Ending() {
			t.Errorf("side %d: %v, deaf %v, more %v, ending %v", side, err, l.Deaf(), l.More(), l.Ending())
		}
		if _, err := l.Offer(d.Loop, []byte("x")); !errors.Is(err, ErrBroken) {
			t.Errorf("side %d: offered once more: %v", side, err)
		}
		if err := l.Send(d.Loop, []byte("x")); err != nil {
			t.Errorf("side %d: sent once more: %v, want it to be forgotten", side, err)
		}
		l.Close(d.Loop)
		if l.IsOpen() || !l.Gone() || l.Deaf() {
			t.Errorf("side %d: closed: open %v, gone %v, deaf %v", side, l.IsOpen(), l.Gone(), l.Deaf())
		}
	}
}

// An error of re-arming a descriptor is an end: the leg would wait for an edge that nobody reports.
func TestLegThatCannotBeWatched(t *testing.T) {
	d := newDesk(t)
	l, _ := d.leg(Client)
	l.flags &^= watched // as an accepted one
	d.Unwatch(l.FD())
	var err error
	for range 1000 {
		if err = l.Send(d.Loop, pattern(50_000)); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrBroken) || !errors.Is(err, unix.ENOMEM) || !l.Deaf() {
		t.Errorf("%v, deaf %v", err, l.Deaf())
	}
}

func TestBecome(t *testing.T) {
	d := newDesk(t)
	old, _ := d.leg(Backend)
	old.NoMore()
	old.NothingMore()
	next, c := d.leg(Attached)
	fd := next.FD()
	old.Close(d.Loop)
	if err := old.Become(d.Loop, next, loop.MakeKey(1, 1, 9)); err != nil {
		t.Fatal(err)
	}
	if old.FD() != fd || next.IsOpen() || old.Side() != Backend || old.Ended() || old.SentEnd() || old.Gone() {
		t.Errorf("the new leg: %+v, the attached one: %+v", old, next)
	}
	c.Write([]byte("LIVE"))
	if data, _ := d.read(old, 4); string(data) != "LIVE" {
		t.Errorf("read %q", data)
	}
}

// secured is a leg that has shaken hands, and its peer.
func (d *desk) secured(side Side) (*Leg, *tls.Conn, *net.TCPConn) {
	d.t.Helper()
	l, c := d.leg(side)
	cert := certificate(d.t)
	peer := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if side != Client {
		peer = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	d.shake(l, c, cert, peer.Handshake)
	return l, peer, c
}

// shake has the leg shake hands with its peer, whose part begin is; the certificate is the server's.
func (d *desk) shake(l *Leg, c *net.TCPConn, cert tls.Certificate, begin func() error) {
	d.t.Helper()
	done := make(chan handshake.Result, 1)
	written := make(chan []byte, 100)
	o := handshake.Options{Slots: handshake.NewSlots(2), Remote: c.LocalAddr(), Local: c.LocalAddr(),
		Write: func(p []byte) { written <- bytes.Clone(p) }, Done: func(r handshake.Result) { done <- r }}
	var h *handshake.Handshake
	if l.Side() == Client {
		cfg := handshake.ServerConfig(handshake.ServerOptions{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }})
		h = handshake.Server(cfg, o)
	} else {
		roots := x509.NewCertPool()
		roots.AddCert(cert.Leaf)
		h = handshake.Client(handshake.ClientConfig(handshake.ClientOptions{RootCAs: roots, ServerName: "irc.example"}), o)
		h.Start()
	}
	shaken := make(chan error, 1)
	go func() { shaken <- begin() }()
	for {
		select {
		case p := <-written:
			if err := l.Raw(d.Loop, p); err != nil {
				d.t.Fatal(err)
			}
		case r := <-done:
			for len(written) > 0 {
				l.Raw(d.Loop, <-written)
			}
			if r.Err != nil {
				d.t.Fatal(r.Err)
			}
			d.secret = bytes.Clone(r.Params.In.Secret)
			if err := l.Secure(d.Loop, &r.Params, h.Rest()); err != nil {
				d.t.Fatal(err)
			}
			if err := <-shaken; err != nil {
				d.t.Fatal(err)
			}
			return
		default:
			n, errno := loop.Read(l.FD(), d.Shard.Staging())
			if errno == unix.EAGAIN {
				time.Sleep(100 * time.Microsecond)
				continue
			}
			h.Feed(bytes.Clone(d.Shard.Staging()[:n]))
		}
	}
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "irc.example"}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"irc.example"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Both sides with TLS: all arrives, both ways, also what the kernel does not take at once, and the end is in order.
func TestTLSBothWays(t *testing.T) {
	for _, side := range []Side{Client, Backend} {
		d := newDesk(t)
		l, peer, _ := d.secured(side)
		sent := pattern(200_000)
		go func() { peer.Write(sent) }()
		if data, last := d.read(l, len(sent)); !bytes.Equal(data, sent) {
			t.Fatalf("side %d: %d bytes, %+v", side, len(data), last)
		}
		var out []byte
		for l.Waiting(d.Loop) == 0 {
			p := pattern(60_000)
			if side == Client {
				if err := l.Send(d.Loop, p); err != nil {
					t.Fatal(err)
				}
				out = append(out, p...)
				continue
			}
			n, err := l.Offer(d.Loop, p)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, p[:n]...)
		}
		if l.End(d.Loop) {
			t.Errorf("side %d: the end went before what waits", side)
		}
		got := make(chan []byte, 1)
		go func() {
			b, err := io.ReadAll(peer)
			if err != nil {
				t.Errorf("side %d: %v, want close_notify", side, err)
			}
			got <- b
		}()
		d.flush(l)
		if !l.End(d.Loop) {
			t.Errorf("side %d: the end did not go", side)
		}
		if !bytes.Equal(<-got, out) {
			t.Errorf("side %d: the peer got something else", side)
		}
		peer.CloseWrite()
		if _, last := d.read(l, 1); last.End != FIN || last.Err != nil {
			t.Errorf("side %d: close_notify is told as %+v", side, last)
		}
		l.NoMore()
		l.Close(d.Loop)
		if d.slot.ClientTLS != 0 || d.slot.BackendTLS != 0 {
			t.Errorf("side %d: the annex stays", side)
		}
	}
}

func TestTLSEnds(t *testing.T) {
	for _, side := range []Side{Client, Backend} {
		t.Run("FIN without close_notify, in a record", func(t *testing.T) {
			d := newDesk(t)
			l, _, c := d.secured(side)
			c.Write([]byte{23, 3, 3, 0, 100, 1, 2, 3})
			c.CloseWrite()
			if _, last := d.read(l, 1); last.End != FIN || !errors.Is(last.Err, wire.ErrTruncated) {
				t.Errorf("%+v", last)
			}
		})
		t.Run("a record that is not good", func(t *testing.T) {
			d := newDesk(t)
			l, _, c := d.secured(side)
			c.Write(append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...))
			_, last := d.read(l, 1)
			var te *wire.TLSError
			if last.End != Refused || !errors.As(last.Err, &te) || te.Alert == 0 {
				t.Errorf("%+v", last)
			}
			if b := <-reading(c, 24); len(b) < 7 {
				t.Errorf("%d bytes of an alert", len(b))
			}
			l.Close(d.Loop)
		})
	}
}

// What must be written whole and is not, in plaintext or over TLS, is not told: the stream is of no use.
func TestTellIsAllOrNothing(t *testing.T) {
	d := newDesk(t)
	plain, c := d.leg(Backend)
	if !plain.Tell(d.Loop, []byte("PROXY UNKNOWN\r\n")) || string(<-reading(c, 15)) != "PROXY UNKNOWN\r\n" {
		t.Error("a preface in plaintext did not go")
	}
	c.SetLinger(0)
	c.Close()
	d.poll(plain.FD(), unix.POLLIN)
	if plain.Tell(d.Loop, []byte("x")) {
		t.Error("told to a peer that is gone")
	}

	e := newDesk(t)
	secure, peer, tcp := e.secured(Backend)
	for _, preface := range []string{"WEBIRC pw\r\n", "and more\r\n"} {
		if !secure.Tell(e.Loop, []byte(preface)) || string(<-reading(peer, len(preface))) != preface {
			t.Errorf("%q over TLS did not go", preface)
		}
	}
	tcp.SetLinger(0)
	tcp.Close()
	e.poll(secure.FD(), unix.POLLIN)
	if secure.Tell(e.Loop, []byte("x")) {
		t.Error("told over TLS to a peer that is gone")
	}

	f := newDesk(t)
	full, _, _ := f.secured(Backend)
	for !full.Full() {
		if _, err := full.Offer(f.Loop, pattern(60_000)); err != nil {
			t.Fatal(err)
		}
	}
	if full.Tell(f.Loop, []byte("x")) {
		t.Error("told over TLS although the kernel takes nothing")
	}
}
