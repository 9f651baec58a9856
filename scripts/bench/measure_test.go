package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestProcessClockCountsTheProcess(t *testing.T) {
	busy := exec.Command("sh", "-c", "while :; do :; done")
	if err := busy.Start(); err != nil {
		t.Skipf("no shell: %v", err)
	}
	t.Cleanup(func() { end(busy) })
	deadline := time.Now().Add(10 * time.Second)
	for cpuOf(busy.Process.Pid) < 20*time.Millisecond {
		if time.Now().After(deadline) {
			t.Fatalf("a busy process has used %s", cpuOf(busy.Process.Pid))
		}
	}
}

func TestMemoryGrowsByWhatIsTouched(t *testing.T) {
	before, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	// Mapped, because the race detector shadows the heap.
	block, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(block) })
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	after, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - before; grown < size/2 || grown > 2*size {
		t.Errorf("touched %d bytes, grew by %d", size, grown)
	}
}
