package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// fleet is several daemons of one cluster in this process, on loopback addresses of their own.
type fleet struct {
	t   *testing.T
	dir string
	ca  *certtest.Pair
	net int // 127.0.net.n is the nth member's
}

const (
	testKey    = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	otherKey   = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
	testSecret = "a secret of thirty-two characters"
)

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir(), ca: certtest.NewAuthority(t, "cluster"), net: os.Getpid()%200 + 20}
	f.ca.Write(t, f.dir, "ca")
	return f
}

func (f *fleet) gossip(n int) string { return fmt.Sprintf("127.0.%d.%d:7946", f.net, n) }

// member puts the nth member of all into a configuration.
func (f *fleet) member(cfg config.Config, n, all int) config.Config {
	f.t.Helper()
	name := fmt.Sprintf("ferry%d", n)
	cert, key := f.ca.Issue(f.t, certtest.Options{Names: []string{name}}).Write(f.t, f.dir, name)
	k := &config.Cluster{Name: name, Label: "test", Bind: f.gossip(n), KeyFile: f.file(name+".keys", testKey), TicketsFile: f.file(name+".tickets", testSecret),
		RPC: config.ClusterRPC{Listen: fmt.Sprintf("127.0.%d.%d:0", f.net, n), Cert: cert, Key: key, CA: filepath.Join(f.dir, "ca.pem")}}
	for i := 1; i <= all; i++ {
		k.Join = append(k.Join, config.Peer(f.gossip(i)))
	}
	cfg.Cluster = k
	return cfg
}

func (f *fleet) file(name, text string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// client asks a daemon.
func client(t *testing.T, d *daemon) *admin.Client {
	c := admin.NewClient(d.cfg.Load().Admin.Socket)
	t.Cleanup(c.Close)
	return c
}

// awaitCluster waits until what a daemon knows of its cluster is enough.
func awaitCluster(t *testing.T, d *daemon, what string, enough func(*admin.Cluster) bool) *admin.Cluster {
	t.Helper()
	var c *admin.Cluster
	await(t, what, func() bool {
		c = d.others.Cluster()
		return c != nil && enough(c)
	})
	return c
}

// alive reports whether so many are there and have told their news.
func alive(n int) func(*admin.Cluster) bool {
	return func(c *admin.Cluster) bool {
		there := 0
		for _, m := range c.Members {
			if m.State == "alive" && len(m.Keys) > 0 {
				there++
			}
		}
		return there == n && len(c.Missing) == 0
	}
}

func memberOf(c *admin.Cluster, name string) admin.Member {
	for _, m := range c.Members {
		if m.Name == name {
			return m
		}
	}
	return admin.Member{}
}

// withRoom is a context for a question.
func withRoom(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
