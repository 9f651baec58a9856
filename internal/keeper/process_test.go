package keeper

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Real processes: the test's own program is a keeper, or a daemon, by roleEnv.
const roleEnv = "IRCFERRY_TEST_KEEPER_ROLE"

func TestMain(m *testing.M) {
	role, socket, _ := strings.Cut(os.Getenv(roleEnv), ",")
	switch role {
	case "":
		os.Exit(m.Run())
	case "keeper":
		fmt.Fprintln(os.Stderr, keeperProcess(socket))
	case "daemon":
		fmt.Fprintln(os.Stderr, daemonProcess(socket))
	case "look":
		fmt.Fprintln(os.Stderr, lookProcess(socket))
	}
	os.Exit(1)
}

func keeperProcess(socket string) error {
	if err := Harden(); err != nil {
		return err
	}
	s, err := Listen(ServerOptions{Socket: socket, Grace: time.Minute})
	if err != nil {
		return err
	}
	fmt.Println("listens")
	return s.Run(context.Background())
}

// daemonProcess keeps one descriptor after the other and says, behind each, which it was.
func daemonProcess(socket string) error {
	c, err := Dial(context.Background(), socket, Options{})
	if err != nil {
		return err
	}
	if err := c.Claim(context.Background(), nil); err != nil {
		return err
	}
	for tag := Tag(1); ; tag++ {
		fd, err := unix.MemfdCreate(strconv.Itoa(int(tag)), unix.MFD_CLOEXEC)
		if err == nil {
			err = keepSoon(c, tag, fd)
		}
		if err != nil {
			return err
		}
		os.Stdout.Write(binary.LittleEndian.AppendUint32(nil, uint32(tag)))
		unix.Close(fd)
		if tag > 32 {
			c.Drop(tag - 32) //nolint:errcheck // the test kills it
		}
	}
}

// lookProcess tries to see what another process of its user has.
func lookProcess(pid string) error {
	_, err1 := os.ReadDir("/proc/" + pid + "/fd")
	_, err2 := os.Open("/proc/" + pid + "/mem")
	_, err3 := os.ReadFile("/proc/" + pid + "/environ")
	n, _ := strconv.Atoi(pid)
	err4 := syscall.PtraceAttach(n)
	fmt.Println(os.IsPermission(err1), os.IsPermission(err2), os.IsPermission(err3), err4 == syscall.EPERM)
	os.Exit(0)
	return nil
}

func process(t *testing.T, role, argument string, uid uint32) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(ownProgram(t))
	cmd.Env, cmd.Stderr = append(os.Environ(), roleEnv+"="+role+","+argument), os.Stderr
	if int(uid) != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

// ownProgram is this program where every user may execute it.
func ownProgram(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keeper")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	if err := os.Link(self, path); err != nil {
		return self
	}
	os.Chmod(dir, 0o755)
	os.Chmod(path, 0o755)
	return path
}

// keeperAt starts a keeper's process with a socket of its own.
func keeperAt(t *testing.T, uid uint32) (socket string, cmd *exec.Cmd) {
	t.Helper()
	dir, err := os.MkdirTemp("", "keeper")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "keeper.sock")
	return socket, restarted(t, socket, uid)
}

func restarted(t *testing.T, socket string, uid uint32) *exec.Cmd {
	t.Helper()
	cmd, out := process(t, "keeper", socket, uid)
	if line, err := out.ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	return cmd
}

