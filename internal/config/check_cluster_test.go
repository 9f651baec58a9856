package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// clustered is a sound cluster.
func clustered(f func(*Cluster)) func(*Config) {
	return func(c *Config) {
		k := &Cluster{Name: "ferry1", Label: "example", Join: []Peer{"ferry2.example:7946", "srv:_gossip._tcp.example", "exec:/usr/bin/peers now"},
			Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, KeyFile: "/k", RPC: ClusterRPC{Cert: "/c", Key: "/c.key", CA: "/ca"}}
		k.setDefaults()
		f(k)
		c.Cluster = k
	}
}

// What cannot be of a cluster is told with its key, the value and the way out.
func TestClusterIsVerified(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Cluster)
		want   string // "" for nothing
	}{
		{"sound", func(*Cluster) {}, ""},
		{"the host's name", func(k *Cluster) { k.Name = "" }, ""},
		{"a name that is none", func(k *Cluster) { k.Name = "ferry one" }, `error: cluster.name: "ferry one" has ' ' in it`},
		{"no label", func(k *Cluster) { k.Label = "" }, "error: cluster.label: has no name; all members have the same"},
		{"bind without an address", func(k *Cluster) { k.Bind = ":7946" }, `error: cluster.bind: ":7946" is not an address with its port`},
		{"bind by name", func(k *Cluster) { k.Bind = "ferry1.example:7946" }, `error: cluster.bind: "ferry1.example:7946" is not an address`},
		{"bind to no port", func(k *Cluster) { k.Bind = "192.0.2.1:0" }, "error: cluster.bind: \"192.0.2.1:0\": port 0 cannot be told"},
		{"bind to a listener's", func(k *Cluster) { k.Bind = "192.0.2.1:6667" }, "error: cluster.bind: \"192.0.2.1:6667\" is taken by listeners[0].address too"},
		{"advertise of all", func(k *Cluster) { k.Advertise = "0.0.0.0:7946" }, "error: cluster.advertise: \"0.0.0.0:7946\" is no address that others could connect to"},
		{"all of IPv6", func(k *Cluster) { k.Bind = "[::]:7946" }, "error: cluster.advertise: is not there"},
		{"all of IPv6, told", func(k *Cluster) { k.Bind, k.Advertise = "[::]:7946", "[2001:db8::1]:7946" }, ""},
		{"nobody to join", func(k *Cluster) { k.Join = nil }, "warning: cluster.join: there are none"},
		{"join without a port", func(k *Cluster) { k.Join[0] = "ferry2.example" }, `error: cluster.join[0]: "ferry2.example" has no port`},
		{"join by no command", func(k *Cluster) { k.Join[2] = "exec:" }, `error: cluster.join[2]: "exec:" has nothing behind the colon`},
		{"join by a command of somewhere", func(k *Cluster) { k.Join[2] = "exec:peers" }, `error: cluster.join[2]: "exec:peers": the command does not begin with /`},
		{"join by records of an address", func(k *Cluster) { k.Join[1] = "srv:ferry:7946" }, `error: cluster.join[1]: "srv:ferry:7946" is not the name of SRV records`},
		{"no key", func(k *Cluster) { k.KeyFile = "" }, "error: cluster.key_file: is not there"},
		{"tickets of somewhere", func(k *Cluster) { k.TicketsFile = "tickets" }, `error: cluster.tickets_file: "tickets" does not begin with /`},
		{"RPC where the gossip is", func(k *Cluster) { k.RPC.Listen = "127.0.0.1:7946" }, "error: cluster.rpc.listen: \"127.0.0.1:7946\" is taken by cluster.bind too"},
		{"no certificate", func(k *Cluster) { k.RPC.Cert = "" }, "error: cluster.rpc.cert: is not there"},
		{"no roots", func(k *Cluster) { k.RPC.CA = "" }, "error: cluster.rpc.ca: is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := sound(t)
			clustered(c.change)(&cfg)
			found := fmt.Sprint(verify(cfg, plenty()))
			if c.want == "" && found != "[]" || !strings.Contains(found, c.want) {
				t.Errorf("found %s, want %q", found, c.want)
			}
		})
	}
}

// A file that names only what it must has the defaults of the rest.
func TestClusterHasDefaults(t *testing.T) {
	c, err := Parse("test", []byte("cluster: {label: x, join: ['b:7946']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Cluster.Bind != DefaultGossip || c.Cluster.RPC.Listen != DefaultRPC || c.Cluster.Member() == "" {
		t.Errorf("%+v", c.Cluster)
	}
	if c, err = Parse("test", []byte("listeners: []\n")); err != nil || c.Cluster != nil {
		t.Errorf("%+v, %v", c.Cluster, err)
	}
	if _, err := Parse("test", []byte("cluster: {lable: x}\n")); err == nil || !strings.Contains(err.Error(), `did you mean "label"?`) {
		t.Errorf("%v", err)
	}
}
