package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tag names a descriptor. The daemon chooses it, and the keeper understands nothing of it. 0 is none.
type Tag uint64

// Errors of a Client.
var (
	ErrBusy   = errors.New("the keeper is busy")                      // its socket is full for now: see Client.Ready
	ErrFull   = errors.New("the keeper may have no more descriptors") // what is not kept is served, and ends with the daemon
	ErrGone   = errors.New("the keeper is gone")
	ErrFenced = errors.New("another daemon has the keeper's claim")
)

// HeldError says that another daemon has the claim.
type HeldError struct{ PID int }

func (e *HeldError) Error() string {
	return fmt.Sprintf("the daemon with process id %d has the keeper: end it, or give this one a keeper of its own (--keeper-socket)", e.PID)
}

// Options of a Client.
type Options struct {
	// Lost is told what the keeper does not hold though it was sent; no tags: nobody knows which. It is called from the client's goroutine and must not wait.
	Lost func(tags []Tag, err error)
}

// Client is a daemon's end. Its methods may be called from any goroutine.
type Client struct {
	o     Options
	conn  *net.UnixConn
	raw   syscall.RawConn
	hello Status

	fenced atomic.Bool
	done   chan struct{}
	ended  sync.WaitGroup

	send struct {
		sync.Mutex
		body, oob []byte
		drops     []Tag // that found the socket full; they go before all else
		ready     []func()
		waiting   bool // a goroutine waits for room
	}

	mu   sync.Mutex // of what follows
	seq  uint32
	asks map[uint32]chan answer
}

// answer is one of the keeper; its descriptors belong to whoever gets it.
type answer struct {
	verb byte
	body []byte
	fds  []int
	err  error
}

// Dial goes to the keeper at a socket and greets it. The claim is still to be had.
func Dial(ctx context.Context, socket string, o Options) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", socket)
	if err != nil {
		return nil, fmt.Errorf("dial keeper: %w", err)
	}
	c := &Client{o: o, conn: conn.(*net.UnixConn), done: make(chan struct{}), asks: map[uint32]chan answer{}}
	c.send.body, c.send.oob = make([]byte, 0, maxMessage), make([]byte, unix.CmsgSpace(4*maxBatch))
	if err := c.begin(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) begin(ctx context.Context) (err error) {
	if c.raw, err = c.conn.SyscallConn(); err != nil {
		close(c.done)
		return fmt.Errorf("dial keeper: %w", err)
	}
	var who *unix.Ucred
	if cerr := c.raw.Control(func(fd uintptr) {
		who, err = peerOf(int(fd))
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer) //nolint:errcheck // less is less
	}); cerr != nil || err != nil {
		close(c.done)
		return fmt.Errorf("dial keeper: %w", errors.Join(cerr, err))
	}
	c.ended.Go(c.read)
	if !mayBe(who.Uid) {
		return fmt.Errorf("the keeper's process %d is of user %d, this is %d's: its socket must be this user's", who.Pid, who.Uid, os.Geteuid())
	}
	body := binary.LittleEndian.AppendUint16([]byte(magic), version)
	body = binary.LittleEndian.AppendUint16(body, oldest)
	body = binary.LittleEndian.AppendUint64(body, features)
	if c.hello, err = c.askStatus(ctx, verbHello, body); err != nil {
		return err
	}
	return agree(c.hello.Protocol, c.hello.oldest)
}

// sendBuffer is room for some thousand descriptors on their way: a burst of new clients does not find it full.
const sendBuffer = 1 << 20

// Hello is what the keeper has said of itself at the beginning.
func (c *Client) Hello() Status { return c.hello }

// Done is closed when the keeper's end is gone.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection. What is kept stays kept for the grace time.
func (c *Client) Close() {
	c.conn.Close()
	c.ended.Wait()
}

// gone makes an error of the socket one of ours.
func (c *Client) gone(err error) error { return fmt.Errorf("%w: %w", ErrGone, err) }

// read is the client's goroutine: it takes what the keeper says.
func (c *Client) read() {
	defer c.end()
	buf, oob := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxBatch))
	for {
		n, k, flags, _, err := c.conn.ReadMsgUnix(buf, oob)
		if errors.Is(err, unix.ECONNRESET) {
			continue // it has died with messages of ours unread; what it had said comes behind
		}
		if err != nil || n == 0 {
			return
		}
		a := answer{body: buf[:n]}
		if k > 0 {
			a.fds = descriptors(oob[:k])
		}
		if flags&unix.MSG_CTRUNC != 0 {
			closeFDs(a.fds)
			a.fds, a.err = nil, fmt.Errorf("not all descriptors came: raise LimitNOFILE of the unit (ulimit -n): %w", unix.EMFILE)
		}
		c.hear(a)
	}
}

// hear gives an answer to who waits for it.
func (c *Client) hear(a answer) {
	verb, seq, body, err := parseHeader(a.body)
	if err != nil {
		closeFDs(a.fds)
		return
	}
	a.verb, a.body = verb, append([]byte(nil), body...)
	switch {
	case verb == sayLost:
		c.lost(a.body)
		return
	case verb == sayRefused && len(body) >= 2:
		a.err = c.refused(body[0], body[1])
	case verb == sayUnknown:
		a.err = fmt.Errorf("the keeper (version %s) does not know that yet: restart it, which no client notices", c.hello.Version)
	}
	c.mu.Lock()
	to := c.asks[seq]
	delete(c.asks, seq)
	c.mu.Unlock()
	if to == nil {
		closeFDs(a.fds)
		return
	}
	to <- a
}

// refused is the error for something that the keeper has not done.
func (c *Client) refused(verb, why byte) error {
	err := fmt.Errorf("the keeper refuses verb %d: %s", verb, whyText(why))
	switch why {
	case whyFenced:
		c.fenced.Store(true)
		return fmt.Errorf("%w (verb %d)", ErrFenced, verb)
	case whyBusy:
		return ErrBusy
	}
	if c.o.Lost != nil && (verb == verbKeep || verb == verbMemory) {
		c.o.Lost(nil, err)
	}
	return err
}

func (c *Client) lost(body []byte) {
	if len(body) == 0 || c.o.Lost == nil {
		return
	}
	tags, err := parseTags(nil, body[1:])
	if err != nil {
		tags = nil
	}
	err = errors.New(whyText(body[0]))
	if body[0] == whyFull {
		err = ErrFull
	}
	c.o.Lost(tags, err)
}

// end tells all who wait that nothing comes any more.
func (c *Client) end() {
	c.mu.Lock()
	asks := c.asks
	c.asks = nil
	c.mu.Unlock()
	close(c.done)
	for _, to := range asks {
		to <- answer{err: ErrGone}
	}
	c.callReady()
}

// descriptors are those of a message.
func descriptors(oob []byte) (fds []int) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range all {
		if some, err := unix.ParseUnixRights(&all[i]); err == nil {
			fds = append(fds, some...)
		}
	}
	return fds
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
