package keeper

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Harden makes this process one that tells nothing and needs little: what it holds are other people's connections. No other process of its user can look at its
// descriptors or memory, no core is written, the kernel kills it last, and it may have as many descriptors as the hard limit lets it.
func Harden() error {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(25)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep others out of this process: %w", err)
	}
	err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	var l unix.Rlimit
	if gerr := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); gerr != nil {
		return errors.Join(err, gerr)
	}
	l.Cur = l.Max
	if serr := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); serr != nil {
		err = errors.Join(err, fmt.Errorf("raise limit of descriptors: %w", serr))
	}
	os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0) //nolint:errcheck // a privilege: without it the unit's OOMScoreAdjust, or the daemon's size, must do
	return err
}

// limit is how many descriptors this process may have.
func limit() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(l.Cur, 1<<30))
}
