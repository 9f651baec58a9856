//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// nativeInspIRCd is an InspIRCd with m_handoff in a process of its own.
type nativeInspIRCd struct {
	t       *testing.T
	v       *inspVersion
	name    string // of the backend
	dir     string
	conf    string
	program string
	port    int    // past the proxy
	pass    string // what its <handoff pass=""> wants
	proc    *process

	starting time.Duration // how long run has taken
}

// new makes the configuration of an InspIRCd; run starts it. All have one server name and id, as the two ends of a replace have.
func (v *inspVersion) new(t *testing.T, name string) *nativeInspIRCd {
	t.Helper()
	v.need(t)
	i := &nativeInspIRCd{t: t, v: v, name: name, dir: shortDir(t)}
	modules := filepath.Join(i.dir, "modules")
	if err := os.Mkdir(modules, 0o700); err != nil {
		t.Fatal(err)
	}
	stock, _ := filepath.Glob(filepath.Join(v.modules, "*.so"))
	for _, path := range stock {
		symlink(t, path, filepath.Join(modules, filepath.Base(path)))
	}
	symlink(t, v.module(t), filepath.Join(modules, "m_handoff.so"))
	i.program = v.wrapper(t, i.dir)
	i.conf = filepath.Join(i.dir, "inspircd.conf")
	snippet := strings.NewReplacer("/run/inspircd/", i.dir+"/", `port="7001"`, fmt.Sprintf(`port="%d"`, freePort(t))) // what we tell others to write
	writeFile(t, filepath.Join(i.dir, "handoff.conf"), snippet.Replace(readFile("../configs/inspircd/handoff.conf")))
	i.port = freePort(t)
	writeFile(t, i.conf, strings.NewReplacer("@RUN@", i.dir, "@MODULES@", modules, "@NAME@", "insp.example.org", "@SID@", "1AA", "@LOG@", "default",
		"@PORT@", fmt.Sprint(i.port)).Replace(readFile(v.either("testdata/inspircd-handoff.conf", "testdata/inspircd-handoff-4.conf"))))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s:\n%s", i.name, lastLines(readFile(filepath.Join(i.dir, "ircd.log")), 30))
		}
	})
	return i
}

func symlink(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

func (v *inspVersion) start(t *testing.T, name string) *nativeInspIRCd {
	t.Helper()
	i := v.new(t, name)
	i.run()
	return i
}

func (i *nativeInspIRCd) handoff() string { return "unix:" + filepath.Join(i.dir, "handoff.sock") }

func (i *nativeInspIRCd) backend() string {
	return fmt.Sprintf("{name: %s, handoff: %q}", i.name, i.handoff())
}

// run starts the process, or one in place of the one that has ended, and returns when it answers HELLO.
func (i *nativeInspIRCd) run() {
	i.t.Helper()
	begin := time.Now()
	i.launch()
	eventually(i.t, 20*time.Second, "InspIRCd answers HELLO", func() bool {
		select {
		case <-i.proc.done:
			i.t.Fatalf("InspIRCd has ended:\n%s", lastLines(i.proc.out.String(), 30))
		default:
		}
		_, err := i.hello()
		return err == nil
	})
	i.starting = time.Since(begin)
}

// launch starts the process and does not wait for it.
func (i *nativeInspIRCd) launch() {
	i.t.Helper()
	i.proc = start(i.t, nil, i.program, "--config="+i.conf, "--nofork", "--runasroot")
}

func (i *nativeInspIRCd) hello() (protocol.Hello, error) { return helloOf(i.handoff(), i.pass) }

// helloOf is what the ircd behind a control socket says of itself.
func helloOf(address, pass string) (protocol.Hello, error) {
	ctx, cancel := context.WithTimeout(context.Background(), slack)
	defer cancel()
	c, err := protocol.Dial(ctx, address)
	if err != nil {
		return protocol.Hello{}, err
	}
	defer c.Close()
	return c.Hello(ctx, protocol.Hello{Name: "test", Pass: pass})
}

// restart is a restart in place: the command of ferryctl ends the old process, and a new one takes its place as a service manager's
// would, at once.
func (i *nativeInspIRCd) restart(f *ferry) result { return i.restartWith(f) }

// restartWith is restart with more words of ferryctl.
func (i *nativeInspIRCd) restartWith(f *ferry, more ...string) result {
	i.t.Helper()
	old := i.proc
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		<-old.done
		i.run()
	}()
	r := f.move(append([]string{"restart", "main/" + i.name, "--exec", fmt.Sprintf("kill %d", old.cmd.Process.Pid)}, more...)...)
	<-restarted
	return r
}
