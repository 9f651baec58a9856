package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Cluster makes this proxy one of several in front of the same ircds.
type Cluster struct {
	Name        string         `yaml:"name"`         // of this proxy, once in the cluster; its certificate has it. "": the host's name
	Label       string         `yaml:"label"`        // of the cluster: members of another are not let in
	Bind        string         `yaml:"bind"`         // host:port of the gossip, UDP and TCP; default DefaultGossip
	Advertise   string         `yaml:"advertise"`    // host:port at which the others reach it; "": Bind, or the private address of this machine
	Join        []Peer         `yaml:"join"`         // who else should be there
	Allow       []netip.Prefix `yaml:"allow"`        // who may connect, to gossip and RPC alike; none: everybody who has the key
	KeyFile     string         `yaml:"key_file"`     // of the gossip: base64 of 16, 24 or 32 bytes, one a line; the first one seals
	TicketsFile string         `yaml:"tickets_file"` // of secrets, one a line, that the keys of TLS tickets are made from; "": tickets are good at this proxy only
	RPC         ClusterRPC     `yaml:"rpc"`
}

// ClusterRPC is where the other proxies ask this one, and who it is to them.
type ClusterRPC struct {
	Listen string `yaml:"listen"` // host:port; default DefaultRPC
	Cert   string `yaml:"cert"`   // PEM file, for servers and clients, with Name as alternative name
	Key    string `yaml:"key"`
	CA     string `yaml:"ca"` // PEM file of the roots of all members' certificates
}

// Where a cluster is spoken to that says nothing of it.
const (
	DefaultGossip = "0.0.0.0:7946"
	DefaultRPC    = "0.0.0.0:7947"
)

func (c *Cluster) setDefaults() { c.Bind, c.RPC.Listen = DefaultGossip, DefaultRPC }

// Member is the name of this proxy.
func (c *Cluster) Member() string {
	if c.Name != "" {
		return c.Name
	}
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return host
}

// Peer says where others are: host:port, whose host may have many addresses; srv:NAME, a name with SRV records; exec:COMMAND, which prints host:port,
// one a line.
type Peer string

// Kinds of a Peer.
const (
	PeerHost = "host"
	PeerSRV  = "srv"
	PeerExec = "exec"
)

// Kind splits a peer into its kind and the rest.
func (p Peer) Kind() (kind, rest string) {
	for _, kind := range []string{PeerSRV, PeerExec} {
		if rest, ok := strings.CutPrefix(string(p), kind+":"); ok {
			return kind, strings.TrimSpace(rest)
		}
	}
	return PeerHost, string(p)
}

// check says what is wrong with a peer.
func (p Peer) check() error {
	switch kind, rest := p.Kind(); {
	case kind == PeerHost:
		return checkHostPort(rest, false)
	case rest == "":
		return fmt.Errorf("%q has nothing behind the colon; write host:port, srv:NAME or exec:COMMAND", string(p))
	case kind == PeerExec && !strings.HasPrefix(rest, "/"):
		return fmt.Errorf("%q: the command does not begin with /", string(p))
	case kind == PeerSRV && strings.ContainsAny(rest, " :/"):
		return fmt.Errorf("%q is not the name of SRV records; write srv:_gossip._tcp.example", string(p))
	}
	return nil
}

// cluster says what cannot be of it. What is in the files is for who reads them.
func (c *checker) cluster(k *Cluster, taken []bound) {
	if k == nil {
		return
	}
	if err := checkName(k.Member()); err != nil {
		c.errorf("cluster.name", "%v; without one it is the host's", err)
	}
	if err := checkName(k.Label); err != nil {
		c.errorf("cluster.label", "%v; all members have the same, and no other cluster has it", err)
	}
	if c.gossip("cluster.bind", k.Bind) {
		taken = c.listenAddress("cluster.bind", k.Bind, taken)
	}
	if k.Advertise != "" && c.gossip("cluster.advertise", k.Advertise) && unspecified(k.Advertise) {
		c.errorf("cluster.advertise", "%q is no address that others could connect to", k.Advertise)
	}
	if k.Advertise == "" && strings.HasPrefix(k.Bind, "[::]") {
		c.errorf("cluster.advertise", "is not there; bind is %q, so the others must be told where this proxy is", k.Bind)
	}
	if len(k.Join) == 0 {
		c.warnf("cluster.join", "there are none: this proxy looks for nobody, and all others must name it")
	}
	for i, p := range k.Join {
		if err := p.check(); err != nil {
			c.errorf(fmt.Sprintf("cluster.join[%d]", i), "%v", err)
		}
	}
	c.listenAddress("cluster.rpc.listen", k.RPC.Listen, taken)
	c.clusterFile("key_file", k.KeyFile, "openssl rand -base64 32 makes a key, and all members have the same")
	if k.TicketsFile != "" {
		c.clusterFile("tickets_file", k.TicketsFile, "")
	}
	c.clusterFile("rpc.cert", k.RPC.Cert, "the other proxies know this one by it")
	c.clusterFile("rpc.key", k.RPC.Key, "it belongs to rpc.cert")
	c.clusterFile("rpc.ca", k.RPC.CA, "the other proxies' certificates are verified with it")
}

func (c *checker) clusterFile(key, path, why string) {
	switch {
	case path == "":
		c.errorf("cluster."+key, "is not there; %s", why)
	case !filepath.IsAbs(path):
		c.errorf("cluster."+key, "%q does not begin with /", path)
	}
}

// gossip says what is wrong with an address of the gossip, which is an address and no name.
func (c *checker) gossip(key, address string) (good bool) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = netip.ParseAddr(host)
	}
	switch {
	case err != nil:
		c.errorf(key, "%q is not an address with its port; write 192.0.2.1:7946 or [2001:db8::1]:7946", address)
	case port == "0":
		c.errorf(key, "%q: port 0 cannot be told to others", address)
	default:
		return true
	}
	return false
}

func unspecified(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().IsUnspecified()
}
