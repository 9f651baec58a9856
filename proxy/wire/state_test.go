package wire

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	mrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// passOn takes the connection of o to another arena, as a hand-over to another process does.
func (o *ours) passOn(to *Shard) *ours {
	o.t.Helper()
	b, err := o.s.ExportTLS(o.id)
	if err != nil {
		o.t.Fatal(err)
	}
	id, slot, err := to.NewSlot()
	if err != nil {
		o.t.Fatal(err)
	}
	n := &ours{t: o.t, a: to.a, s: to, slot: id, now: o.now}
	if n.id, err = to.ImportTLS(b); err != nil {
		o.t.Fatal(err)
	}
	slot.ClientTLS = n.id
	if !bytes.Equal(b, make([]byte, len(b))) {
		o.t.Error("the bytes are not wiped")
	}
	return n
}

// A state has the same bytes after it went through another arena, and nothing is lost but what need not be kept.
func TestStateIsComplete(t *testing.T) {
	a := testArena(t, Options{Slots: 200, Shards: 2, MaxBytes: 2 << 20})
	for _, suite := range fuzzSuites {
		id, err := a.Shard(0).NewTLS(pairParams(suite, true))
		if err != nil {
			t.Fatal(err)
		}
		from := a.annex(id)
		ops := from.Ops
		setAll(reflect.ValueOf(from).Elem())
		su := suiteOf(suite)
		from.Version, from.Suite, from.Ops = su.version, suite, ops
		from.Flags = TLSUsed | TLSClient | TLSHasCert | TLSHasExporter
		from.Receiver.Partial, from.Unsent = Queue{}, Queue{}
		from.Receiver.Message, from.Receiver.Head, from.Receiver.Left = msgNewSessionTicket, 2, 7
		if su.tls13() {
			su.derive(&from.In)
			from.Out.Secret[0]++
			su.derive(&from.Out)
		} else {
			from.Receiver.Message, from.Receiver.Head, from.Receiver.Left = msgHelloRequest, 3, 9
			from.In.Epoch, from.Out.Epoch, from.In.Secret, from.Out.Secret = 0, 0, [48]byte{}, [48]byte{}
			from.Out.Key[0]++
		}
		for _, k := range []*TLSKeys{&from.In, &from.Out} { // what is behind the end of the shorter ones is zeros
			clear(k.Key[su.keySize:])
			clear(k.Secret[su.secret:])
			if !su.tls13() {
				clear(k.IV[nonceSize-su.explicit:])
			}
		}
		must(t, a.Shard(0).Append(&from.Receiver.Partial, pattern(3000)))
		must(t, a.Shard(0).Append(&from.Unsent, pattern(70_000)))
		want := *from
		b, err := a.Shard(0).ExportTLS(id)
		if err != nil {
			t.Fatal(err)
		}
		if cap(b) != 2+want.stateSize() {
			t.Errorf("bytes were moved when they grew: capacity %d", cap(b))
		}
		same := bytes.Clone(b)
		got, err := a.Shard(1).ImportTLS(b)
		if err != nil {
			t.Fatal(err)
		}
		to := a.annex(got)
		if !bytes.Equal(queued(a.Shard(1), &to.Receiver.Partial), pattern(3000)) || !bytes.Equal(queued(a.Shard(1), &to.Unsent), pattern(70_000)) {
			t.Error("queues come out otherwise")
		}
		want.Receiver.SpentAt = 0
		want.Ops, want.Receiver.Partial, want.Unsent = to.Ops, to.Receiver.Partial, to.Unsent
		if *to != want {
			t.Errorf("%s\ngot  %+v\nwant %+v", tls.CipherSuiteName(suite), *to, want)
		}
		again, err := a.Shard(1).ExportTLS(got)
		if err != nil || !bytes.Equal(again, same) {
			t.Errorf("other bytes the second time, %v", err)
		}
		a.Shard(0).FreeTLS(id)
		a.Shard(1).FreeTLS(got)
	}
	mustBeIdle(t, a)
}

