package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// mustBeIdle says that no queue holds anything: no chunk is in use and no more than the spare block of each shard is resident.
func mustBeIdle(t testing.TB, a *Arena) {
	t.Helper()
	st := a.Stats()
	if st.Chunks != 0 {
		t.Errorf("%d chunks in use", st.Chunks)
	}
	for _, s := range a.shards {
		if s.partial != noBlock || s.owned != len(s.spare) || len(s.spare) > 1 || s.free != s.owned*blockChunks {
			t.Errorf("shard %d: partial %d, %d blocks, %d spare, %d free chunks", s.index, s.partial, s.owned, len(s.spare), s.free)
		}
	}
}

func TestIdleSlotCosts128Bytes(t *testing.T) {
	const n = 9000
	a := testArena(t, Options{Slots: 10_000, Shards: 2})
	before := a.Stats()
	for i := range n {
		_, slot, err := a.Shard(i % 2).NewSlot()
		if err != nil {
			t.Fatal(err)
		}
		slot.State = 1
	}
	st := a.Stats()
	if st.Slots != n || st.Chunks != 0 {
		t.Errorf("stats %+v", st)
	}
	if each := float64(st.Resident-before.Resident) / n; each > SlotSize+4 {
		t.Errorf("%.1f bytes of memory for an idle slot, want 128 and a share of the last batch", each)
	}
	if st.Allocated > st.Max || st.Resident > st.Allocated+1<<16 {
		t.Errorf("resident %d, allocated %d, bound %d", st.Resident, st.Allocated, st.Max)
	}
}

func TestNewArenaCostsItsStagingOnly(t *testing.T) {
	a := testArena(t, Options{Slots: 20_000, Shards: 2})
	if st := a.Stats(); st.Resident > headerSize+2*shardAreaSize+1<<15 {
		t.Errorf("new arena has %d bytes", st.Resident)
	}
}

func TestBurstGoesBackToTheKernel(t *testing.T) {
	a := testArena(t, Options{Slots: 100, Shards: 1, MaxBytes: 64 << 20})
	s := a.Shard(0)
	before := a.Stats()
	for range 2 {
		qs := make([]Queue, 400)
		for i := range qs {
			if err := s.Append(&qs[i], pattern(100_000)); err != nil {
				t.Fatal(err)
			}
		}
		if st := a.Stats(); st.Resident < 400*100_000 {
			t.Errorf("resident %d with 40 MB queued", st.Resident)
		}
		for _, i := range rand.Perm(len(qs)) {
			s.Clear(&qs[i])
		}
		mustBeIdle(t, a)
		if st := a.Stats(); st.Resident > before.Resident+blockSize || st.Allocated > before.Allocated+blockSize {
			t.Errorf("after the burst %+v, before it %+v", st, before)
		}
	}
}

// A backlog that swings must not populate and give back the same memory all the time.
func TestSwingCostsNoSystemCall(t *testing.T) {
	a := testArena(t, Options{Slots: 100, Shards: 1, MaxBytes: 64 << 20})
	calls := 0
	a.fallocate = func(fd int, mode uint32, off, n int64) error {
		calls++
		return fallocate(fd, mode, off, n)
	}
	s := a.Shard(0)
	var base, swing Queue
	if err := s.Append(&base, pattern(20*blockSize)); err != nil {
		t.Fatal(err)
	}
	warm := 0
	for i := range 100 {
		if err := s.Append(&swing, pattern(5*blockSize)); err != nil {
			t.Fatal(err)
		}
		s.Clear(&swing)
		if i == 0 {
			warm = calls
		}
	}
	if calls > warm {
		t.Errorf("%d system calls for 99 swings", calls-warm)
	}
	s.Clear(&base)
	var half Queue
	calls = 0
	for range 1000 {
		if err := s.Append(&half, []byte("NICK")); err != nil {
			t.Fatal(err)
		}
		s.Clear(&half)
	}
	if calls > 1 {
		t.Errorf("%d system calls for 1000 half lines", calls)
	}
}

