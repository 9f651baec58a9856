package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
)

// text is what a configuration file says of a member.
func (f *fleet) text(n, all int) string {
	f.t.Helper()
	cfg := f.member(testConfig(f.t, nil), n, all).Cluster
	var peers []string
	for _, p := range cfg.Join {
		peers = append(peers, fmt.Sprintf("%q", string(p)))
	}
	return fmt.Sprintf("cluster: {name: %s, label: %s, bind: %q, join: [%s], key_file: %s, tickets_file: %s, rpc: {listen: %q, cert: %s, key: %s, ca: %s}}\n",
		cfg.Name, cfg.Label, cfg.Bind, strings.Join(peers, ", "), cfg.KeyFile, cfg.TicketsFile, cfg.RPC.Listen, cfg.RPC.Cert, cfg.RPC.Key, cfg.RPC.CA)
}

// An upgrade takes a proxy's place in its cluster along: the others hear of another version at most, and what its operators have set is what it was.
func TestUpgradeInACluster(t *testing.T) {
	fl, f := newFleet(t), startFerry(t)
	one := startTestDaemon(t, fl.member(testConfig(t, map[string]string{"a": "unix:" + f.ircds["a"].socket, "b": "unix:" + f.ircds["b"].socket}), 1, 2))
	f.configure(fl.text(2, 2))
	ctx := withRoom(t)
	if done, err := f.client.Reload(ctx); err != nil || !strings.Contains(fmt.Sprint(done.Reload.Changed), "cluster") {
		t.Fatalf("reload: %+v, %v", done, err)
	}
	awaitCluster(t, one, "both see each other", alive(2))
	if _, err := f.client.Maint(ctx, "main/b"); err != nil {
		t.Fatal(err)
	}
	await(t, "the other has heard of it", func() bool { return adminOf(one, "main/b") == backend.Maint })
	was := memberOf(one.others.Cluster(), "ferry2")
	f.must()
	f.must()
	c := awaitCluster(t, one, "both see each other behind the upgrades", func(c *admin.Cluster) bool { return alive(2)(c) && memberOf(c, "ferry2").Error == "" })
	if m := memberOf(c, "ferry2"); m.Instance != was.Instance || m.Pools != was.Pools {
		t.Errorf("behind the upgrades ferry2 is %+v, and was %+v", m, was)
	}
	await(t, "the new process knows the other", func() bool {
		c, err := f.client.Cluster(ctx)
		return err == nil && memberOf(&c, "ferry1").State == "alive"
	})
	if _, err := client(t, one).Ready(ctx, "main/b"); err != nil {
		t.Fatal(err)
	}
	await(t, "the new process hears of a newer act", func() bool {
		all, err := f.client.Backends(ctx)
		return err == nil && all[1].Admin == "ready"
	})
	text := ""
	if err := one.events.Follow(ctx, 0, false, func(ev admin.Event) error {
		if ev.Kind == admin.EventMember {
			text += ev.Object + " " + ev.Word + "\n"
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "lost") || strings.Contains(text, "left") || strings.Count(text, "joined") != 1 {
		t.Errorf("the other proxy has heard:\n%s", text)
	}
}
