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
		h, err := k.control.Hello(ctx, protocol.Hello{Name: k.b.set.opt.Instance, Pass: pl.password})
		if out := k.heard(h, pl.explain(err)); out.err == nil || ctx.Err() != nil {
			return out
		}
	}
	_, h, err := pl.greet(ctx, k.b.set.opt.Instance, func() (*protocol.Control, error) { return k.dial(ctx, pl) })
	return k.heard(h, err)
}

// dial makes the connection that is kept, in the place of one that there may be.
func (k *keeper) dial(ctx context.Context, pl plan) (*protocol.Control, error) {
	k.drop()
	conn, err := k.b.set.opt.Dial(ctx, pl.network, pl.control)
	if err == nil {
		conn, err = pl.secure(ctx, conn)
	}
	if err != nil {
		return nil, err
	}
	k.conn = watch(conn)
	k.control = protocol.NewControl(k.conn)
	return k.control, nil
}

// heard takes the ircd's HELLO, and gives the connection up on any failure.
func (k *keeper) heard(h Hello, err error) outcome {
	out := outcome{hello: &h}
	if err == nil {
		out.addr, err = streamAddr(h, k.conn.RemoteAddr())
	}
	if err != nil {
		k.drop()
		return outcome{err: fmt.Errorf("control: %w", err)}
	}
	return out
}

func (k *keeper) drop() {
	if k.control == nil {
		return
	}
	k.control.Close()
	<-k.conn.dead
	k.control, k.conn = nil, nil
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
