package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/config"
)

// Two proxies of one cluster see each other, each other's sessions and events, and who is gone; what they have otherwise is told.
func TestTwoProxiesSeeEachOther(t *testing.T) {
	f, dir := newFleet(t), t.TempDir()
	ircd := startIrcd(t, dir, "a")
	handoffs := map[string]string{"a": "unix:" + ircd.socket}
	one := startTestDaemon(t, f.member(testConfig(t, handoffs), 1, 2))
	cfg := f.member(testConfig(t, handoffs), 2, 2)
	two := startTestDaemon(t, cfg)
	c := awaitCluster(t, one, "both see each other", alive(2))
	if c.Name != "ferry1" || c.Label != "test" || c.Wanted != 2 {
		t.Errorf("%+v", c)
	}
	if m := memberOf(c, "ferry2"); m.Instance != two.instance || len(m.Differs) > 0 || len(m.Keys) != 1 || len(m.Tickets) != 1 || m.Error != "" {
		t.Errorf("ferry2 is %+v", m)
	}
	awaitCluster(t, two, "both see each other", alive(2))

	alice := dialIRC(t, two.address(t), "alice")
	defer alice.Close()
	ask, ctx := client(t, one), withRoom(t)
	page, err := ask.AllSessions(ctx, admin.SessionQuery{})
	if err != nil || len(page.Proxies) != 2 || len(page.Proxies[0].Page.Sessions) != 0 || len(page.Proxies[1].Page.Sessions) != 1 || !page.Proxies[0].Self {
		t.Fatalf("sessions of all: %+v, %v", page, err)
	}
	found, err := ask.AllSession(ctx, "alice")
	if err != nil || found.Proxies[1].Session == nil || found.Proxies[1].Session.Nick != "alice" || len(found.Unanswered()) > 0 {
		t.Fatalf("alice is %+v, %v", found, err)
	}
	if found.Proxies[0].Code != admin.CodeNotFound {
		t.Errorf("ferry1 says of alice %+v", found.Proxies[0])
	}
	st, err := ask.AllStatus(ctx)
	if err != nil || len(st.Proxies) != 2 || st.Proxies[1].Status.Instance != two.instance || st.Proxies[1].Status.Sessions.Total != 1 {
		t.Fatalf("status of all: %+v, %v", st, err)
	}
	awaitCluster(t, one, "the other's sessions are told", func(c *admin.Cluster) bool { return memberOf(c, "ferry2").Sessions == 1 })

	if _, err := client(t, two).Maint(ctx, "main/a"); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	err = ask.AllEvents(ctx, true, func(ev admin.Event) error {
		if ev.Proxy == "ferry2" && ev.Kind == admin.EventCommand && ev.Word == "maint" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("events of all: %v", err)
	}

	if err := two.others.stop(ctx); err != nil {
		t.Error(err)
	}
	awaitCluster(t, one, "who went has left", func(c *admin.Cluster) bool { return memberOf(c, "ferry2").State == "left" })
	if st := one.api.Status(); !strings.Contains(fmt.Sprint(st.Warnings), "missing: "+f.gossip(2)) {
		t.Errorf("nobody says that ferry2 is missing: %v", st.Warnings)
	}
	if st, err := ask.AllStatus(ctx); err != nil || len(st.Proxies) != 1 {
		t.Errorf("who has left is asked: %+v, %v", st, err)
	}
}

// dialIRC registers a client.
func dialIRC(t *testing.T, address, nick string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "NICK %s\r\nUSER %s 0 * :%s\r\n", nick, nick, nick)
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if strings.Contains(lines.Text(), " 001 ") {
			return c
		}
	}
	t.Fatalf("%s is not registered", nick)
	return nil
}

// A member that does not answer any more is told with its name, and the others answer in time.
func TestAProxyThatHangsIsTold(t *testing.T) {
	f := newFleet(t)
	one := startTestDaemon(t, f.member(testConfig(t, nil), 1, 2))
	two := startTestDaemon(t, f.member(testConfig(t, nil), 2, 2))
	awaitCluster(t, one, "both see each other", alive(2))
	two.others.mu.Lock() // answers to others wait for it
	defer two.others.mu.Unlock()
	await(t, "ferry2 is silent", func() bool { return memberOf(one.others.Cluster(), "ferry2").Error != "" })
	if text := fmt.Sprint(one.api.Status().Warnings); !strings.Contains(text, "proxy ferry2 does not answer") {
		t.Errorf("warnings %s", text)
	}
}

