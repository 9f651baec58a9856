package keeper

import (
	"bytes"
	"context"
	"encoding/hex"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The bytes of version 1 as they were first written. A program of another version sends them: they never change.
var goldenBytes = map[byte]string{
	verbHello:   "0100000001000000" + "697263666b656570" + "0100" + "0100" + "0000000000000000",
	verbClaim:   "0200000002000000" + "00000000000000000000000000000000",
	verbKeep:    "0300000000000000" + "0700000001000000" + "0900000000000000",
	verbDrop:    "0400000000000000" + "0700000001000000",
	verbMemory:  "0500000000000000" + "6172656e61",
	verbTake:    "0600000003000000" + "00000000",
	verbNames:   "0700000004000000",
	verbClear:   "0800000005000000",
	verbPing:    "0900000006000000",
	verbPass:    "0a00000007000000",
	verbServing: "0b00000000000000",
	verbEnding:  "0c00000000000000",
}

func golden(verb byte) []byte {
	b, err := hex.DecodeString(goldenBytes[verb])
	if err != nil {
		panic(err)
	}
	return b
}

// A daemon of version 1, byte by byte, at the keeper of now.
func TestOldDaemonAtNewKeeper(t *testing.T) {
	k := run(t, ServerOptions{extra: []byte("what a later version says of itself")})
	d := rawDaemon(t, k.socket)
	defer unix.Close(d.fd)
	ask := func(verb byte, want string) {
		t.Helper()
		d.send(t, golden(verb))
		got := hex.EncodeToString(d.receive(t))
		head := hex.EncodeToString(golden(verb))
		if want = "%02x000000" + head[8:16] + want; !strings.HasPrefix(got, hex.EncodeToString([]byte{verb | answered})+want[4:]) {
			t.Errorf("verb %d: %s, want %s...", verb, got, want)
		}
	}
	ask(verbHello, "01000100"+"0000000000000000")
	ask(verbClaim, "00")
	r, w := pipe(t)
	d.send(t, golden(verbKeep), w, w)
	d.send(t, golden(verbMemory), w)
	unix.Close(w)
	d.send(t, golden(verbDrop))
	d.send(t, golden(verbServing))
	ask(verbPing, "01000100"+"0000000000000000")
	ask(verbTake, "00000000"+"0900000000000000")
	ask(verbNames, "05"+"6172656e61")
	ask(verbPass, "")
	if !open(t, r) {
		t.Error("what was kept is closed")
	}
	ask(verbClear, "")
	d.send(t, golden(verbEnding))
	ask(verbPing, "01000100")
}

// The daemon of now writes version 1's bytes.
func TestBytesOfVersion1(t *testing.T) {
	for verb, body := range map[byte][]byte{
		verbKeep:   appendTags(header(nil, verbKeep, 0), []Tag{1<<32 | 7, 9}),
		verbDrop:   appendTags(header(nil, verbDrop, 0), []Tag{1<<32 | 7}),
		verbMemory: append(header(nil, verbMemory, 0), "arena"...),
		verbPing:   header(nil, verbPing, 6),
	} {
		if !bytes.Equal(body, golden(verb)) {
			t.Errorf("verb %d: %x, want %s", verb, body, goldenBytes[verb])
		}
	}
}

// A keeper of before, which does not know a verb, serves the daemon of now: that one question fails, and says the way out.
func TestNewDaemonAtOldKeeper(t *testing.T) {
	k := run(t, ServerOptions{unknown: map[byte]bool{verbPass: true, verbServing: true}})
	c, _ := claimed(t, k.socket)
	if err := c.Serving(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pass(within(t)); err == nil || !strings.Contains(err.Error(), "restart it") {
		t.Errorf("pass: %v", err)
	}
	r := given(t, c, 1)
	if kept, err := c.Take(within(t)); err != nil || len(kept.Descriptors) != 1 || !open(t, r) {
		t.Error(kept, err)
	} else {
		kept.Close()
	}
	if _, err := c.ask(within(t), 0x55, []byte("of a version to come")); err == nil || !strings.Contains(err.Error(), "does not know") {
		t.Errorf("a verb of a later version: %v", err)
	}
}

// Two ends that have no version in common say so.
func TestNoVersionInCommon(t *testing.T) {
	if err := agree(version+3, version+2); err == nil || !strings.Contains(err.Error(), "versions 3 to 4") {
		t.Error(err)
	}
	if err := agree(version+3, version); err != nil {
		t.Error(err)
	}
	k := run(t, ServerOptions{})
	d := rawDaemon(t, k.socket)
	defer unix.Close(d.fd)
	later := golden(verbHello)
	copy(later[headerSize+len(magic):], []byte{9, 0, 8, 0})
	d.send(t, later)
	if verb, _, body, _ := parseHeader(d.receive(t)); verb != verbHello|answered || body[0] != version {
		t.Errorf("hello is not answered: verb %d, %x", verb, body)
	}
	d.send(t, golden(verbClaim))
	if verb, _, body, _ := parseHeader(d.receive(t)); verb != sayRefused || body[0] != verbClaim {
		t.Errorf("claim of one that cannot be understood: verb %d, %x", verb, body)
	}
}

// What makes no sense is refused, and costs neither the keeper nor a descriptor.
func TestGarbage(t *testing.T) {
	k := run(t, ServerOptions{})
	r := make([]int, 0, 16)
	for _, msg := range [][]byte{{1}, []byte("GET / HTTP/1.1\r\n\r\n"), golden(verbClear), make([]byte, maxMessage+100), appendTags(header(nil, verbKeep, 0), []Tag{0}),
		append(golden(verbKeep), 1), header(nil, verbMemory, 0), golden(verbTake)[:9], append(golden(verbMemory), make([]byte, maxName)...)} {
		for _, claim := range []bool{false, true} {
			d := rawDaemon(t, k.socket)
			if claim {
				d.send(t, golden(verbHello))
				d.receive(t)
				d.send(t, golden(verbClaim))
				d.receive(t)
			}
			if claim && bytes.Equal(msg, golden(verbClear)) {
				msg = golden(verbHello)[:12]
			}
			end, w := pipe(t)
			d.send(t, msg, w, w)
			unix.Close(w)
			d.receive(t)
			unix.Close(d.fd)
			r = append(r, end)
		}
	}
	c, _ := claimed(t, k.socket)
	if st, err := c.Ping(context.Background()); err != nil || st.Descriptors != 0 || st.Memory != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	for i, end := range r {
		if open(t, end) {
			t.Errorf("a descriptor of message %d is still open", i/2)
		}
	}
}
