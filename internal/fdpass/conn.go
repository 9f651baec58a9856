package fdpass

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxDescriptors = 253      // of one message: SCM_MAX_FD
	maxMessage     = 64 << 10 // bytes of a document
)

// Conn is one end.
type Conn struct {
	c    *net.UnixConn
	peer int // process id that messages must come from; 0: any of our user
	buf  []byte
	oob  []byte
}

// Pair makes two ends. Theirs is for a child process: it is close-on-exec, and os/exec hands it on.
func Pair() (ours *Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "fdpass")
	if ours, err = New(os.NewFile(uintptr(fds[0]), "fdpass")); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// New makes an end of a socket, which it closes.
func New(f *os.File) (*Conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("use socket: it is %s and no unix socket", c.LocalAddr().Network())
	}
	x := &Conn{c: u, buf: make([]byte, maxMessage), oob: make([]byte, unix.CmsgSpace(4*maxDescriptors)+unix.CmsgSpace(unix.SizeofUcred))}
	if err := x.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); err != nil {
		u.Close()
		return nil, fmt.Errorf("ask for credentials: %w", err)
	}
	return x, nil
}

func (x *Conn) control(f func(fd int) error) error {
	raw, err := x.c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(raw.Control(func(fd uintptr) { inner = f(int(fd)) }), inner)
}

// Expect has messages of another process than this one refused.
func (x *Conn) Expect(pid int) { x.peer = pid }

// Expected is that process; 0: any of our user.
func (x *Conn) Expected() int { return x.peer }

// SetDeadline bounds all that follows; the zero time: nothing does.
func (x *Conn) SetDeadline(t time.Time) error { return x.c.SetDeadline(t) }

// Close closes this end.
func (x *Conn) Close() error { return x.c.Close() }

// Send sends a document with descriptors, which stay the caller's.
func (x *Conn) Send(document any, fds ...int) error {
	text, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	if len(text) > maxMessage || len(fds) > maxDescriptors {
		return fmt.Errorf("message of %d bytes with %d descriptors: at most %d and %d", len(text), len(fds), maxMessage, maxDescriptors)
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := x.c.WriteMsgUnix(text, oob, nil); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// Recv takes the next document and its descriptors, which are the caller's. io.EOF: the other end is closed.
func (x *Conn) Recv(document any) (fds []int, err error) {
	n, k, flags, _, err := x.c.ReadMsgUnix(x.buf, x.oob)
	if err != nil {
		return nil, fmt.Errorf("receive message: %w", err)
	}
	fds, from, err := parse(x.oob[:k])
	defer func() {
		if err != nil {
			closeAll(fds)
			fds = nil
		}
	}()
	switch {
	case err != nil:
		return fds, err
	case n == 0 && k == 0 || n == 0 && from == nil:
		return fds, fmt.Errorf("receive message: %w", io.EOF)
	case flags&unix.MSG_CTRUNC != 0:
		return fds, fmt.Errorf("receive message: %d descriptors came and not all (RLIMIT_NOFILE): %w", len(fds), unix.EMFILE)
	case flags&unix.MSG_TRUNC != 0:
		return fds, fmt.Errorf("receive message: it has more than %d bytes", len(x.buf))
	}
	if err := x.check(from); err != nil {
		return fds, err
	}
	if n == 0 {
		return fds, fmt.Errorf("receive message: %w", io.EOF) // credentials without a document: the end of a socket with SO_PASSCRED
	}
	if err := json.Unmarshal(x.buf[:n], document); err != nil {
		return fds, fmt.Errorf("read message: %w", err)
	}
	return fds, nil
}

// check lets pass what comes from whom it is expected from.
func (x *Conn) check(from *unix.Ucred) error {
	switch {
	case from == nil:
		return errors.New("receive message: the kernel does not say whose it is")
	case int(from.Uid) != os.Geteuid():
		return fmt.Errorf("receive message: it is of user %d, we are %d", from.Uid, os.Geteuid())
	case x.peer != 0 && int(from.Pid) != x.peer:
		return fmt.Errorf("receive message: it is of process %d, want %d", from.Pid, x.peer)
	}
	return nil
}

func parse(oob []byte) (fds []int, from *unix.Ucred, err error) {
	if len(oob) == 0 {
		return nil, nil, nil
	}
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, nil, fmt.Errorf("receive message: %w", err)
	}
	for i := range all {
		switch all[i].Header.Type {
		case unix.SCM_RIGHTS:
			some, rerr := unix.ParseUnixRights(&all[i])
			fds, err = append(fds, some...), errors.Join(err, rerr)
		case unix.SCM_CREDENTIALS:
			cred, rerr := unix.ParseUnixCredentials(&all[i])
			from, err = cred, errors.Join(err, rerr)
		}
	}
	return fds, from, err
}

// batch is a message of SendAll, and the answer to it.
type batch struct {
	Batch int `json:"batch"` // descriptors
}

// SendAll sends any number of descriptors in batches, each when the one before has arrived: no more than one batch is in flight, of which the
// kernel counts the descriptors against the user's limit.
func (x *Conn) SendAll(fds []int) error {
	for len(fds) > 0 {
		n := min(len(fds), maxDescriptors)
		if err := x.Send(batch{n}, fds[:n]...); err != nil {
			return err
		}
		var got batch
		if _, err := x.Recv(&got); err != nil {
			return err
		}
		if got.Batch != n {
			return fmt.Errorf("send descriptors: %d of %d have arrived", got.Batch, n)
		}
		fds = fds[n:]
	}
	return nil
}

// RecvAll takes so many descriptors of a SendAll. On an error none is kept.
func (x *Conn) RecvAll(count int) (fds []int, err error) {
	defer func() {
		if err != nil {
			closeAll(fds)
			fds = nil
		}
	}()
	for len(fds) < count {
		var b batch
		some, err := x.Recv(&b)
		fds = append(fds, some...)
		if err != nil {
			return fds, err
		}
		if b.Batch != len(some) || len(some) == 0 || len(fds) > count {
			return fds, fmt.Errorf("receive descriptors: %d in a batch of %d, %d of %d in all", len(some), b.Batch, len(fds), count)
		}
		if err := x.Send(batch{len(some)}); err != nil {
			return fds, err
		}
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
