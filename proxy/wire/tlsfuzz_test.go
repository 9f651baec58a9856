package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"testing"
	"time"
)

var fuzzSuites = []uint16{suite13, tls.TLS_CHACHA20_POLY1305_SHA256, suite12, chacha2}

// conversation makes records by a program: three bytes each, for what to do, with what, and how much. It answers the application
// data that is in them, as far as nothing is wrong before it.
func conversation(p *ours, program []byte) (records, plain []byte, clean bool) {
	clean = true
	src := pattern(300 * 97)
	updates := 0
	for ; len(program) >= 3; program = program[3:] {
		arg, n := program[1], int(program[2])
		add := func(b []byte, breaks bool) {
			records = append(records, b...)
			clean = clean && !breaks
		}
		data := func(b []byte) {
			add(p.seal(b), false)
			if clean {
				plain = append(plain, b...)
			}
		}
		switch program[0] % 10 {
		case 0:
			data(src[:n*97])
		case 1:
			data(src[:n])
		case 2: // any type, any content
			content := src[:n]
			if arg&1 == 1 {
				content = program[:min(n, len(program))]
			}
			add(p.forge(arg>>1%8+18, content), true)
		case 3: // a flipped bit
			b := p.forge(23, src[:n])
			b[int(arg)%len(b)] ^= 1 << (n % 8)
			add(b, true)
		case 4: // truncated: what follows is taken for the rest of it
			b := p.forge(23, src[:n])
			add(b[:int(arg)%len(b)], true)
		case 5: // no record at all
			add(program[:min(n, len(program))], true)
		case 6: // twice
			b := p.forge(23, src[:n])
			add(append(b, b...), true)
		case 7: // pieces of a handshake message
			add(p.forge(22, append([]byte{24, 0, 0, 1, arg}, src[:n%4]...)[:1+n%8]), true)
		case 8:
			if suiteOf(p.s.TLS(p.id).Suite).tls13() {
				updates++
				add(p.forgeUpdate(arg&1, 1+n%4), updates > maxMessages)
			}
		case 9:
			if arg%8 == 0 {
				add(p.forge(21, []byte{1, 0}), false) // the end
				return append(records, src[:n]...), plain, clean
			}
			add(p.forge(23, nil), true) // perhaps too many
		}
	}
	return records, plain, clean
}

// splits reads b in the pieces that the fuzzer says.
func (o *ours) readSplit(b, splits []byte) (plain []byte, got Opened, err error) {
	i := 0
	for len(b) > 0 && err == nil && !got.Closed {
		n := len(b)
		if len(splits) > 0 {
			n = min(n, 1+int(splits[i%len(splits)])*(1+int(splits[i%len(splits)])*2))
			i++
		}
		k := copy(o.s.ReadRoom(o.id), b[:n])
		var reply Opened
		reply, err = o.s.Open(o.id, k, o.now)
		plain = append(plain, reply.Plain...)
		got.Closed, got.Reply = reply.Closed, got.Reply || reply.Reply
		b = b[k:]
	}
	return plain, got, err
}

