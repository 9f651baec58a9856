package proxy

import (
	"testing"
	"unsafe"
)

// An idle client costs its session, its slot (wire.SlotSize) and, with TLS, its annex: what is put into the session is paid nine thousand times.
func TestSessionIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(session{}); n != 128 {
		t.Errorf("a session has %d bytes, want two lines of the cache", n)
	}
	if n := unsafe.Offsetof(session{}.reg); n != 64 {
		t.Errorf("what the way of a byte touches has %d bytes, want one line of the cache", n)
	}
}
