package wire

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
)

var checking atomic.Bool

// CheckOwner makes every call of a shard panic that does not come from the goroutine that bound the shard or used it first.
// It is for tests (it costs a microsecond a call): the race detector does not see mapped memory.
func CheckOwner(on bool) { checking.Store(on) }

// Bind makes the calling goroutine the owner of the shard. An event loop calls it when it starts.
func (s *Shard) Bind() { s.owner.Store(goroutine()) }

func (s *Shard) check() {
	if checking.Load() {
		s.checkOwner()
	}
}

func (s *Shard) checkOwner() {
	me := goroutine()
	if s.owner.CompareAndSwap(0, me) {
		return
	}
	if o := s.owner.Load(); o != me {
		panic(fmt.Sprintf("wire: shard %d of goroutine %d used by goroutine %d", s.index, o, me))
	}
}

// goroutine is the number of the calling goroutine, from the first line of its stack dump ("goroutine 18 [running]:").
func goroutine() uint64 {
	var buf [64]byte
	f := bytes.Fields(buf[:runtime.Stack(buf[:], false)])
	n, err := strconv.ParseUint(string(f[1]), 10, 64)
	if err != nil {
		panic("wire: goroutine number: " + err.Error())
	}
	return n
}