// setAll sets every number of v to something but 0 that fits everywhere.
func setAll(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "_" {
				setAll(v.Field(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			setAll(v.Index(i))
		}
	default:
		v.SetUint(5)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A session's slot with connections on both sides.
func TestSlotIsComplete(t *testing.T) {
	a := testArena(t, Options{Slots: 200, Shards: 2, MaxBytes: 2 << 20})
	from, to := a.Shard(0), a.Shard(1)
	o := newOursOn(t, from, pairParams(suite13, false))
	slot := from.Slot(o.slot)
	generation := slot.Generation
	queues := [...]Queue{slot.ToBackend, slot.ToClient}
	setAll(reflect.ValueOf(slot).Elem())
	slot.ToBackend, slot.ToClient, slot.Generation, slot.ClientTLS = queues[0], queues[1], generation, o.id
	var err error
	if slot.BackendTLS, err = from.NewTLS(pairParams(suite12, true)); err != nil {
		t.Fatal(err)
	}
	must(t, from.AppendLines(&slot.ToBackend, []byte("PRIVMSG #ferry :whole\r\nPRIVMSG #ferry :ha")))
	must(t, from.Append(&slot.ToClient, pattern(5000)))
	want := *slot
	b, err := from.ExportSlot(o.slot)
	if err != nil {
		t.Fatal(err)
	}
	if slot.ToBackend.Len()+slot.ToClient.Len() > 0 {
		t.Error("the bytes are still queued where they were")
	}
	for _, id := range []TLSID{slot.ClientTLS, slot.BackendTLS} {
		if _, err := from.Seal(id, []byte("x")); !errors.Is(err, ErrTLSEnded) {
			t.Errorf("a connection that is gone seals: %v", err)
		}
	}
	if b, err := from.ExportSlot(o.slot); len(b) > 0 || !errors.Is(err, ErrTLSEnded) {
		t.Errorf("exported once more: %d bytes, %v", len(b), err)
	}
	from.FreeSlot(o.slot)
	same := bytes.Clone(b)
	id, err := to.ImportSlot(b)
	if err != nil {
		t.Fatal(err)
	}
	got := to.Slot(id)
	if s := queued(to, &got.ToBackend); string(s) != "PRIVMSG #ferry :whole\r\nPRIVMSG #ferry :ha" || got.ToBackend.Half != 18 {
		t.Errorf("to the backend: %q, half line of %d", s, got.ToBackend.Half)
	}
	if !bytes.Equal(queued(to, &got.ToClient), pattern(5000)) {
		t.Error("to the client: comes out otherwise")
	}
	want.ToBackend, want.ToClient, want.ClientTLS, want.BackendTLS = got.ToBackend, got.ToClient, got.ClientTLS, got.BackendTLS
	want.Generation, want.Reconcile = got.Generation, [ReconcileRoom]byte{}
	if *got != want {
		t.Errorf("\ngot  %+v\nwant %+v", *got, want)
	}
	if c, b := to.TLS(got.ClientTLS), to.TLS(got.BackendTLS); c.Suite != suite13 || b.Suite != suite12 {
		t.Error("connections on the wrong sides")
	}
	again, err := to.ExportSlot(id)
	if err != nil || !bytes.Equal(again, same) {
		t.Errorf("other bytes the second time, %v", err)
	}
	to.FreeSlot(id)
	mustBeIdle(t, a)
}

// After an export its annex neither seals nor opens, has no keys, and can only be freed; so also the export's failed successor can
// have it back from the bytes and not otherwise.
func TestExportEndsTheConnection(t *testing.T) {
	for _, suite := range fuzzSuites {
		o, p := newPair(t, suite)
		b := p.seal([]byte("before"))
		o.mustRead(b[:len(b)-1])
		record := o.seal([]byte("secret"))
		must(t, o.s.Append(&o.s.TLS(o.id).Unsent, record))
		state, err := o.s.ExportTLS(o.id)
		if err != nil {
			t.Fatal(err)
		}
		left := o.s.TLS(o.id)
		if left.In != (TLSKeys{}) || left.Out != (TLSKeys{}) || left.Unsent.Len() > 0 || left.Receiver.Partial.Len() > 0 || o.a.Stats().Chunks > 0 {
			t.Errorf("left behind: %+v", left)
		}
		for name, seal := range map[string]func() ([]byte, error){
			"Seal":      func() ([]byte, error) { return o.s.Seal(o.id, []byte("other")) },
			"SealReply": func() ([]byte, error) { return o.s.SealReply(o.id) },
			"SealAlert": func() ([]byte, error) { return o.s.SealAlert(o.id, 0) },
			"ExportTLS": func() ([]byte, error) { return o.s.ExportTLS(o.id) },
		} {
			if b, err := seal(); len(b) > 0 || !errors.Is(err, ErrTLSEnded) {
				t.Errorf("%s after the export: %d bytes, %v", name, len(b), err)
			}
		}
		if plain, _, err := o.read(b[len(b)-1:]); len(plain) > 0 || err == nil {
			t.Errorf("opened %q after the export, %v", plain, err)
		}
		if o.a.Recover(); *left != *o.s.TLS(o.id) || left.In != (TLSKeys{}) {
			t.Error("a redo record brings it back")
		}
		id, err := o.s.ImportTLS(state)
		if err != nil {
			t.Fatal(err)
		}
		back := &ours{t: t, a: o.a, s: o.s, id: id}
		if got := back.mustRead(b[len(b)-1:]); string(got) != "before" {
			t.Errorf("%q", got)
		}
		if got := p.mustRead(append(queued(o.s, &o.s.TLS(id).Unsent), back.seal([]byte("after"))...)); string(got) != "secretafter" {
			t.Errorf("%q", got)
		}
		o.s.FreeTLS(id)
		o.s.FreeSlot(o.slot)
		mustBeIdle(t, o.a)
	}
}

// A connection that is over keeps what is still to be sent, and nothing of what is not to be read any more.
func TestExportOfWhatIsOver(t *testing.T) {
	for name, end := range map[string]func(o, p *ours){
		"close_notify":  func(o, p *ours) { o.read(p.forge(typeAlert, []byte{1, 0})) },
		"a bad record":  func(o, p *ours) { o.read(append(p.forge(typeHandshake, []byte{msgKeyUpdate}), flipped(p.seal([]byte("x")), 9)...)) },
		"interleaved":   func(o, p *ours) { o.read(append(p.forge(typeHandshake, []byte{msgKeyUpdate, 0}), p.seal([]byte("x"))...)) },
		"our own alert": func(o, p *ours) {},
	} {
		o, p := newPair(t, suite13)
		end(o, p)
		alert, err := o.s.SealAlert(o.id, AlertCloseNotify)
		if err != nil {
			t.Fatal(err)
		}
		must(t, o.s.Append(&o.s.TLS(o.id).Unsent, alert))
		before := o.s.TLS(o.id).Flags
		n := o.passOn(testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 1 << 20}).Shard(0))
		got := n.s.TLS(n.id)
		if got.Flags != before || got.Receiver != (TLSReceiver{}) {
			t.Errorf("%s: flags %#x, were %#x; %+v", name, got.Flags, before, got.Receiver)
		}
		if _, _, err := p.read(queued(n.s, &got.Unsent)); err != nil || !p.s.TLS(p.id).Flags.Has(TLSClosed) {
			t.Errorf("%s: the alert does not arrive: %v", name, err)
		}
		if _, err := n.s.Seal(n.id, []byte("x")); !errors.Is(err, ErrTLSEnded) {
			t.Errorf("%s: seals after its end: %v", name, err)
		}
	}
}

// A reply that is due, a message that has begun, and what was spent come along.
func TestRestOfAMessageComesElsewhere(t *testing.T) {
	o, p := newPair(t, suite13)
	other := testArena(t, Options{Slots: 80, Shards: 1, MaxBytes: 1 << 20}).Shard(0)
	update := p.forgeUpdate(1, 1, 1, 1, 1) // a record of each byte
	for len(update) > 0 {
		n := headerLen + int(binary.BigEndian.Uint16(update[3:]))
		o.mustRead(update[:7])
		o = o.passOn(other)
		o.mustRead(update[7:n])
		o = o.passOn(other)
		update = update[n:]
	}
	if got := o.s.TLS(o.id); got.In.Epoch != 1 || got.Out.Epoch != 0 {
		t.Fatalf("epochs %d and %d", got.In.Epoch, got.Out.Epoch)
	}
	if got := p.mustRead(o.seal([]byte("answer"))); string(got) != "answer" || p.s.TLS(p.id).In.Epoch != 1 {
		t.Errorf("%q; the update was not answered", got)
	}
	for range maxMessages - 1 {
		o.mustRead(p.forgeUpdate(0))
		o = o.passOn(other)
	}
	if _, _, err := o.read(p.forgeUpdate(0)); err != errFlood {
		t.Errorf("who hands over forgets what was spent: %v", err)
	}
	again, p := newPair(t, suite12)
	again.mustRead(p.forge(typeHandshake, []byte{msgClientHello, 0, 0, 2, 9, 9}))
	again = again.passOn(other)
	if b, err := again.s.SealReply(again.id); len(b) == 0 || err != nil {
		t.Errorf("no_renegotiation is not said: %v", err)
	}
	if _, _, err := again.read(p.forge(typeHandshake, []byte{msgClientHello, 0, 0, 2, 9, 9})); err != errRenegotiation {
		t.Errorf("the second attempt: %v", err)
	}
}

// Kept bytes, several records, are nothing but a long partial record.
func TestKeptBytesComeAlong(t *testing.T) {
	o, p := newPair(t, suite12)
	var want []byte
	var b []byte
	for len(b) < 50_000 {
		b = append(b, p.seal(pattern(7000))...)
		want = append(want, pattern(7000)...)
	}
	must(t, o.s.Keep(o.id, b[:50_000]))
	o = o.passOn(testArena(t, Options{Slots: 8, Shards: 1, MaxBytes: 1 << 20}).Shard(0))
	got, err := o.s.Open(o.id, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := append(bytes.Clone(got.Plain), o.mustRead(b[50_000:])...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// Import without memory leaves bytes and arena as they were.
func TestImportWithoutMemory(t *testing.T) {
	o := newOurs(t, pairParams(suite13, false))
	must(t, o.s.Append(&o.s.TLS(o.id).Unsent, pattern(600_000)))
	o.s.Slot(o.slot).State = 1
	must(t, o.s.Append(&o.s.Slot(o.slot).ToClient, pattern(5000)))
	small := testArena(t, Options{Slots: 2, Shards: 1, MaxBytes: 512 << 10})
	b, err := o.s.ExportSlot(o.slot)
	if err != nil {
		t.Fatal(err)
	}
	same := bytes.Clone(b)
	if _, err := small.Shard(0).ImportSlot(b); !errors.Is(err, ErrFull) {
		t.Errorf("import: %v", err)
	}
	if !bytes.Equal(b, same) {
		t.Error("the bytes are gone")
	}
	mustBeIdle(t, small)
	if _, err := o.s.ImportSlot(b); err != nil {
		t.Errorf("back where it came from: %v", err)
	}
}

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
}

// Each piece of what comes is read elsewhere, in the order that a generator says: the same comes out.
func TestEachPieceElsewhere(t *testing.T) {
	rnd := mrand.New(mrand.NewPCG(3, 3))
	a := testArena(t, Options{Slots: 200, Shards: 2, MaxBytes: 4 << 20})
	for _, suite := range fuzzSuites {
		o, p := newOursOn(t, a.Shard(0), pairParams(suite, false)), newOurs(t, pairParams(suite, true))
		var in, want, got []byte
		for range 30 {
			piece := pattern(rnd.IntN(20_000))
			in, want = append(in, p.seal(piece)...), append(want, piece...)
			if suiteOf(suite).tls13() && rnd.IntN(3) == 0 {
				in = append(in, p.forgeUpdate(uint8(rnd.IntN(2)), 1)...)
			}
		}
		for i := 1; len(in) > 0; i++ {
			n := min(len(in), 1+rnd.IntN(9000))
			o.now += time.Second
			got = append(got, o.mustRead(in[:n])...)
			in = in[n:]
			next := o.passOn(a.Shard(i % 2))
			o.s.FreeSlot(o.slot)
			o = next
			if text := o.seal(pattern(50)); !bytes.Equal(p.mustRead(text), pattern(50)) {
				t.Fatalf("%s: to the peer it comes out otherwise", tls.CipherSuiteName(suite))
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes come out otherwise", tls.CipherSuiteName(suite), len(got))
		}
		o.s.FreeSlot(o.slot)
	}
	mustBeIdle(t, a)
}
