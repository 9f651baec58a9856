package loop

import (
	"sync"

	"golang.org/x/sys/unix"
)

// nothing is a descriptor of nothing, for copies.
var nothing = sync.OnceValue(func() int {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
})

// Placeholder takes the lowest descriptor that is free, so that nobody else gets it before it is closed. -1: there is none.
func Placeholder() int {
	if nothing() < 0 {
		return -1
	}
	fd, err := unix.FcntlInt(uintptr(nothing()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}
