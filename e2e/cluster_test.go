//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// whole within is what is promised of a healed partition: looked for every 15 s, with 5 s for a connection.
const healed = 30 * time.Second

// Three proxies on hosts of their own: a host that was cut off for longer than the gossip remembers the dead is back within 30 s without help, and what the operators of
// both sides have set meanwhile comes to one.
func TestClusterPartitionHeals(t *testing.T) {
	t.Parallel()
	f := newClusterFleet(t, 3)
	one, two, three := f.hosts[0], f.hosts[1], f.hosts[2]
	for _, h := range f.hosts {
		h.run()
	}
	f.whole(healed, f.hosts...)
	three.cut()
	eventually(t, 40*time.Second, "the others miss ferry3, and it misses them", func() bool {
		return one.there() == "ferry1 ferry2" && two.there() == "ferry1 ferry2" && three.there() == "ferry3"
	})
	time.Sleep(31 * time.Second) // the gossip speaks to the dead for 30 s
	out, code := one.quiet("maint", "main/a")
	if code != 4 || !strings.Contains(out, "not told: ferry3") {
		t.Errorf("maint with one cut off: exit %d, %s", code, out)
	}
	for range 2 { // more acts on this side
		three.quiet("maint", "main/b")
		three.quiet("ready", "main/b")
	}
	out, code = one.quiet("status", "--all")
	if code != 4 || !strings.Contains(out, "ferry3  unreachable") || !strings.Contains(out, "ferry2  running") {
		t.Errorf("status of all with one cut off: exit %d\n%s", code, out)
	}
	if out, _ := one.quiet("status"); !strings.Contains(out, "missing: "+three.address()+":7946") {
		t.Errorf("nobody says that ferry3 is missing:\n%s", out)
	}
	if s := two.states(); s != "maint ready" {
		t.Errorf("ferry2 has %s", s)
	}
	three.plug()
	took := f.whole(healed, f.hosts...)
	if took > healed+slack/2 {
		t.Errorf("the partition was healed after %v", took)
	}
	t.Logf("whole %v after the cable was back", took)
	eventually(t, 10*time.Second, "all have the same states", func() bool {
		return one.states() == "maint ready" && two.states() == "maint ready" && three.states() == "maint ready"
	})
	if _, code := one.quiet("status", "--all"); code != 0 {
		t.Errorf("status of all: exit %d", code)
	}
}

// A proxy that was killed and comes back at its old address is in at once; one that stands still for some seconds is nobody's matter, and while it stands still commands
// say that it was not told.
func TestClusterMemberComesBack(t *testing.T) {
	t.Parallel()
	f := newClusterFleet(t, 3)
	one, two := f.hosts[0], f.hosts[1]
	for _, h := range f.hosts {
		h.run()
	}
	f.whole(healed, f.hosts...)
	for range 3 {
		two.proc.kill()
		began := time.Now()
		two.run()
		f.whole(10*time.Second, f.hosts...)
		t.Logf("in again %v after its kill", time.Since(began))
	}
	lost := one.lost()
	two.hang(3 * time.Second)
	f.whole(10*time.Second, f.hosts...)
	if n := one.lost() - lost; n > 0 {
		t.Errorf("who stood still for 3 s was called lost %d times", n)
	}
	hangs := make(chan struct{})
	go func() { defer close(hangs); two.hang(6 * time.Second) }()
	time.Sleep(time.Second)
	began := time.Now()
	out, code := one.quiet("maint", "main/a")
	if took := time.Since(began); code != 4 || !strings.Contains(out, "not told: ferry2") || took > 3*time.Second+slack {
		t.Errorf("maint with one that hangs: exit %d after %v, %s", code, took, out)
	}
	<-hangs
	eventually(t, 15*time.Second, "it has heard of it", func() bool { return two.states() == "maint ready" })
}

// Two clusters on one network, of which each names the other's hosts, never become one: by another label, or by another key.
func TestClustersStayApart(t *testing.T) {
	t.Parallel()
	f := newClusterFleet(t, 4)
	f.hosts[2].configure("other", clusterKey)
	f.hosts[3].configure("test", foreignKey)
	for _, h := range f.hosts {
		h.run()
	}
	f.whole(healed, f.hosts[0], f.hosts[1])
	time.Sleep(35 * time.Second) // two rounds of joining
	for i, want := range []string{"ferry1 ferry2", "ferry1 ferry2", "ferry3", "ferry4"} {
		h := f.hosts[i]
		if got := h.there(); got != want {
			t.Errorf("%s knows %s, want %s", h.name, got, want)
		}
		c := h.knows()
		if len(c.Missing) != 4-len(strings.Fields(want)) {
			t.Errorf("%s misses %v", h.name, c.Missing)
		}
		for _, why := range map[string][]string{"ferry1 ferry2": {"key", "label"}, "ferry3": {"label"}, "ferry4": {"key"}}[want] {
			if c.Refused[why] == 0 {
				t.Errorf("%s has refused nobody for his %s: %v", h.name, why, c.Refused)
			}
		}
		if !strings.Contains(h.proc.out.String(), "not let into the cluster") {
			t.Errorf("%s has not logged it", h.name)
		}
	}
}
