//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// drain runs a drain to its end, whatever that is.
func (f *ferry) drain(from, to string) (r result, code int) {
	f.t.Helper()
	out, code := f.ctl("-o", "json", "drain", "main/"+from, "--to", to)
	if err := json.Unmarshal([]byte(out), &r); err != nil && code != 5 {
		f.t.Fatalf("drain %s to %s: %v in %q", from, to, err, out)
	}
	return r, code
}

// users waits until an InspIRCd has that many users.
func (i *nativeInspIRCd) users(n int) {
	i.t.Helper()
	eventually(i.t, 10*time.Second, fmt.Sprintf("%s has %d users", i.name, n), func() bool {
		hello, err := i.hello()
		return err == nil && hello.Users == n
	})
}

// TestInspIRCdKilledInMidMove: SIGKILL of a real ircd at the awkward moments of a move, under traffic. The outcome is that of handoff/doc.go,
// and no client loses a line or sees one that the move has made.
func TestInspIRCdKilledInMidMove(t *testing.T) { onBoth(t, inspIRCdKilledInMidMove) }

func inspIRCdKilledInMidMove(t *testing.T, v *inspVersion) {
	killedInMidMove(t, func(t *testing.T, name string) movable { return v.start(t, name) })
}

// movable is a native ircd whose process may be killed and started again.
type movable interface {
	native
	run()
	running() *process
	users(n int)
}

func (i *nativeInspIRCd) running() *process { return i.proc }

func killedInMidMove(t *testing.T, begin func(t *testing.T, name string) movable) {
	const clients = 20
	for _, c := range []struct {
		name string
		of   string // whose line it is
		at   string
		kill string
		lost bool   // the line does not arrive
		back bool   // the killed one is started again at once
		want string // outcome
		have string // who has the users then
	}{
		{name: "the source after END", of: "a", at: "END", kill: "a", want: "done", have: "b"},
		{name: "the source after RELEASED", of: "a", at: "RELEASED", kill: "a", want: "done", have: "b"},
		{name: "the source at RELEASED, which is lost", of: "a", at: "RELEASED", kill: "a", lost: true, want: "done", have: "b"},
		{name: "the destination after PREPARE", of: "b", at: "PREPARED", kill: "b", lost: true, want: "reverted", have: "a"},
		{name: "the destination after PREPARED", of: "b", at: "PREPARED", kill: "b", want: "reverted", have: "a"},
		{name: "the destination after RELEASE", of: "a", at: "RELEASED", kill: "b", want: "reverted", have: "a"},
		{name: "the destination after RELEASE, and it comes back", of: "a", at: "RELEASED", kill: "b", back: true, want: "", have: ""},
		{name: "the destination after COMMIT", of: "b", at: "COMMITTED", kill: "b", lost: true, want: "reverted", have: "a"},
		{name: "the destination after COMMIT, and it comes back", of: "b", at: "COMMITTED", kill: "b", lost: true, back: true, want: "", have: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ircds := map[string]movable{"a": begin(t, "a"), "b": begin(t, "b")}
			taps := map[string]*tap{"a": newTap(t, ircds["a"].handoff()), "b": newTap(t, ircds["b"].handoff())}
			f := startFerry(t, nil, "", fmt.Sprintf("{name: a, handoff: %q}", taps["a"].handoff()), fmt.Sprintf("{name: b, handoff: %q}", taps["b"].handoff()))
			w := startTalkers(t, f.port, clients, 3)
			f.move("drain", "main/b", "--to", "a")
			f.ctl("undrain", "main/b")
			killed, restarted := ircds[c.kill], make(chan struct{})
			taps[c.of].at(c.at, func() bool {
				taps[c.kill].refuse()
				killed.running().kill()
				go func() {
					defer close(restarted)
					if c.back {
						killed.run()
						taps[c.kill].open()
					}
				}()
				return !c.lost
			})
			r, code := f.drain("a", "b")
			if !taps[c.of].done() {
				t.Fatalf("there was no %s: %+v", c.at, r)
			}
			<-restarted
			if (code == 0) != (r.State == "done") || r.Attempted != clients || r.Failed != 0 {
				t.Errorf("exit %d, %+v", code, r)
			}
			if c.want != "" && r.State != c.want {
				t.Errorf("outcome %s, want %s", r.State, c.want)
			}
			have := c.have
			if have == "" { // both are promised; the report says which
				have = map[string]string{"done": "b", "reverted": "a"}[r.State]
			}
			ircds[have].users(clients)
			w.talkOn(clients * 20)
			w.closing(r.State)
		})
	}
}