// A reload takes all of a cluster, or nothing of it.
func TestReloadOfTheCluster(t *testing.T) {
	f := newFleet(t)
	one := startTestDaemon(t, f.member(testConfig(t, nil), 1, 2))
	cfg := f.member(testConfig(t, nil), 2, 2)
	two := startTestDaemon(t, cfg)
	awaitCluster(t, one, "both see each other", alive(2))
	reload := func(change func(*config.Cluster)) error {
		k := *cfg.Cluster
		change(&k)
		next := cfg
		next.Cluster = &k
		ready, err := two.others.prepare(next)
		if err == nil {
			ready.do()
			l := *two.cfg.Load()
			l.Config = next
			two.cfg.Store(&l)
			cfg = next
		}
		return err
	}
	// Keys: the new one is known here first, and is not used.
	f.file("ferry2.keys", testKey+"\n"+otherKey)
	if err := reload(func(*config.Cluster) {}); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, one, "the keys differ", func(c *admin.Cluster) bool { return slices.Contains(memberOf(c, "ferry2").Differs, "keys") })
	if text := fmt.Sprint(one.api.Status().Warnings); !strings.Contains(text, "proxy ferry2 has other keys") {
		t.Errorf("warnings %s", text)
	}
	// Files that cannot be.
	f.file("ferry2.tickets", "short")
	if err := reload(func(*config.Cluster) {}); err == nil || !strings.Contains(err.Error(), "cluster.tickets_file") {
		t.Errorf("a secret that is none: %v", err)
	}
	f.file("ferry2.tickets", testSecret)
	// Another place: out and in again. One that is taken: as before.
	if err := reload(func(k *config.Cluster) { k.Bind = f.gossip(1) }); err == nil || !strings.Contains(err.Error(), "cluster.bind") {
		t.Errorf("a place that is taken: %v", err)
	}
	awaitCluster(t, two, "as before", alive(2))
	if err := reload(func(k *config.Cluster) { k.Bind = f.gossip(3) }); err != nil {
		t.Fatal(err)
	}
	awaitCluster(t, one, "it is at another place", func(c *admin.Cluster) bool {
		m := memberOf(c, "ferry2")
		return m.State == "alive" && m.Gossip == f.gossip(3)
	})
	awaitCluster(t, two, "it knows the other there", func(c *admin.Cluster) bool { return memberOf(c, "ferry1").State == "alive" }) // else it could not tell it
	// Alone.
	next := cfg
	next.Cluster = nil
	ready, err := two.others.prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	ready.do()
	if two.others.Cluster() != nil {
		t.Error("it is in a cluster still")
	}
	awaitCluster(t, one, "it has left", func(c *admin.Cluster) bool { return memberOf(c, "ferry2").State == "left" })
	if _, err := client(t, two).Cluster(withRoom(t)); err == nil || !strings.Contains(err.Error(), "this proxy is alone") {
		t.Errorf("alone it says %v", err)
	}
}

// What proxies have otherwise is a matter of what is said in the pools, not of where things lie on a host.
func TestSumOfPools(t *testing.T) {
	base := func() map[string]config.Pool {
		return map[string]config.Pool{"main": {Topology: config.Standalone, Backends: []config.Backend{{Name: "a", Handoff: "unix:/a", Weight: 100}, {Name: "b", Handoff: "unix:/b", Weight: 100}}}}
	}
	sum := sumOfPools(base())
	for name, change := range map[string]func(map[string]config.Pool){
		"topology": func(p map[string]config.Pool) { m := p["main"]; m.Topology = config.Linked; p["main"] = m },
		"weight":   func(p map[string]config.Pool) { p["main"].Backends[1].Weight = 1 },
		"order":    func(p map[string]config.Pool) { slices.Reverse(p["main"].Backends) },
		"kind": func(p map[string]config.Pool) {
			p["main"].Backends[0].Handoff, p["main"].Backends[0].Address = "", "a:1"
		},
		"pool": func(p map[string]config.Pool) { p["web"] = p["main"] },
	} {
		p := base()
		change(p)
		if sumOfPools(p) == sum {
			t.Errorf("another %s is not noticed", name)
		}
	}
	p := base()
	p["main"].Backends[0].Handoff = "tcp:10.0.0.1:7770"
	if sumOfPools(p) != sum {
		t.Error("another way to the same ircd is taken for another ircd")
	}
}

