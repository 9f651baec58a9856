package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// keeper is the control connection that the checks of a native backend keep open: one HELLO a check over it tells fresh counts, and its
// end tells at once that the process is gone. Only the check goroutine uses it. A move has a connection of its own.
type keeper struct {
	b       *Backend
	control *protocol.Control
	conn    *watched
}

// check asks HELLO, on a new connection if there is none or if the kept one turns out to be broken.
func (k *keeper) check(ctx context.Context, pl plan) outcome {
	k.b.mu.Lock()
	fresh := k.b.fresh
	k.b.mu.Unlock()
	if fresh {
		k.drop()
	}
	if k.control != nil {
		if out := k.hello(ctx, pl); out.err == nil || ctx.Err() != nil {
			return out
		}
	}
	met, f, err := find(ctx, k.b.set.opt.reach(), pl, k.b.addresses(), func(ctx context.Context, conn net.Conn) (*met, error) {
		return pl.meet(ctx, k.b.set.opt.reach(), conn, k.b.set.opt.Instance)
	}, (*met).drop)
	if err != nil {
		return outcome{err: fmt.Errorf("control: %w", err), found: f}
	}
	k.control, k.conn = met.control, met.conn
	return outcome{hello: &met.hello, addr: met.stream, found: f}
}

// hello asks again, and gives the connection up on any failure.
func (k *keeper) hello(ctx context.Context, pl plan) outcome {
	h, stream, err := pl.greetings(ctx, k.control, k.conn, k.b.set.opt.Instance)
	if err != nil {
		k.drop()
		return outcome{err: fmt.Errorf("control: %w", pl.explain(err))}
	}
	return outcome{hello: &h, addr: stream}
}

func (k *keeper) drop() {
	if k.control == nil {
		return
	}
	(&met{control: k.control, conn: k.conn}).drop()
	k.control, k.conn = nil, nil
}

// met is a control connection over which HELLO was said.
type met struct {
	control *protocol.Control
	conn    *watched
	hello   Hello
	stream  netip.AddrPort // where it says that streams go
}

func (m *met) drop() {
	m.control.Close()
	<-m.conn.dead
}

// meet says HELLO over a connection that has just been made, which it owns; see greet.
func (pl plan) meet(ctx context.Context, way reach, conn net.Conn, name string) (*met, error) {
	var m *met
	_, h, err := pl.greet(ctx, name, pl.over(ctx, way, conn, func(conn net.Conn) *protocol.Control {
		m = &met{conn: watch(conn)}
		m.control = protocol.NewControl(m.conn)
		return m.control
	}))
	if err == nil {
		m.hello = h
		m.stream, err = streamAddr(h, m.conn.RemoteAddr())
	}
	if err != nil {
		if m != nil {
			m.drop()
		}
		return nil, err
	}
	return m, nil
}

// greetings asks HELLO.
func (pl plan) greetings(ctx context.Context, control *protocol.Control, conn net.Conn, name string) (Hello, netip.AddrPort, error) {
	h, err := control.Hello(ctx, protocol.Hello{Name: name, Pass: pl.password})
	if err != nil {
		return h, netip.AddrPort{}, err
	}
	stream, err := streamAddr(h, conn.RemoteAddr())
	return h, stream, err
}

// dead is closed when the kept connection ends; nil if there is none.
func (k *keeper) dead() <-chan struct{} {
	if k.conn == nil {
		return nil
	}
	return k.conn.dead
}

// streamAddr makes the stream address of a HELLO one that can be dialled: an unspecified one means the host that control was
// dialled at.
func streamAddr(h Hello, control net.Addr) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(h.Stream)
	if err != nil || addr.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("HELLO tells no stream address that makes sense: %w", errAnswer)
	}
	if h.SKey == "" {
		return netip.AddrPort{}, fmt.Errorf("HELLO tells no stream secret: %w", errAnswer)
	}
	ip := addr.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if t, ok := control.(*net.TCPAddr); ok {
			ip = t.AddrPort().Addr().Unmap()
		}
	}
	return netip.AddrPortFrom(ip, addr.Port()), nil
}

// moveFeats is what an ircd must be able to do so that users can be moved out of it and into it.
var moveFeats = []string{"open", "export", "import"}

// lacks lists what of it a HELLO does not announce.
func lacks(h Hello) (missing []string) {
	for _, f := range moveFeats {
		if !h.Can(f) {
			missing = append(missing, f)
		}
	}
	return missing
}

// introduction says who a new process is, and at once what will not work with it.
func introduction(h Hello) string {
	text := fmt.Sprintf("%s %s, epoch %s", h.Software, h.Version, h.Epoch)
	if missing := lacks(h); len(missing) > 0 {
		text += "; cannot " + strings.Join(missing, ", ") + ": its users cannot be moved freely"
	}
	if !h.Can(protocol.FeatProof) {
		text += "; does not prove itself on its streams"
	}
	if slices.Contains(h.Caps, "tls") {
		text += "; offers capability tls, which clients behind us cannot use"
	}
	return text
}

// watched is a connection that is read ahead, so that its end is seen while nobody reads. What is read waits in a pipe.
type watched struct {
	net.Conn
	in   *io.PipeReader
	dead chan struct{}
}

func watch(c net.Conn) *watched {
	in, out := io.Pipe()
	w := &watched{Conn: c, in: in, dead: make(chan struct{})}
	go w.pump(out)
	return w
}

func (w *watched) pump(out *io.PipeWriter) {
	defer close(w.dead)
	_, err := io.Copy(out, w.Conn)
	if err == nil {
		err = io.EOF
	}
	out.CloseWithError(err)
}

func (w *watched) Read(p []byte) (int, error) { return w.in.Read(p) }

// Close ends the connection and with it the pump.
func (w *watched) Close() error {
	return errors.Join(w.Conn.Close(), w.in.Close())
}
