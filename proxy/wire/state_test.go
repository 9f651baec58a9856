package wire

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	mrand "math/rand/v2"
	"reflect"
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
	case reflect.Int64:
		v.SetInt(5)
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
	if _, err := to.ImportSlot(append(bytes.Clone(b), 0)); !errors.Is(err, errStateBehind) {
		t.Errorf("with a byte more: %v", err)
	}
	id, err := to.ImportSlot(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, make([]byte, len(b))) {
		t.Error("the bytes are not wiped")
	}
	got := to.Slot(id)
	if s := queued(to, &got.ToBackend); string(s) != "PRIVMSG #ferry :whole\r\nPRIVMSG #ferry :ha" || got.ToBackend.Half != 18 {
		t.Errorf("to the backend: %q, half line of %d", s, got.ToBackend.Half)
	}
	if !bytes.Equal(queued(to, &got.ToClient), pattern(5000)) {
		t.Error("to the client: comes out otherwise")
	}
	want.ToBackend, want.ToClient, want.ClientTLS, want.BackendTLS = got.ToBackend, got.ToClient, got.ClientTLS, got.BackendTLS
	// The rest belongs to the socket, and to whom the session belongs to.
	want = Slot{Session: want.Session, Generation: got.Generation, Flags: want.Flags, State: want.State, ClientIn: want.ClientIn, ClientOut: want.ClientOut,
		BackendIn: want.BackendIn, BackendOut: want.BackendOut, ToBackend: want.ToBackend, ToClient: want.ToClient, ClientTLS: want.ClientTLS, BackendTLS: want.BackendTLS}
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
		o.s.ReadRoom(o.id)
		state, err := o.s.ExportTLS(o.id)
		if err != nil {
			t.Fatal(err)
		}
		left := o.s.TLS(o.id)
		if n := len(o.s.tls.ciphers.entries); n > 0 || o.s.tls.room != 0 {
			t.Errorf("%d ciphers are kept, the room to read is that of %d", n, o.s.tls.room)
		}
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
		"close_notify": func(o, p *ours) { o.read(p.forge(typeAlert, []byte{1, 0})) },
		"a bad record": func(o, p *ours) {
			o.read(append(p.forge(typeHandshake, []byte{msgKeyUpdate}), flipped(p.seal([]byte("x")), 9)...))
		},
		"interleaved": func(o, p *ours) {
			o.read(append(p.forge(typeHandshake, []byte{msgKeyUpdate, 0}), p.seal([]byte("x"))...))
		},
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