// The metrics and the page of a cluster say who is there, and alone there is none of it.
func TestClusterIsMeasured(t *testing.T) {
	f := newFleet(t)
	one := startTestDaemon(t, f.member(testConfig(t, nil), 1, 2))
	alone := startTestDaemon(t, testConfig(t, nil))
	startTestDaemon(t, f.member(testConfig(t, nil), 2, 2))
	awaitCluster(t, one, "both see each other", alive(2))
	text := scrape(t, one)
	for _, want := range []string{"ircferry_cluster_members 2", "ircferry_cluster_wanted 2", "ircferry_cluster_missing 0", `ircferry_cluster_member_up{member="ferry2"} 1`,
		`ircferry_cluster_member_silent{member="ferry2"} 0`, `ircferry_cluster_differs{member="ferry2",what="pools"} 0`, `ircferry_cluster_member_sessions{member="ferry2"} 0`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if text := scrape(t, alone); strings.Contains(text, "ircferry_cluster") {
		t.Error("a proxy that is alone has metrics of a cluster")
	}
	page := draw(one)
	if !strings.Contains(page, "ferry2") || !strings.Contains(page, "Proxies") {
		t.Error("the page does not show the other proxy")
	}
	if strings.Contains(draw(alone), "Proxies") {
		t.Error("the page of a proxy that is alone shows a cluster")
	}
}

func scrape(t *testing.T, d *daemon) string {
	t.Helper()
	w := httptest.NewRecorder()
	admin.Public{Status: d.api.Status, Gatherer: prometheus.Gatherers{d.registry}}.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func draw(d *daemon) string {
	w := httptest.NewRecorder()
	admin.Public{Status: d.api.Status, Gatherer: d.registry}.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	return w.Body.String()
}

// A client's TLS session of one proxy is resumed by another.
func TestTicketsOfOneProxyAreGoodAtAnother(t *testing.T) {
	f := newFleet(t)
	one := startTestDaemon(t, f.member(testConfig(t, nil), 1, 2))
	two := startTestDaemon(t, f.member(testConfig(t, nil), 2, 2))
	cache := tls.NewLRUClientSessionCache(4)
	resumed := func(d *daemon) bool {
		conn, err := tls.Dial("tcp", d.listening(t, "ircs"), &tls.Config{InsecureSkipVerify: true, ClientSessionCache: cache, ServerName: "irc.test"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
		conn.Read(make([]byte, 1)) // a ticket comes behind the handshake
		return conn.ConnectionState().DidResume
	}
	if resumed(one) {
		t.Fatal("the first connection was resumed")
	}
	if !resumed(two) {
		t.Error("the ticket of the first proxy is not taken by the second")
	}
}

// Who follows the events of all is not cut off from a proxy where nothing happens for a while.
func TestFollowersOfAQuietProxy(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	one := startTestDaemon(t, f.member(testConfig(t, nil), 1, 2))
	two := startTestDaemon(t, f.member(testConfig(t, nil), 2, 2))
	awaitCluster(t, one, "both see each other", alive(2))
	awaitCluster(t, two, "both see each other", alive(2))
	quiet, enough := 12*time.Second, errors.New("enough") // longer than a write may take
	go func() {
		time.Sleep(quiet)
		two.publish("test", "first")
		time.Sleep(quiet)
		two.publish("test", "second")
	}()
	seen := map[string]int{}
	err := client(t, one).AllEvents(withRoom(t), true, func(ev admin.Event) error {
		if ev.Word == "unreachable" {
			t.Errorf("%s: %s", ev.Proxy, ev.Text)
		}
		seen[ev.Proxy+" "+ev.Text]++
		if ev.Text == "second" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || seen["ferry2 first"] != 1 || seen["ferry2 second"] != 1 {
		t.Errorf("%v, seen %v", err, seen)
	}
}
