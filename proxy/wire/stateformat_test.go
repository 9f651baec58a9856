package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// stateOf is an export in the middle of a record, with records that are unsent.
func stateOf(t testing.TB, s *Shard, suite uint16, client bool) []byte {
	t.Helper()
	p := pairParams(suite, client)
	p.HasCert, p.CertFP = true, [32]byte{1}
	id, err := s.NewTLS(p)
	must(t, err)
	defer s.FreeTLS(id)
	must(t, s.Keep(id, []byte{23, 3, 3, 0}))
	records, err := s.Seal(id, []byte("unsent"))
	must(t, err)
	must(t, s.Append(&s.TLS(id).Unsent, records))
	b, err := s.ExportTLS(id)
	must(t, err)
	return b
}

// Where what lies in a state, as annex says.
const (
	atFlags = 6
	atIn    = 8
	atOut   = 16
	atHead  = 41
	atLeft  = 42
	atCount = 46
	atKeys  = 48
)

func TestImportTakesSenseOnly(t *testing.T) {
	a := testArena(t, Options{Slots: 200, Shards: 2, MaxBytes: 2 << 20})
	put := func(at int, b ...byte) func([]byte) []byte {
		return func(s []byte) []byte { return append(append(s[:at:at], b...), s[at+len(b):]...) }
	}
	all := func(of ...func([]byte) []byte) func([]byte) []byte {
		return func(s []byte) []byte {
			for _, f := range of {
				s = f(s)
			}
			return s
		}
	}
	for _, tt := range []struct {
		name   string
		suite  uint16
		change func([]byte) []byte
		want   string
	}{
		{"nothing", suite13, func([]byte) []byte { return nil }, "too early"},
		{"a slot", suite13, put(0, 'S'), "kind"},
		{"format 0", suite13, put(1, 0), "format 0"},
		{"format 2", suite13, put(1, 2), "format 2"},
		{"another version", suite13, put(2, 3, 3), "not one of ours"},
		{"another suite", suite13, put(4, 0xc0, 0x13), "not one of ours"},
		{"one byte more", suite13, func(s []byte) []byte { return append(s, 0) }, "behind"},
		{"used", suite13, put(atFlags, 0, 1|4), "unknown flags"},
		{"exported", suite13, put(atFlags, byte(tlsExported>>8), 4), "unknown flags"},
		{"a flag of later days", suite13, put(atFlags, 0x80, 4), "unknown flags"},
		{"a warning that is due in 1.3", suite13, put(atFlags, byte((tlsReplyWarn|tlsRefused)>>8), byte((tlsReplyWarn|tlsRefused)&255)|4), "cannot be due"},
		{"a warning that was not caused", suite12, put(atFlags, byte(tlsReplyWarn>>8), byte(tlsReplyWarn&255)|4), "cannot be due"},
		{"a key update that is due in 1.2", suite12, put(atFlags, byte(tlsReplyUpdate>>8), byte(tlsReplyUpdate&255)|4), "cannot be due"},
		{"closed, and something to come", suite13, put(atFlags, 0, byte(TLSClosed)|4), "after the end"},
		{"broken, and something to come", suite13, put(atFlags, 0, byte(TLSBroken)|4), "after the end"},
		{"in wraps", suite13, put(atIn, 0x80, 0, 0, 0, 0, 0, 0, 1), "beyond"},
		{"out wraps", suite13, put(atOut, 0xff), "beyond"},
		{"number of a Finished", suite12, put(atIn, 0, 0, 0, 0, 0, 0, 0, 0), "Finished"},
		{"ours", suite12, put(atOut, 0, 0, 0, 0, 0, 0, 0, 0), "Finished"},
		{"a message without its beginning", suite13, put(atHead-1, msgKeyUpdate), "cannot come"},
		{"more to come of no message", suite13, put(atLeft+3, 1), "cannot come"},
		{"a hello in 1.3", suite13, put(atHead-1, msgClientHello, 1), "cannot come"},
		{"a ticket from a client", suite13, put(atHead-1, msgNewSessionTicket, 1), "cannot come"},
		{"a key update in 1.2", suite12, put(atHead-1, msgKeyUpdate, 1), "cannot come"},
		{"five bytes of a header of four", suite13, put(atHead-1, msgKeyUpdate, 5, 0, 0, 0, 1), "cannot come"},
		{"a long key update", suite13, put(atHead-1, msgKeyUpdate, 4, 0, 0, 0, 2), "cannot come"},
		{"a length before its bytes", suite13, put(atHead-1, msgKeyUpdate, 2, 0, 0, 1, 0), "cannot come"},
		{"a long hello", suite12, put(atHead-1, msgClientHello, 4, 0, 1, 0, 1), "cannot come"},
		{"an empty hello", suite12, put(atHead-1, msgClientHello, 4, 0, 0, 0, 0), "cannot come"},
		{"more useless records", suite13, put(atCount, maxUseless+1), "limit"},
		{"more messages", suite13, put(atCount+1, maxMessages+1), "limit"},
		{"no secret", suite13, put(atKeys+4, make([]byte, 32)...), "no keys"},
		{"no secret out", suite13, put(atKeys+40, make([]byte, 32)...), "no keys"},
		{"no key", suite12, put(atKeys, make([]byte, 16)...), "no keys"},
		{"no key out", suite12, put(atKeys+20, make([]byte, 16)...), "no keys"},
		{"the same secret", suite13, func(s []byte) []byte { copy(s[atKeys+40:], s[atKeys+4:atKeys+36]); return s }, "both directions"},
		{"the same key", suite12, func(s []byte) []byte { copy(s[atKeys+20:], s[atKeys:atKeys+16]); return s }, "both directions"},
		{"a partial record without end", suite13, func(s []byte) []byte {
			at := bytes.Index(s, []byte{0, 0, 0, 4, 23, 3, 3, 0})
			long := append(binary.BigEndian.AppendUint32(nil, maxKept+1), make([]byte, maxKept+1)...)
			return slices.Concat(s[:at], long, s[at+8:])
		}, "too long"},
		{"an unsent queue longer than all", suite13, func(s []byte) []byte {
			at := bytes.Index(s, []byte{0, 0, 0, 4, 23, 3, 3, 0}) + 8
			return all(put(at, 0xff, 0xff, 0xff, 0xff))(s)
		}, "too early"},
	} {
		b := tt.change(stateOf(t, a.Shard(0), tt.suite, false))
		same := bytes.Clone(b)
		_, err := a.Shard(1).ImportTLS(b)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if !bytes.Equal(b, same) {
			t.Errorf("%s: the bytes are changed", tt.name)
		}
	}
	// What these change is taken as it is.
	for _, suite := range fuzzSuites {
		for _, client := range []bool{false, true} {
			id, err := a.Shard(1).ImportTLS(stateOf(t, a.Shard(0), suite, client))
			must(t, err)
			a.Shard(1).FreeTLS(id)
		}
	}
	mustBeIdle(t, a)
}

