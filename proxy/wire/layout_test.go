package wire

import (
	"os"
	"testing"
	"unsafe"
)

// A successor reads these places. Whoever changes one of them changes LayoutVersion (or, at least, knows that an upgrade will
// close the clients).
func TestLayoutIsPinned(t *testing.T) {
	var s Slot
	var q Queue
	var st Staged
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"Slot", unsafe.Sizeof(s), 256},
		{"Slot.Session", unsafe.Offsetof(s.Session), 0},
		{"Slot.Generation", unsafe.Offsetof(s.Generation), 8},
		{"Slot.Flags", unsafe.Offsetof(s.Flags), 12},
		{"Slot.State", unsafe.Offsetof(s.State), 14},
		{"Slot.ClientIn", unsafe.Offsetof(s.ClientIn), 16},
		{"Slot.ClientOut", unsafe.Offsetof(s.ClientOut), 24},
		{"Slot.BackendIn", unsafe.Offsetof(s.BackendIn), 32},
		{"Slot.BackendOut", unsafe.Offsetof(s.BackendOut), 40},
		{"Slot.ToBackend", unsafe.Offsetof(s.ToBackend), 48},
		{"Slot.ToClient", unsafe.Offsetof(s.ToClient), 68},
		{"Slot.Reconcile", unsafe.Offsetof(s.Reconcile), 88},
		{"Slot.TLS", unsafe.Offsetof(s.TLS), 120},
		{"Queue", unsafe.Sizeof(q), 20},
		{"Queue.Head", unsafe.Offsetof(q.Head), 0},
		{"Queue.Tail", unsafe.Offsetof(q.Tail), 4},
		{"Queue.HeadOff", unsafe.Offsetof(q.HeadOff), 8},
		{"Queue.TailOff", unsafe.Offsetof(q.TailOff), 10},
		{"Queue.Bytes", unsafe.Offsetof(q.Bytes), 12},
		{"Queue.Half", unsafe.Offsetof(q.Half), 16},
		{"Staged", unsafe.Sizeof(st), 32},
		{"Staged.Slot", unsafe.Offsetof(st.Slot), 0},
		{"Staged.Generation", unsafe.Offsetof(st.Generation), 4},
		{"Staged.From", unsafe.Offsetof(st.From), 8},
		{"Staged.To", unsafe.Offsetof(st.To), 12},
		{"Staged.Dir", unsafe.Offsetof(st.Dir), 16},
		{"header.Staged", unsafe.Offsetof(header{}.Staged), 128},
	} {
		if f.got != f.want {
			t.Errorf("%s: %d, want %d", f.name, f.got, f.want)
		}
	}
	const want = uint64(0x154466965c1ce74) // version 1
	if h := LayoutHash(); h != want {
		t.Errorf("layout hash %#x, want %#x; the layout is now\n%s", h, want, layout())
	}
}

// The slots and chunks are aligned for the widest load of them, whatever the page size.
func TestAlignment(t *testing.T) {
	a := testArena(t, Options{Slots: 3, Shards: 3, MaxBytes: 1 << 20})
	page := uintptr(os.Getpagesize())
	if a.hdr.SlotsOff%SlotSize != 0 || a.chunksOff()%page != 0 || uint64(a.chunksOff()) != a.hdr.ChunksOff {
		t.Errorf("slots at %d, chunks at %d (header: %d)", a.hdr.SlotsOff, a.chunksOff(), a.hdr.ChunksOff)
	}
}