// TestInspIRCdMoveOnFullDisk: a move whose journal has no room is reverted, and the next one goes through once there is room.
func TestInspIRCdMoveOnFullDisk(t *testing.T) { onBoth(t, inspIRCdMoveOnFullDisk) }

func inspIRCdMoveOnFullDisk(t *testing.T, v *inspVersion) {
	a, b := v.start(t, "a"), v.start(t, "b")
	f := &ferry{t: t, dir: shortDir(t), port: freePort(t)}
	state := filepath.Join(f.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no file system of its own to fill (needs root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(state, syscall.MNT_FORCE|2) }) // 2 is MNT_DETACH
	f.writeConfig(config(f.dir, f.port, "", a.backend(), b.backend()))
	f.proc = start(t, nil, binary("ircferry"), "run", "-c", f.configFile())
	awaitPort(t, f.port, f.proc)
	w := startTalkers(t, f.port, 20, 3)
	f.move("drain", "main/b", "--to", "a")
	f.ctl("undrain", "main/b")

	ballast := filepath.Join(state, "ballast")
	file, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	if info, err := file.Stat(); err != nil || file.Truncate(info.Size()-8192) != nil { // room for the admin states, not for 20 users
		t.Fatal(err)
	}
	_ = file.Close()
	if r, code := f.drain("a", "b"); code == 0 || r.State != "reverted" || r.Attempted != 20 || !strings.Contains(r.Error, "no space left") {
		t.Errorf("full disk: exit %d, %+v", code, r)
	}
	a.users(20)
	w.talkOn(400)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	f.ctl("undrain", "main/a")
	f.move("drain", "main/a", "--to", "b")
	b.users(20)
	w.talkOn(400)
	w.closing("reverted=1 moves=1")
}

// TestInspIRCdOtherVersion: a module of another protocol version is told by ircferry check, is no destination, and when it comes up in a
// restart the users wait until it is put right.
func TestInspIRCdOtherVersion(t *testing.T) { onFirst(t, inspIRCdOtherVersion) }

func inspIRCdOtherVersion(t *testing.T, v *inspVersion) {
	other := v.otherModule(t)
	a, b := v.start(t, "a"), v.new(t, "b")
	module := func(i *nativeInspIRCd, path string) {
		t.Helper()
		link := filepath.Join(i.dir, "modules", "m_handoff.so")
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
		symlink(t, path, link)
	}
	module(b, other)
	b.launch()
	f := startFerry(t, nil, "", a.backend(), b.backend())
	check := start(t, nil, binary("ircferry"), "check", "--strict", "-c", f.configFile())
	if code := check.await(10 * time.Second); code != 1 || !strings.Contains(check.out.String(), "another major version of HANDOFF") {
		t.Errorf("ircferry check: exit %d\n%s", code, check.out.String())
	}
	w := startTalkers(t, f.port, 20, 3)
	a.users(20)
	if r, code := f.drain("a", "b"); code == 0 || r.Moved != 0 {
		t.Errorf("a drain to another version: exit %d, %+v", code, r)
	}
	f.ctl("undrain", "main/a")
	w.talkOn(400)

	// The restart: the command itself starts the process of the other version and ends well.
	old := a.proc
	swapped := make(chan struct{})
	go func() {
		defer close(swapped)
		<-old.done
		module(a, other)
		a.launch()
		eventually(t, 10*time.Second, "the restart waits for its ircd", func() bool {
			out, _ := f.ctl("show", "moves", "-o", "json")
			return strings.Contains(out, "HANDOFF/2")
		})
		a.proc.signal(syscall.SIGTERM)
		a.proc.await(10 * time.Second)
		module(a, v.module(t))
		a.run()
	}()
	f.move("restart", "main/a", "--exec", fmt.Sprintf("kill %d", old.cmd.Process.Pid))
	<-swapped
	a.users(20)
	w.talkOn(400)
	w.closing("restarts=1")
}
