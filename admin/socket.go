package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxSocketPath is what fits in sun_path with its final NUL.
const maxSocketPath = 107

// Listen opens the admin socket at path: mode 0600, or 0660 and the group if one is named. There is no moment at which others
// could connect, because the mode is set on the socket before bind gives it its name (Linux takes it from there).
//
// The socket file of a daemon that is gone is replaced; one that is answered, or a file that is no socket, is an error. Two
// daemons that start at the same time are kept apart by a lock on the directory.
func Listen(path, group string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: the path has %d bytes, a socket's path may have %d; set admin.socket to a shorter one",
			path, len(path), maxSocketPath)
	}
	gid, err := groupID(group)
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	unlock, err := lockDirectory(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		err := c.Control(func(fd uintptr) { chmodErr = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmodErr)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	if err := admitGroup(path, gid); err != nil {
		l.Close()
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	return ownSocket(l.(*net.UnixListener), path)
}

func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("group %q does not exist; create it or change admin.group: %w", group, err)
	}
	return strconv.Atoi(g.Gid)
}

func admitGroup(path string, gid int) error {
	if gid < 0 {
		return nil
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return fmt.Errorf("give it to group %d: %w; the daemon's user must be in that group (SupplementaryGroups= of the systemd unit)", gid, err)
	}
	return os.Chmod(path, 0o660)
}

// lockDirectory holds other daemons back between looking at a socket file and replacing it.
func lockDirectory(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("directory %s does not exist; create it (RuntimeDirectory= of the systemd unit does) or change admin.socket", dir)
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		d.Close()
		return nil, fmt.Errorf("lock directory %s: %w", dir, err)
	}
	return func() { d.Close() }, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is no socket is in the way; remove it or change admin.socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return errors.New("another daemon answers there; stop it first or change admin.socket")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot tell whether another daemon answers there: %w", err)
	}
	return os.Remove(path)
}

// listener removes its socket file when it is closed, unless somebody else's is there by now.
type listener struct {
	*net.UnixListener
	path string
	info os.FileInfo
	once sync.Once
	left atomic.Bool // see Leave
}

func ownSocket(l *net.UnixListener, path string) (net.Listener, error) {
	l.SetUnlinkOnClose(false)
	info, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	return &listener{UnixListener: l, path: path, info: info}, nil
}

func (l *listener) Close() error {
	l.once.Do(func() {
		if l.left.Load() {
			return
		}
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			os.Remove(l.path) //nolint:errcheck // a file left behind is replaced by the next start
		}
	})
	return l.UnixListener.Close()
}