// A daemon that is killed at any moment has lost nothing that Keep had taken.
func TestDaemonKilled(t *testing.T) {
	socket, _ := keeperAt(t, uint32(os.Geteuid()))
	for round := range 30 {
		d, out := process(t, "daemon", socket, uint32(os.Geteuid()))
		said := Tag(0)
		for n := 0; ; n++ {
			var b [4]byte
			if _, err := io.ReadFull(out, b[:]); err != nil {
				break
			}
			said = Tag(binary.LittleEndian.Uint32(b[:]))
			if n == 40+round*7 {
				d.Process.Kill()
			}
		}
		d.Wait()
		c, _ := claimed(t, socket)
		kept, err := c.Take(within(t))
		if err != nil {
			t.Fatal(err)
		}
		for tag := max(said, 32) - 31; tag <= said; tag++ {
			if _, ok := kept.Descriptors[tag]; !ok {
				t.Fatalf("round %d: %d is lost, the daemon had kept %d", round, tag, said)
			}
		}
		for tag, fd := range kept.Descriptors {
			if name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil || !strings.HasPrefix(name, fmt.Sprintf("/memfd:%d ", tag)) {
				t.Fatalf("tag %d is %s (%v)", tag, name, err)
			}
		}
		kept.Close()
		if err := c.Clear(within(t)); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// A keeper that is killed takes nothing from the daemon, which hears of it and gives everything to the next one.
func TestKeeperKilled(t *testing.T) {
	socket, k := keeperAt(t, uint32(os.Geteuid()))
	c, _ := claimed(t, socket)
	r, w := pipe(t)
	defer unix.Close(w)
	if err := c.Keep(1, w); err != nil {
		t.Fatal(err)
	}
	k.Process.Kill()
	select {
	case <-c.Done():
	case <-within(t).Done():
		t.Fatal("the daemon does not hear that its keeper is gone")
	}
	if err := c.Keep(2, w); err == nil || !strings.Contains(err.Error(), ErrGone.Error()) {
		t.Errorf("keep at nobody: %v", err)
	}
	ready := make(chan struct{})
	c.Ready(func() { close(ready) })
	<-ready
	if _, err := c.Ping(within(t)); err == nil {
		t.Error("nobody answers a ping")
	}
	k.Wait()
	restarted(t, socket, uint32(os.Geteuid()))
	c, _ = claimed(t, socket)
	if err := c.Keep(1, w); err != nil {
		t.Fatal(err)
	}
	if st, err := c.Ping(within(t)); err != nil || st.Descriptors != 1 || !open(t, r) {
		t.Error(st, err)
	}
}

// Nobody else comes in, also where the directory would let him, and nobody of the same user looks into a keeper.
func TestStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be several users")
	}
	const user, stranger = 65534, 12345
	socket, k := keeperAt(t, user)
	for _, path := range []string{socket, filepath.Dir(socket)} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	d, _ := process(t, "daemon", socket, stranger)
	if err := d.Wait(); err == nil || d.ProcessState.ExitCode() != 1 {
		t.Errorf("a stranger was let in (%v)", err)
	}
	root := rawDaemon(t, socket)
	defer unix.Close(root.fd)
	root.send(t, golden(verbHello))
	if verb, _, _, err := parseHeader(root.receive(t)); err != nil || verb != verbHello|answered {
		t.Errorf("root is answered by verb %d (%v)", verb, err)
	}
	if _, err := Dial(within(t), socket, Options{}); err == nil || !strings.Contains(err.Error(), "of user 65534") {
		t.Errorf("root gives its descriptors to another user: %v", err)
	}
	for _, uid := range []uint32{user, stranger} {
		_, out := process(t, "look", strconv.Itoa(k.Process.Pid), uid)
		if line, err := out.ReadString('\n'); line != "true true true true\n" {
			t.Errorf("user %d sees into the keeper: %q (%v)", uid, line, err)
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", k.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(limits), "\n") {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && f[4] != "0" || strings.HasPrefix(line, "Max open files") && f[3] != f[4] {
			t.Errorf("the keeper's limit: %s", line)
		}
	}
}

// What a keeper needs follows the number of descriptors, not the traffic.
func TestMemoryOfTheProcess(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector's own memory would be measured: make race runs it without")
	}
	socket, k := keeperAt(t, uint32(os.Geteuid()))
	c, _ := claimed(t, socket)
	_, w := pipe(t)
	defer unix.Close(w)
	settle := func() int {
		if _, err := c.Ping(within(t)); err != nil {
			t.Fatal(err)
		}
		return rss(t, k.Process.Pid)
	}
	traffic := func(from, to, kept Tag) int {
		for tag := from; tag <= to; tag++ {
			if tag > kept {
				c.Drop(tag - kept) //nolint:errcheck // it is never busy
			}
			if err := keepSoon(c, tag, w); err != nil {
				t.Fatal(err)
			}
		}
		return settle()
	}
	first := settle()
	n := Tag(min(9000, c.Hello().Limit))
	full := traffic(1, n, n)
	warm := traffic(n+1, 20*n, n)
	then := traffic(20*n+1, 40*n, n)
	said := fmt.Sprintf("%d KiB empty, %d with %d descriptors, %d behind %d more, %d behind as many again", first, full, n, warm, 19*n, then)
	t.Log(said)
	if full-first > 4096 || warm-full > 2048 || then-warm > 512 {
		t.Error(said)
	}
}

func rss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, behind, _ := strings.Cut(string(text), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(behind)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
