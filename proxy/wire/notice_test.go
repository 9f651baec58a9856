package wire

import (
	"fmt"
	"strings"
	"testing"
)

// Mistakes that were made here by `make mutate` and that no test had noticed.

func TestEveryUseByAForeignGoroutineIsCaught(t *testing.T) {
	a := testArena(t, Options{Slots: 4, Shards: 1, MaxBytes: 1 << 20})
	s := a.Shard(0)
	s.Bind()
	_, slot, err := s.NewSlot()
	must(t, err)
	q := &slot.ToClient
	must(t, s.Append(q, []byte("held")))
	for name, use := range map[string]func(){
		"NewSlot":     func() { _, _, _ = s.NewSlot() },
		"Append":      func() { _ = s.Append(q, []byte("x")) },
		"Prepend":     func() { _ = s.Prepend(q, []byte("x")) },
		"Front":       func() { s.Front(q) },
		"Pieces":      func() { s.Pieces(q, 1, nil) },
		"Consume":     func() { s.Consume(q, 1) },
		"Clear":       func() { s.Clear(q) },
		"Staging":     func() { s.Staging() },
		"Staged":      func() { s.Staged() },
		"ImportSlot":  func() { _, _ = s.ImportSlot(nil) },
		"NewTLS":      func() { _, _ = s.NewTLS(pairParams(suite13, false)) },
		"ImportTLS":   func() { _, _ = s.ImportTLS(nil) },
		"TrimCiphers": func() { s.TrimCiphers() },
	} {
		caught := make(chan string)
		go func() {
			defer func() { caught <- fmt.Sprint(recover()) }()
			use()
		}()
		if got := <-caught; !strings.Contains(got, "used by goroutine") {
			t.Errorf("%s by another goroutine: %s", name, got)
		}
	}
	if got := string(s.Front(q)); got != "held" {
		t.Errorf("the queue is %q", got)
	}
}

// An export that grew under way would leave keys behind in the memory that it grew out of.
func TestExportHasItsRoomFromTheBeginning(t *testing.T) {
	a := testArena(t, Options{Slots: 200, Shards: 1, MaxBytes: 2 << 20})
	s := a.Shard(0)
	o := newOursOn(t, s, pairParams(suite13, false))
	slot := s.Slot(o.slot)
	slot.ClientTLS = o.id
	var err error
	if slot.BackendTLS, err = s.NewTLS(pairParams(suite12, true)); err != nil {
		t.Fatal(err)
	}
	must(t, s.Append(&slot.ToClient, pattern(5000)))
	room := 2 + slotStateSize + slot.ToBackend.Len() + slot.ToClient.Len()
	for _, id := range []TLSID{slot.ClientTLS, slot.BackendTLS} {
		room += s.TLS(id).stateSize()
	}
	b, err := s.ExportSlot(o.slot)
	must(t, err)
	if len(b) > room || cap(b) != room {
		t.Errorf("%d bytes in room for %d, reckoned were %d", len(b), cap(b), room)
	}
}