// FuzzOpen opens records of a peer that does whatever it wants: nothing panics, what is opened is what was sealed, and it is the
// same in one piece and in any pieces.
func FuzzOpen(f *testing.F) {
	f.Add(uint8(0), []byte{0, 0, 200, 1, 0, 80, 8, 1, 1, 0, 0, 9}, []byte{1, 7, 90})
	f.Add(uint8(1), []byte{1, 0, 80, 7, 0, 3, 7, 0, 1, 1, 0, 3}, []byte{3})
	f.Add(uint8(2), []byte{1, 0, 80, 2, 8, 40, 3, 20, 20, 1, 1, 1}, []byte{255})
	f.Add(uint8(3), []byte{1, 0, 80, 4, 30, 90, 1, 0, 20, 9, 0, 5}, []byte{})
	f.Add(uint8(0), bytes.Repeat([]byte{9, 1, 1}, 40), []byte{40})
	f.Add(uint8(0), bytes.Repeat([]byte{8, 6, 1}, 40), []byte{40})
	f.Add(uint8(2), bytes.Repeat([]byte{5, 1, 250}, 3), []byte{1})
	unchecked(f)
	a := testArena(f, Options{Slots: 200, Shards: 3, MaxBytes: 4 << 20})
	f.Fuzz(func(t *testing.T, kind uint8, program, splits []byte) {
		if len(program) > 300 || len(splits) > 100 {
			return
		}
		suite := fuzzSuites[kind%4]
		client := kind&4 != 0
		one, many := newOursOn(t, a.Shard(0), pairParams(suite, client)), newOursOn(t, a.Shard(1), pairParams(suite, client))
		p := newOursOn(t, a.Shard(2), pairParams(suite, !client))
		one.now, many.now = 5*time.Second, 5*time.Second
		records, want, clean := conversation(p, program)
		plain, got, err := one.readSplit(records, nil)
		plain2, got2, err2 := many.readSplit(records, splits)
		if !bytes.Equal(plain, plain2) || got.Closed != got2.Closed || got.Reply != got2.Reply || !errors.Is(err2, err) && !sameTLSError(err, err2) {
			t.Fatalf("one piece: %d bytes, %+v, %v; many: %d bytes, %+v, %v", len(plain), got.Closed, err, len(plain2), got2.Closed, err2)
		}
		if !bytes.HasPrefix(plain, want) || clean && (err != nil || len(plain) != len(want)) {
			t.Fatalf("opened %d bytes with %v; sealed were %d, clean %v", len(plain), err, len(want), clean)
		}
		for _, o := range []*ours{one, many, p} {
			o.s.FreeSlot(o.slot)
		}
		if st := a.Stats(); st.Chunks != 0 || st.TLS != 0 || st.Slots != 0 {
			t.Fatalf("stats %+v", st)
		}
	})
}

func sameTLSError(a, b error) bool {
	var x, y *TLSError
	return errors.As(a, &x) && errors.As(b, &y) && *x == *y
}

// FuzzSealPieces seals any pieces, and a peer that reads them in any others gets the same bytes.
func FuzzSealPieces(f *testing.F) {
	f.Add(uint8(0), []byte{1, 255, 0, 200}, []byte{9})
	f.Add(uint8(2), []byte{255, 255, 255}, []byte{255, 1})
	f.Add(uint8(3), bytes.Repeat([]byte{40}, 50), []byte{77, 3})
	unchecked(f)
	a := testArena(f, Options{Slots: 200, Shards: 2, MaxBytes: 4 << 20})
	f.Fuzz(func(t *testing.T, kind uint8, sizes, splits []byte) {
		if len(sizes) > 100 || len(splits) > 100 {
			return
		}
		o, p := newOursOn(t, a.Shard(0), pairParams(fuzzSuites[kind%4], false)), newOursOn(t, a.Shard(1), pairParams(fuzzSuites[kind%4], true))
		defer o.s.FreeSlot(o.slot)
		defer p.s.FreeSlot(p.slot)
		o.s.tls.updates = uint64(1 + kind/4)
		src := pattern(StagingSize)
		var want, records []byte
		for _, n := range sizes {
			piece := src[:min(int(n)*int(n)*2, StagingSize)]
			want = append(want, piece...)
			records = append(records, o.seal(piece)...)
		}
		p.now = time.Hour
		for i := 0; len(records) > 0; i++ { // a second and a piece at a time, so that key updates are no flood
			n := min(len(records), 40_000)
			plain, _, err := p.readSplit(records[:n], splits)
			if err != nil {
				var e *TLSError
				if errors.As(err, &e) && e.Reason == "flood" {
					return
				}
				t.Fatal(err)
			}
			if !bytes.HasPrefix(want, plain) {
				t.Fatalf("%d bytes come out otherwise", len(plain))
			}
			want, records = want[len(plain):], records[n:]
			p.now += 10 * time.Second
		}
		if len(want) > 0 {
			t.Fatalf("%d bytes are missing", len(want))
		}
	})
}
