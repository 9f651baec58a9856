package admin

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSocketModes(t *testing.T) {
	own, err := user.LookupGroupId(groupOfTest(t))
	if err != nil {
		t.Skipf("the group of this user has no name: %v", err)
	}
	for _, tt := range []struct {
		group string
		want  fs.FileMode
	}{{"", 0o600}, {own.Name, 0o660}} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := Listen(path, tt.group)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode().Perm() != tt.want {
			t.Errorf("group %q: mode %v %v, want %v", tt.group, info.Mode(), err, tt.want)
		}
		l.Close()
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket file is still there after Close: %v", err)
		}
	}
}

func groupOfTest(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	return u.Gid
}

// The mode must be there when the name appears, not a moment later: between the two anybody could connect. The file is watched by
// its own listing, because the window is too short to be hit by trying.
func TestSocketIsNeverOpenToOthers(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if info, err := os.Lstat(filepath.Join(dir, "s")); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("seen with mode %v", info.Mode())
				return
			}
		}
	})
	for range 200 {
		l, err := Listen(filepath.Join(dir, "s"), "")
		if err != nil {
			t.Error(err)
			break
		}
		l.Close()
	}
	close(stop)
	watch.Wait()
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestLiveSocketIsRefused(t *testing.T) {
	r := newRig(t)
	if _, err := Listen(r.socket, ""); err == nil || !strings.Contains(err.Error(), "another daemon answers there") {
		t.Errorf("got %v", err)
	}
	if _, err := r.client.Status(t.Context()); err != nil {
		t.Errorf("the daemon that was there: %v", err)
	}
}

func TestSocketErrorsNameTheWayOut(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, group, want string }{
		{filepath.Join(dir, "no", "s"), "", "does not exist; create it"},
		{file, "", "no socket is in the way; remove it"},
		{filepath.Join(dir, strings.Repeat("x", 120)), "", "a socket's path may have 107"},
		{filepath.Join(dir, "s"), "no-such-group-here", `group "no-such-group-here" does not exist; create it or change admin.group`},
	} {
		l, err := Listen(tt.path, tt.group)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
			t.Errorf("%s:\ngot  %v\nwant ...%s...", tt.path, err, tt.want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file in the way was touched: %q %v", b, err)
	}
}

// Two daemons that start over one stale file: exactly one may have it.
func TestTwoStartsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 20 {
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		dead.Close()
		listeners := make(chan net.Listener, 4)
		var work sync.WaitGroup
		for range 4 {
			work.Go(func() {
				if l, err := Listen(path, ""); err == nil {
					listeners <- l
				}
			})
		}
		work.Wait()
		close(listeners)
		n := 0
		for l := range listeners {
			n++
			l.Close()
		}
		if n != 1 {
			t.Fatalf("%d daemons have the socket, want 1", n)
		}
	}
}

// A daemon that ends late must not take away the socket of the one that replaced it.
func TestCloseLeavesTheSocketOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the second's socket is gone: %v", err)
	}
}

func TestClientSaysWhyNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for path, want := range map[string]string{filepath.Join(dir, "none"): "the socket does not exist", dead: "nobody listens there"} {
		_, err := NewClient(path).Status(context.Background())
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want ...%s...", path, err, want)
		}
	}
}
