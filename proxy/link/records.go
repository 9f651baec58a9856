package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/wire"
)

// records is the TLS of all links' connections behind their handshakes: package wire's record layer, since what crypto/tls holds of a connection can leave
// no process. Links have no event loop, so their part of an arena is behind a mutex: it is held for what a record takes, never while anything waits.
type records struct {
	mu    sync.Mutex
	arena *wire.Arena // nil: no link has had TLS yet
	shard *wire.Shard
}

// Bounds of the arena. It takes memory as it is used, but for a quarter of a megabyte when the first link with TLS comes.
const (
	mostSecured  = 1024 // connections
	mostRecorded = 64 << 20
)

// do lets f work in the arena.
func (r *records) do(f func(s *wire.Shard) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.arena == nil {
		a, err := wire.New(wire.Options{Slots: mostSecured / 2, Shards: 1, MaxBytes: mostRecorded})
		if err != nil {
			return fmt.Errorf("TLS of links: %w", err)
		}
		r.arena, r.shard = a, a.Shard(0)
	}
	return f(r.shard)
}

var began = time.Now()

// sinceStart is the time by which the record layer limits rates.
func sinceStart() time.Duration { return time.Since(began) }

// maxShaken is what the other end may say until its handshake is over, what it says behind it included: the record layer takes no more.
const maxShaken = 60 << 10

// secure shakes hands over c, which it closes if that fails, and answers the connection inside.
func (r *records) secure(ctx context.Context, c net.Conn, conf *tls.Config, client bool) (net.Conn, error) {
	s, err := r.shake(ctx, c, conf, client)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return s, nil
}

func (r *records) shake(ctx context.Context, c net.Conn, conf *tls.Config, client bool) (*secured, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	conf, refused := verifying(conf)
	done := make(chan handshake.Result, 1)
	// Write may wait for the kernel: no slot of others is held meanwhile, and what comes is read elsewhere.
	o := handshake.Options{Local: c.LocalAddr(), Remote: c.RemoteAddr(), Write: func(p []byte) { c.Write(p) }, Done: func(res handshake.Result) { done <- res }} //nolint:errcheck // the reader hears of it
	h := handshake.Server(conf, o)
	if client {
		h = handshake.Client(conf, o)
		h.Start()
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		feed(h, c)
	}()
	res := <-done
	inTime := stop()
	c.SetReadDeadline(time.Unix(1, 0))
	<-fed
	switch {
	case !inTime:
		res.Params.Wipe()
		return nil, context.Cause(ctx)
	case res.Err != nil && *refused != nil:
		return nil, fmt.Errorf("%w: %w", res.Err, *refused)
	case res.Err != nil:
		return nil, res.Err
	}
	c.SetDeadline(time.Time{})
	return r.take(c, &res.Params, h.Rest())
}

// verifying is conf, and what its VerifyConnection will have said: crypto/tls's own words for it quote the other end, and are not passed on.
func verifying(conf *tls.Config) (*tls.Config, *error) {
	said := new(error)
	if verify := conf.VerifyConnection; verify != nil {
		conf = conf.Clone()
		conf.VerifyConnection = func(s tls.ConnectionState) error {
			*said = verify(s)
			return *said
		}
	}
	return conf, said
}

// feed reads for a handshake until its deadline has come, the other end has ended, or it has said too much.
func feed(h *handshake.Handshake, c net.Conn) {
	buf := make([]byte, 4<<10)
	for n := 0; n < maxShaken; {
		k, err := c.Read(buf[:min(len(buf), maxShaken-n)])
		h.Feed(buf[:k])
		if n += k; err != nil {
			h.End(err)
			return
		}
	}
}

// take goes on with a connection whose handshake is over; rest is what the other end has said behind it.
func (r *records) take(c net.Conn, p *wire.TLSParams, rest []byte) (*secured, error) {
	s := &secured{Conn: c, room: r}
	err := r.do(func(shard *wire.Shard) (err error) {
		if s.id, err = shard.NewTLS(p); err != nil {
			return err
		}
		if err = shard.Keep(s.id, rest); err != nil {
			shard.FreeTLS(s.id)
		}
		return err
	})
	if err != nil {
		p.Wipe()
		return nil, err
	}
	return s, nil
}

// close gives the arena back, if no connection has anything in it.
func (r *records) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.arena != nil && r.arena.Stats().TLS == 0 {
		r.arena.Close()
		r.arena, r.shard = nil, nil
	}
}
