package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// cores counts all of the machine, not only those that this process is pinned to.
func cores() int {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return runtime.NumCPU()
	}
	return strings.Count(string(data), "\ncpu")
}

// cpuOf is the CPU time of a process with all its threads, also ended ones. The clock id of another process is
// (~pid << 3) | 2, see clock_getcpuclockid(3); it counts nanoseconds where /proc/PID/stat counts hundredths of a second.
func cpuOf(pid int) time.Duration {
	var ts syscall.Timespec
	clock := int32(^uint32(pid)<<3 | 2)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0
	}
	return time.Duration(ts.Nano())
}

// memoryOf is the resident memory of a process in bytes. Of a memfd the pages that are allocated count, also where no page table
// of the process refers to them at the moment.
func memoryOf(pid int) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	defer f.Close()
	rss, shmem := 0, 0
	for in := bufio.NewScanner(f); in.Scan(); {
		fields := strings.Fields(in.Text())
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.Atoi(fields[1])
		switch fields[0] {
		case "Rss:":
			rss = n << 10
		case "Pss_Shmem:":
			shmem = n << 10
		}
	}
	return rss - shmem + max(shmem, memfds(pid)), nil
}

func memfds(pid int) int {
	total := 0
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, l := range links {
		if to, err := os.Readlink(l); err != nil || !strings.HasPrefix(to, "/memfd:") {
			continue
		}
		var st syscall.Stat_t
		if syscall.Stat(l, &st) == nil {
			total += int(st.Blocks) * 512
		}
	}
	return total
}

// others knows what processes that are not ours use of the machine.
type others struct {
	at   time.Time
	busy time.Duration
	ours time.Duration
}

func startOthers(px proxy) others { return others{time.Now(), busyTime(), px.ours()} }

// cores is how many cores were busy since the start with neither this program, the proxy nor the backend.
func (o others) cores(px proxy) float64 {
	return max(0, (busyTime()-o.busy-px.ours()+o.ours).Seconds()/time.Since(o.at).Seconds())
}

// ours is the CPU time of this program, the proxy and the backend.
func (p proxy) ours() time.Duration {
	total := cpuOf(os.Getpid())
	for _, c := range p.procs {
		total += cpuOf(c.Process.Pid)
	}
	return total
}

// busyTime is the first line of /proc/stat without idle and iowait, in hundredths of a second.
func busyTime() time.Duration {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	ticks := 0
	for i, f := range strings.Fields(line) {
		if n, err := strconv.Atoi(f); err == nil && i != 4 && i != 5 && i < 9 {
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
