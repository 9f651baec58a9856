package wire

import (
	"errors"
	"io"
	"testing"

	"golang.org/x/sys/unix"
)

// copyFile copies the arena's file as it is now into one of its own, holes left out.
func copyFile(t testing.TB, a *Arena) int {
	t.Helper()
	fd, err := memfd()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(fd, int64(a.size)); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		t.Fatal(err)
	}
	eachExtent(t, a.Fd(), func(off int64, p []byte) {
		if _, err := unix.Pwrite(fd, p, off); err != nil {
			t.Fatal(err)
		}
	})
	return fd
}

// eachExtent calls f with everything in the file that is not a hole.
func eachExtent(t testing.TB, fd int, f func(off int64, p []byte)) {
	t.Helper()
	for off := int64(0); ; {
		from, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if off, err = unix.Seek(fd, from, unix.SEEK_HOLE); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, off-from)
		if n, err := unix.Pread(fd, p, from); n < len(p) || err != nil && err != io.EOF {
			t.Fatalf("read %d of %d bytes: %v", n, len(p), err)
		}
		f(from, p)
	}
}

// attach goes on with the arena of a process that was killed, with one shard.
func attach(t testing.TB, fd int) *Arena {
	t.Helper()
	a, err := Attach(fd, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	a.Recover()
	if err := a.Adopt(func(*Slot) int { return 0 }); err != nil {
		t.Fatal(err)
	}
	a.Scrub()
	return a
}