// fill appends until ErrFull and answers the queues; what they hold is checked by drain.
func fill(t *testing.T, s *Shard, piece []byte) []Queue {
	t.Helper()
	var qs []Queue
	for {
		var q Queue
		for range 3 {
			before := q
			if err := s.Append(&q, piece); err != nil {
				if !errors.Is(err, ErrFull) {
					t.Fatal(err)
				}
				if q != before {
					t.Fatalf("refused bytes changed the queue: %+v, before %+v", q, before)
				}
				return append(qs, q)
			}
		}
		qs = append(qs, q)
	}
}

func drain(t *testing.T, s *Shard, qs []Queue, piece []byte) {
	t.Helper()
	for i := range qs {
		got := queued(s, &qs[i])
		if len(got)%len(piece) != 0 || !bytes.Equal(got, bytes.Repeat(piece, len(got)/len(piece))) {
			t.Fatalf("queue %d of %d lost something", i, len(qs))
		}
		s.Clear(&qs[i])
	}
}

func TestFullArenaIsAnError(t *testing.T) {
	a := testArena(t, Options{Slots: 8000, Shards: 2, MaxBytes: 5 << 20})
	for range 8000 { // a megabyte and a half that the chunks do not get
		if _, _, err := a.Shard(0).NewSlot(); err != nil {
			t.Fatal(err)
		}
	}
	piece := pattern(7001)
	for i := range 3 {
		s := a.Shard(i % 2)
		qs := fill(t, s, piece)
		if st := a.Stats(); st.Allocated > st.Max || st.Refused == 0 || len(qs) < (2<<20)/len(piece)/3 {
			t.Errorf("stats %+v with %d queues", st, len(qs))
		}
		drain(t, s, qs, piece)
		mustBeIdle(t, a)
	}
}

func TestSlotsEnd(t *testing.T) {
	a := testArena(t, Options{Slots: 100, Shards: 2, MaxBytes: 1 << 20})
	seen := map[SlotID]bool{}
	for i := range 100 {
		id, slot, err := a.Shard(i * 2 / 100).NewSlot()
		if i >= 64 && errors.Is(err, ErrFull) {
			// The first shard holds a batch of which it did not use all.
			id, slot, err = a.Shard(0).NewSlot()
		}
		if err != nil {
			t.Fatalf("slot %d: %v", i, err)
		}
		if seen[id] || id == 0 || id > 100 || *slot != (Slot{Generation: 1}) {
			t.Fatalf("slot %d twice or out of range or not empty: %+v", id, *slot)
		}
		seen[id] = true
		slot.State = 1
	}
	for i := range 2 {
		if _, _, err := a.Shard(i).NewSlot(); !errors.Is(err, ErrFull) {
			t.Errorf("shard %d, slot 101: %v, want ErrFull", i, err)
		}
	}
	a.Shard(0).FreeSlot(1)
	if id, _, err := a.Shard(0).NewSlot(); err != nil || id != 1 {
		t.Errorf("slot %d: %v, want 1 again", id, err)
	}
}

// Clients may all end up on one loop: the slots that another one does not need go over.
func TestIdleSlotsGoToOtherShards(t *testing.T) {
	const n = 1000
	a := testArena(t, Options{Slots: n, Shards: 2, MaxBytes: 4 << 20})
	for range 5 {
		for i := range 2 {
			s := a.Shard(i)
			ids := make([]SlotID, 0, n)
			for {
				id, _, err := s.NewSlot()
				if err != nil {
					break
				}
				ids = append(ids, id)
			}
			if len(ids) < n-3*slotBatch {
				t.Fatalf("shard %d has %d of %d slots", i, len(ids), n)
			}
			for _, id := range ids {
				s.FreeSlot(id)
			}
		}
	}
	if st := a.Stats(); st.Slots != 0 {
		t.Errorf("%d slots in use", st.Slots)
	}
}

