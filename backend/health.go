package backend

import "time"

// health is what the checks and the connects of clients say of one backend.
//
//	unchecked --good--> up          the first check decides at once
//	unchecked --bad---> down
//	up   --fall bad checks, or fall failed connects, in a row--> down
//	down --rise good checks in a row--> up
//
// A check that failed for a local reason (no descriptors) is neither good nor bad.
type health struct {
	oper    OperState
	checked bool // a check has ended
	cause   string
	since   time.Time // of oper
	good    int       // checks in a row
	bad     int       // checks in a row
	dialBad int       // connects in a row; one for each wait between tries, however many clients try
}

// pass counts a good check and reports whether the state changed.
func (h *health) pass(rise int, now time.Time) bool {
	h.bad = 0
	h.good++
	if h.oper == Up || (h.checked && h.good < rise) {
		return false
	}
	h.turn(Up, "", now)
	h.dialBad = 0
	return true
}

// fail counts a bad check and reports whether the state changed.
func (h *health) fail(fall int, cause string, now time.Time) bool {
	h.good = 0
	h.bad++
	if h.checked && (h.oper == Down || h.bad < fall) {
		return false
	}
	h.turn(Down, cause, now)
	return true
}

// dialFailed counts a failed connect and reports whether the state changed. Before the first check it says nothing.
func (h *health) dialFailed(fall int, cause string, now time.Time) bool {
	h.dialBad++
	if !h.checked || h.oper == Down || h.dialBad < fall {
		return false
	}
	h.good = 0
	h.turn(Down, cause, now)
	return true
}

func (h *health) turn(to OperState, cause string, now time.Time) {
	h.oper, h.checked, h.cause, h.since = to, true, cause, now
}

// forget goes back to the beginning: the next check decides.
func (h *health) forget(cause string, now time.Time) {
	*h = health{oper: Down, cause: cause, since: now}
}

// Waits between connects to a backend that did not answer; the last is also how late a client notices that it answers again.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 4 * time.Second
)

// backoff says when the next client may try.
type backoff struct {
	wait time.Duration
	next time.Time
}

func (b *backoff) failed(now time.Time) {
	b.wait = min(max(2*b.wait, firstWait), lastWait)
	b.next = now.Add(b.wait)
}

func (b *backoff) waits(now time.Time) bool { return now.Before(b.next) }
