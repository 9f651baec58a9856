package loop

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// descriptors is how many this process has.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}

// A loop that cannot be made says why and keeps nothing of itself; one that has ended neither.
func TestLoopKeepsNoDescriptors(t *testing.T) {
	l, err := New(&recorder{}) // whatever the runtime opens once
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	before := descriptors(t)
	if l, err = New(&recorder{}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors behind a loop that was never run, %d before", n, before)
	}
	if l, err = New(&recorder{}); err != nil {
		t.Fatal(err)
	}
	l.Stop()
	l.Run()
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors behind a loop that has ended, %d before", n, before)
	}

	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	Close(fds[0])
	Close(fds[1])
	for _, last := range []int{fds[0], fds[1]} { // there is room for none, for one
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(last), Max: was.Max}); err != nil {
			t.Fatal(err)
		}
		l, err := New(&recorder{})
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		if l != nil || !errors.Is(err, unix.EMFILE) {
			t.Errorf("without descriptors from %d on: %v", last, err)
		}
		if n := descriptors(t); n != before {
			t.Errorf("%d descriptors behind a loop that could not be made, %d before", n, before)
		}
	}
}

func TestWatchOfWhatCannotBeWatched(t *testing.T) {
	l, err := New(&recorder{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, _ := pair(t)
	for name, err := range map[string]error{
		"no descriptor":             l.Watch(-1, 1, true),
		"no descriptor, by level":   l.WatchLevel(-1, 1),
		"no descriptor, once more":  l.Rewatch(-1, 1, true),
		"one that is not watched":   l.Rewatch(a, 1, true),
		"one that is watched twice": errors.Join(l.Watch(a, 1, true), l.Watch(a, 1, true)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