// The kernel itself refuses here: a file system of 1 MiB under an arena that may have 64.
func TestMachineWithoutMemoryIsNoSIGBUS(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOEXEC, "size=1m"); err != nil {
		t.Skipf("mount of a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	fd, err := unix.Open(dir+"/arena", unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newArena(fd, Options{Slots: 16_000, Shards: 1, MaxBytes: 64 << 20}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	s := a.Shard(0)
	piece := pattern(5000)
	for range 3 {
		drain(t, s, fill(t, s, piece), piece)
		mustBeIdle(t, a)
	}
	got := 0
	for {
		_, slot, err := s.NewSlot()
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		slot.State, slot.BackendTLS = 1, 1
		got++
	}
	if got < 1000 || got >= 16_000 {
		t.Errorf("%d slots in 1 MiB", got)
	}
}

func TestSmallMachineCannotStart(t *testing.T) {
	for _, o := range []Options{
		{Slots: 10, Shards: 4, MaxBytes: 300_000},
		{Slots: 0, Shards: 1},
		{Slots: 10, Shards: 0},
		{Slots: 10, Shards: MaxShards + 1},
	} {
		if a, err := New(o); err == nil {
			a.Close()
			t.Errorf("%+v: no error", o)
		}
	}
}

// Shards of different goroutines take and give blocks and slots at once, and nothing is handed out twice.
func TestShardsSideBySide(t *testing.T) {
	const shards = 4
	a := testArena(t, Options{Slots: 2000, Shards: shards, MaxBytes: 8 << 20})
	var wg sync.WaitGroup
	for i := range shards {
		wg.Go(func() {
			s := a.Shard(i)
			s.Bind()
			piece := bytes.Repeat([]byte{byte('A' + i)}, 3000)
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			var ids []SlotID
			for range 4000 {
				switch {
				case len(ids) > 0 && rnd.IntN(5) < 2:
					k := rnd.IntN(len(ids))
					slot := s.Slot(ids[k])
					if got := queued(s, &slot.ToClient); slot.State != uint8(i+1) || !bytes.Equal(got, bytes.Repeat(piece, len(got)/len(piece))) {
						t.Errorf("shard %d: slot %d of state %d holds %d bytes of somebody", i, ids[k], slot.State, len(got))
						return
					}
					s.FreeSlot(ids[k])
					ids[k] = ids[len(ids)-1]
					ids = ids[:len(ids)-1]
				case rnd.IntN(3) == 0:
					id, slot, err := s.NewSlot()
					if err != nil {
						continue
					}
					if slot.State != 0 || slot.ToClient != (Queue{}) {
						t.Errorf("shard %d: new slot %d is in use: %+v", i, id, slot)
						return
					}
					slot.State = uint8(i + 1)
					ids = append(ids, id)
				case len(ids) > 0:
					_ = s.Append(&s.Slot(ids[rnd.IntN(len(ids))]).ToClient, piece)
				}
			}
			for _, id := range ids {
				s.FreeSlot(id)
			}
		})
	}
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
				if st := a.Stats(); st.Allocated > st.Max {
					t.Errorf("allocated %d over %d", st.Allocated, st.Max)
					return
				}
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-watched
	if st := a.Stats(); st.Slots != 0 {
		t.Errorf("%d slots in use", st.Slots)
	}
	mustBeIdle(t, a)
}

func TestForeignGoroutineIsCaught(t *testing.T) {
	a := testArena(t, Options{Slots: 2, Shards: 1, MaxBytes: 1 << 20})
	s := a.Shard(0)
	s.Bind()
	id, _, err := s.NewSlot()
	if err != nil {
		t.Fatal(err)
	}
	caught := make(chan string)
	go func() {
		defer func() { caught <- fmt.Sprint(recover()) }()
		s.Slot(id).State = 1
	}()
	if got := <-caught; !strings.Contains(got, "used by goroutine") {
		t.Errorf("use by another goroutine: %s", got)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Bind()
		s.Slot(id).State = 1
	}()
	<-done
}
