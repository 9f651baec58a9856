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
	var a TLS
	var r TLSReceiver
	var k TLSKeys
	var l redoLog
	var e redo
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"Slot", unsafe.Sizeof(s), 192},
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
		{"Slot.Base", unsafe.Offsetof(s.Base), 88},
		{"Slot.ClientTLS", unsafe.Offsetof(s.ClientTLS), 104},
		{"Slot.BackendTLS", unsafe.Offsetof(s.BackendTLS), 108},
		{"Slot.Marks", unsafe.Offsetof(s.Marks), 112},
		{"Slot.Place", unsafe.Offsetof(s.Place), 120},
		{"Slot.Started", unsafe.Offsetof(s.Started), 128},
		{"Slot.Remote", unsafe.Offsetof(s.Remote), 152},
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
		{"TLS", unsafe.Sizeof(a), 384},
		{"TLS.Version", unsafe.Offsetof(a.Version), 0},
		{"TLS.Suite", unsafe.Offsetof(a.Suite), 2},
		{"TLS.Flags", unsafe.Offsetof(a.Flags), 4},
		{"TLS.Ops", unsafe.Offsetof(a.Ops), 8},
		{"TLS.InSeq", unsafe.Offsetof(a.InSeq), 16},
		{"TLS.OutSeq", unsafe.Offsetof(a.OutSeq), 24},
		{"TLS.Receiver", unsafe.Offsetof(a.Receiver), 32},
		{"TLS.In", unsafe.Offsetof(a.In), 80},
		{"TLS.Totals", unsafe.Offsetof(a.Totals), 64},
		{"TLS.Out", unsafe.Offsetof(a.Out), 176},
		{"TLS.CertFP", unsafe.Offsetof(a.CertFP), 272},
		{"TLS.Exporter", unsafe.Offsetof(a.Exporter), 304},
		{"TLS.Unsent", unsafe.Offsetof(a.Unsent), 336},
		{"TLSReceiver", unsafe.Sizeof(r), 32},
		{"TLSReceiver.Partial", unsafe.Offsetof(r.Partial), 0},
		{"TLSReceiver.Message", unsafe.Offsetof(r.Message), 20},
		{"TLSReceiver.Left", unsafe.Offsetof(r.Left), 24},
		{"TLSKeys", unsafe.Sizeof(k), 96},
		{"TLSKeys.IV", unsafe.Offsetof(k.IV), 0},
		{"TLSKeys.Epoch", unsafe.Offsetof(k.Epoch), 12},
		{"TLSKeys.Key", unsafe.Offsetof(k.Key), 16},
		{"TLSKeys.Secret", unsafe.Offsetof(k.Secret), 48},
		{"redoLog.Records", unsafe.Offsetof(l.Records), 64},
		{"redo", unsafe.Sizeof(e), 192},
		{"redo.Seq", unsafe.Offsetof(e.Seq), 24},
		{"redo.Receiver", unsafe.Offsetof(e.Receiver), 32},
		{"redo.Totals", unsafe.Offsetof(e.Totals), 64},
		{"redo.Keys", unsafe.Offsetof(e.Keys), 80},
		{"header.SlotsNext", unsafe.Offsetof(header{}.SlotsNext), 96},
		{"header.MaxBytes", unsafe.Offsetof(header{}.MaxBytes), 112},
		{"header.Notes", unsafe.Offsetof(header{}.Notes), 120},
		{"header.Staged", unsafe.Offsetof(header{}.Staged), 192},
	} {
		if f.got != f.want {
			t.Errorf("%s: %d, want %d", f.name, f.got, f.want)
		}
	}
	const want = uint64(0x1f24f55623b7e143) // version 4
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
