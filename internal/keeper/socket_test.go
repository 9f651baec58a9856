package keeper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket that others could come to, or that another keeper has, is no place; one that a dead keeper has left is.
func TestPlaceOfTheSocket(t *testing.T) {
	k := run(t, ServerOptions{})
	dir := filepath.Dir(k.socket)
	if _, err := Listen(ServerOptions{Socket: k.socket}); err == nil || !strings.Contains(err.Error(), "another keeper") {
		t.Errorf("beside another one: %v", err)
	}
	if info, err := os.Stat(k.socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	c, _ := claimed(t, k.socket)
	c.Close()
	k.stop()
	if err := os.WriteFile(k.socket, nil, 0o600); err != nil { // a dead one's
		t.Fatal(err)
	}
	run(t, ServerOptions{Socket: k.socket}).stop()
	os.Chmod(dir, 0o750)
	if _, err := Listen(ServerOptions{Socket: k.socket}); err == nil || !strings.Contains(err.Error(), "chmod 0700") {
		t.Errorf("where a group comes in: %v", err)
	}
	if _, err := Listen(ServerOptions{Socket: "/tmp/" + strings.Repeat("x", 120)}); err == nil || !strings.Contains(err.Error(), "at most 107") {
		t.Errorf("with a path that is too long: %v", err)
	}
}

// A descriptor that the kernel has no number for is told, also where it is not known which it was.
func TestNoNumberForADescriptor(t *testing.T) {
	k := run(t, ServerOptions{max: 1 << 20})
	c, l := claimed(t, k.socket)
	_, w := pipe(t)
	defer unix.Close(w)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	probe, err := unix.Dup(w)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(probe)
	unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(probe + 2), Max: was.Max})
	fill := func(leave int) {
		var fds []int
		for {
			fd, err := unix.Dup(w)
			if err != nil {
				break
			}
			fds = append(fds, fd)
		}
		for _, fd := range fds[:min(leave, len(fds))] {
			unix.Close(fd)
		}
		t.Cleanup(func() { closeFDs(fds[min(leave, len(fds)):]) })
	}
	fill(2)
	if err := c.KeepAll([]Tag{1, 2, 3, 4}, []int{w, w, w, w}); err != nil {
		t.Fatal(err)
	}
	<-l.told
	fill(0)
	if err := c.KeepMemory("arena", w); err != nil {
		t.Fatal(err)
	}
	<-l.told
	unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	st, err := c.Ping(within(t))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || st.Descriptors == 0 || st.Descriptors+len(l.tags) != 4 || l.tags[len(l.tags)-1] != 4 || st.Memory != 0 {
		t.Errorf("%d are kept, lost: %v (%v) (%v)", st.Descriptors, l.tags, l.errs, err)
	}
}
