package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxPath is what fits into a socket's address.
const maxPath = 107

// listen makes the socket, in a directory that is made if absent (0700) and must be nobody else's. The lock beside it keeps a second keeper out, and ends with the
// process; a socket that lies there behind it is one of the dead.
func listen(path string) (fd int, lock *os.File, err error) {
	if len(path) > maxPath {
		return -1, nil, fmt.Errorf("socket %s: its path has %d bytes, at most %d fit", path, len(path), maxPath)
	}
	if err := ownDirectory(filepath.Dir(path)); err != nil {
		return -1, nil, err
	}
	if lock, err = os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return -1, nil, fmt.Errorf("lock socket: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return -1, nil, fmt.Errorf("another keeper has the socket %s: end it, or give this one another --socket: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return -1, nil, fmt.Errorf("remove old socket: %w", err)
	}
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, nil, fmt.Errorf("make socket: %w", err)
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), os.Chmod(path, 0o600), unix.Listen(fd, 16)); err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return fd, lock, nil
}

// ownDirectory makes a directory, or finds that it is ours alone.
func ownDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of the socket: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("directory of the socket: %s: %w", dir, err)
	}
	switch {
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("directory of the socket: %s belongs to user %d, this is %d: give it one of its own", dir, st.Uid, os.Geteuid())
	case st.Mode&0o077 != 0:
		return fmt.Errorf("directory of the socket: %s has mode %04o, others may come in: chmod 0700 it, or give another --socket", dir, st.Mode&0o7777)
	}
	return nil
}

// peerOf says whose process is at the other end, as the kernel knows it.
func peerOf(fd int) (*unix.Ucred, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, fmt.Errorf("ask whose socket it is: %w", err)
	}
	return c, nil
}

// mayBe reports whether a process of that user may be at the other end.
func mayBe(uid uint32) bool { return int(uid) == os.Geteuid() || uid == 0 }
