package backend

import "syscall"

func errno(n int) error { return syscall.Errno(n) }
