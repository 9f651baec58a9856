//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// fleet is daemons of a cluster, each on a host of its own: a network namespace with a cable to a switch.
type fleet struct {
	t     *testing.T
	dir   string
	ca    *certtest.Pair
	hub   string // process in the namespace of the switch
	hosts []*clusterHost
}

// clusterHost is one of them.
type clusterHost struct {
	*ferry
	f    *fleet
	n    int
	pid  string // process in its namespace
	name string
}

const (
	clusterKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	foreignKey = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

// networkOfItsOwn makes a namespace, which lasts as long as the test.
func networkOfItsOwn(t *testing.T) (pid string) {
	t.Helper()
	keeper := start(t, nil, "unshare", "-n", "sh", "-c", "ip link set lo up && echo up && read line")
	eventually(t, slack, "a network of its own", func() bool { return strings.Contains(keeper.out.String(), "up") })
	return fmt.Sprint(keeper.cmd.Process.Pid)
}

// inside runs a command in a namespace.
func inside(t *testing.T, pid string, args ...string) {
	t.Helper()
	if out, err := exec.Command("nsenter", append([]string{"-t", pid, "-n"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", strings.Join(args, " "), err, out)
	}
}

// newClusterFleet makes a switch with so many hosts; no daemon runs yet. It needs root.
func newClusterFleet(t *testing.T, hosts int) *fleet {
	t.Helper()
	needUnshare(t, "-n")
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip here: apt-get install iproute2")
	}
	f := &fleet{t: t, dir: shortDir(t), ca: certtest.NewAuthority(t, "cluster"), hub: networkOfItsOwn(t)}
	f.ca.Write(t, f.dir, "ca")
	if out, err := exec.Command("nsenter", "-t", f.hub, "-n", "ip", "link", "add", "br0", "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("no bridge can be made here: %v %s", err, out)
	}
	inside(t, f.hub, "ip", "link", "set", "br0", "up")
	for n := 1; n <= hosts; n++ {
		h := &clusterHost{f: f, n: n, pid: networkOfItsOwn(t), name: fmt.Sprintf("ferry%d", n)}
		inside(t, f.hub, "ip", "link", "add", h.cable(), "type", "veth", "peer", "name", "eth0", "netns", h.pid)
		inside(t, f.hub, "ip", "link", "set", h.cable(), "master", "br0", "up")
		inside(t, h.pid, "ip", "addr", "add", h.address()+"/24", "dev", "eth0")
		inside(t, h.pid, "ip", "link", "set", "eth0", "up")
		f.hosts = append(f.hosts, h)
	}
	for _, h := range f.hosts {
		h.configure("test", clusterKey)
	}
	return f
}

func (h *clusterHost) cable() string   { return fmt.Sprintf("cable%d", h.n) }
func (h *clusterHost) address() string { return fmt.Sprintf("198.18.78.%d", h.n) }

// cut takes the cable out, plug puts it back.
func (h *clusterHost) cut()  { inside(h.f.t, h.f.hub, "ip", "link", "set", h.cable(), "down") }
func (h *clusterHost) plug() { inside(h.f.t, h.f.hub, "ip", "link", "set", h.cable(), "up") }

// configure writes the configuration of a member that names all hosts of the switch.
func (h *clusterHost) configure(label, key string) {
	f := h.f
	cert, secret := f.ca.Issue(f.t, certtest.Options{Names: []string{h.name}}).Write(f.t, f.dir, h.name)
	keys := filepath.Join(f.dir, h.name+".keys")
	writeFile(f.t, keys, key+"\n")
	var peers []string
	for _, o := range f.hosts {
		peers = append(peers, fmt.Sprintf("%q", o.address()+":7946"))
	}
	if h.ferry == nil {
		h.ferry = newFerry(f.t, "", `{name: a, address: "127.0.0.1:6661"}`, `{name: b, address: "127.0.0.1:6662"}`)
	}
	h.writeConfig(config(h.dir, h.port, "", `{name: a, address: "127.0.0.1:6661"}`, `{name: b, address: "127.0.0.1:6662"}`) + fmt.Sprintf(`cluster:
  name: %s
  label: %s
  bind: "%s:7946"
  join: [%s]
  key_file: %s
  rpc: {listen: "%s:7947", cert: %s, key: %s, ca: %s/ca.pem}
`, h.name, label, h.address(), strings.Join(peers, ", "), keys, h.address(), cert, secret, f.dir))
}

// run starts the daemon on its host and returns when ferryctl is answered.
func (h *clusterHost) run() {
	h.f.t.Helper()
	h.proc = start(h.f.t, nil, "nsenter", "-t", h.pid, "-n", binary("ircferry"), "run", "-c", h.configFile())
	eventually(h.f.t, slack, h.name+" answers", func() bool { _, code := h.quiet("version"); return code == 0 })
}

// quiet is ctl without a word about what went wrong.
func (h *clusterHost) quiet(args ...string) (string, int) {
	cmd := exec.CommandContext(h.f.t.Context(), binary("ferryctl"), append([]string{"--socket", filepath.Join(h.dir, "admin.sock")}, args...)...)
	out, _ := cmd.Output()
	return string(out), cmd.ProcessState.ExitCode()
}

// knows is what a daemon knows of the cluster.
func (h *clusterHost) knows() (c admin.Cluster) {
	out, _ := h.quiet("cluster", "show", "-o", "json")
	_ = json.Unmarshal([]byte(out), &c)
	return c
}

// there are the names of those that it knows as alive.
func (h *clusterHost) there() string {
	var names []string
	for _, m := range h.knows().Members {
		if m.State == "alive" && m.Error == "" {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, " ")
}

// states are what the operator wants of main/a and main/b there.
func (h *clusterHost) states() string {
	out, _ := h.quiet("show", "backends", "-o", "json")
	var all []admin.Backend
	_ = json.Unmarshal([]byte(out), &all)
	var words []string
	for _, b := range all {
		words = append(words, b.Admin)
	}
	return strings.Join(words, " ")
}

// whole waits until each of these hosts knows all of them.
func (f *fleet) whole(within time.Duration, hosts ...*clusterHost) (took time.Duration) {
	f.t.Helper()
	var names []string
	for _, h := range hosts {
		names = append(names, h.name)
	}
	began := time.Now()
	eventually(f.t, within, "all know "+strings.Join(names, " "), func() bool {
		for _, h := range hosts {
			if h.there() != strings.Join(names, " ") {
				return false
			}
		}
		return true
	})
	return time.Since(began)
}

// lost counts how often a host has called somebody lost.
func (h *clusterHost) lost() int {
	out, _ := h.quiet("events", "-o", "json")
	return strings.Count(out, `"word":"lost"`)
}

// hang stops the daemon for a while.
func (h *clusterHost) hang(d time.Duration) {
	h.f.t.Helper()
	if err := h.proc.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		h.f.t.Fatal(err)
	}
	time.Sleep(d)
	if err := h.proc.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		h.f.t.Fatal(err)
	}
}