// Whatever is missing at the end is missed.
func TestTruncatedState(t *testing.T) {
	a := testArena(t, Options{Slots: 200, Shards: 2, MaxBytes: 2 << 20})
	for _, suite := range fuzzSuites {
		b := stateOf(t, a.Shard(0), suite, false)
		for n := range len(b) {
			if _, err := a.Shard(1).ImportTLS(b[:n]); !errors.Is(err, errStateShort) {
				t.Fatalf("%d of %d bytes: %v", n, len(b), err)
			}
		}
	}
	o := newOursOn(t, a.Shard(0), pairParams(suite13, false))
	slot := a.Shard(0).Slot(o.slot)
	slot.State = 9
	must(t, a.Shard(0).AppendLines(&slot.ToBackend, []byte("half a li")))
	b, err := a.Shard(0).ExportSlot(o.slot)
	must(t, err)
	for n := range len(b) {
		if _, err := a.Shard(1).ImportSlot(b[:n]); !errors.Is(err, errStateShort) {
			t.Fatalf("slot, %d of %d bytes: %v", n, len(b), err)
		}
	}
	for at, c := range map[int]byte{1: 9, 10: 0xff, 12: 0, 11: 0xff, len(b) - 1: 2, 13 + 32 + 4 + 9: 1} {
		bad := bytes.Clone(b)
		bad[at] = c
		if _, err := a.Shard(1).ImportSlot(bad); err == nil {
			t.Errorf("slot with %d at %d is taken", c, at)
		}
	}
	a.Shard(0).FreeSlot(o.slot)
	mustBeIdle(t, a)
}

// The bytes are for other builds, too: whoever changes what these say raises stateFormat.
func TestStateFormatIsPinned(t *testing.T) {
	if stateFormat != 1 {
		t.Fatal("pin the new format")
	}
	for i, f := range []TLSFlags{TLSUsed, TLSClient, TLSHasCert, TLSHasExporter, TLSClosed, TLSBroken, TLSEnded, tlsReplyUpdate, tlsReplyWarn, tlsRefused, tlsExported} {
		if f != 1<<i {
			t.Errorf("flag %d is %#x", i, uint16(f))
		}
	}
	for i, f := range []Flags{ClientFINSeen, ClientFINSent, BackendFINSeen, BackendFINSent, Registered, Frozen, BackendStripped} {
		if f != 1<<i {
			t.Errorf("slot flag %d is %#x", i, uint16(f))
		}
	}
	s := testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 1 << 20}).Shard(0)
	got := stateOf(t, s, suite12, true)
	want := []byte{'T', 1, 3, 3, 0xc0, 0x2b, 0, 2 | 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2,
		0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 35, 0, 0, 0, 0, 0, 0, 0, 0}
	in, out := testTraffic(suite12, 2), testTraffic(suite12, 1)
	want = slices.Concat(want, in.Key, in.IV, out.Key, out.IV, []byte{31: 0}, []byte{0, 0, 0, 4, 23, 3, 3, 0, 0, 0, 0, 35, 23, 3, 3, 0, 30})
	want[atKeys+40] = 1 // of the certificate
	if len(got) != len(want)+30 || !bytes.Equal(got[:len(want)], want) {
		t.Errorf("\ngot  %x\nwant %x", got, want)
	}
	id, err := s.NewTLS(pairParams(suite13, false))
	must(t, err)
	defer s.FreeTLS(id)
	if got, err := s.ExportTLS(id); len(got) != atKeys+2*(4+32)+4+4 || err != nil {
		t.Errorf("%d bytes of a connection that has nothing, %v", len(got), err)
	}
}
