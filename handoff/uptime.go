package handoff

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// uptime is the time since the machine has started, which a clock that jumps does not change and which the next process has too. The park time
// is counted on by it.
func uptime() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) //nolint:errcheck // every kernel that runs this has it
	return time.Duration(ts.Nano())
}

// ago is how long ago a mark's time of uptime was; 0 for one of another start of the machine.
func ago(m protocol.Message, key string) time.Duration {
	return max(0, uptime()-durationOf(m, key))
}
