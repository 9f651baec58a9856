package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// linkRig is a daemon with the links of services.example, in plaintext, and of leaf.example, over TLS; the port for servers of ircd a is over TLS.
type linkRig struct {
	*ferry
	pair     *certtest.Pair
	servers  net.Listener
	services string // addresses
	leaf     string
}

// linkPair are both ends of a link, as a peer and an ircd have them.
type linkPair struct {
	t          *testing.T
	peer, ircd net.Conn
	fromPeer   *bufio.Reader // read at the ircd
	fromIrcd   *bufio.Reader
}

func startLinkFerry(t *testing.T) *linkRig {
	t.Helper()
	return withLinks(t, startFerry(t))
}

func withLinks(t *testing.T, f *ferry) *linkRig {
	t.Helper()
	r := &linkRig{ferry: f, pair: certtest.SelfSigned(t, certtest.Options{Names: []string{"leaf.example"}}), services: freeAddress(t), leaf: freeAddress(t)}
	cert, key := r.pair.Write(t, f.dir, "leaf")
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plain.Close() })
	r.servers = tls.NewListener(plain, r.tls())
	text, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}
	known := fmt.Sprintf("{cert: %s, key: %s, fingerprints: [%s]}", cert, key, r.pair.Fingerprint())
	f.write(f.path(), strings.Replace(string(text), "    backends:\n      - {name: a, ", fmt.Sprintf(
		"    links: [{name: services.example, listen: %q}, {name: leaf.example, listen: %q, tls: %s}]\n    backends:\n      - {name: a, servers: {address: %q, tls: %s}, ",
		r.services, r.leaf, known, plain.Addr(), known), 1))
	if _, err := f.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *linkRig) tls() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{r.pair.Cert}, InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert}
}

// link links a server, and returns when both bursts are over.
func (r *linkRig) link(name, sid, address string) *linkPair {
	t := r.t
	t.Helper()
	peer, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	if address == r.leaf {
		peer = tls.Client(peer, r.tls())
		go peer.(*tls.Conn).Handshake()
	}
	ircd, err := r.servers.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{peer, ircd} {
		c.SetDeadline(time.Now().Add(3 * patience))
		t.Cleanup(func() { c.Close() })
	}
	p := &linkPair{t: t, peer: peer, ircd: ircd, fromPeer: bufio.NewReader(ircd), fromIrcd: bufio.NewReader(peer)}
	for _, line := range []string{"CAPAB START 1205", "SERVER " + name + " secret 0 " + sid + " :x", ":" + sid + " ENDBURST"} {
		p.passes(peer, p.fromPeer, line)
	}
	for _, line := range []string{"CAPAB START 1205", "SERVER a.example secret 0 00A :x", ":00A ENDBURST"} {
		p.passes(ircd, p.fromIrcd, line)
	}
	await(t, name+" up", func() bool {
		for _, l := range r.status().Pools[0].Links {
			if l.Name == name && l.State == "raw" {
				return true
			}
		}
		return false
	})
	return p
}

// passes says a line, and wants it at the other side.
func (p *linkPair) passes(from io.Writer, to *bufio.Reader, line string) {
	p.t.Helper()
	if _, err := io.WriteString(from, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
	if got, err := to.ReadString('\n'); got != line+"\n" {
		p.t.Fatalf("got %q, %v, want %q", got, err, line)
	}
}

// talk has both ends say numbered lines until stop is called, which fails if one was lost, doubled or out of order.
func (p *linkPair) talk(sid string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan error, 4)
	for _, way := range []struct {
		from net.Conn
		to   *bufio.Reader
	}{{p.peer, p.fromPeer}, {p.ircd, p.fromIrcd}} {
		line := func(n int) string {
			return fmt.Sprintf(":%sAAAAAB PRIVMSG #sea :%d %s\n", sid, n, strings.Repeat("x", n%400))
		}
		said := make(chan int, 1)
		go func() {
			n, err := 0, error(nil)
			for ; ctx.Err() == nil && err == nil; n++ {
				_, err = io.WriteString(way.from, line(n))
				if n%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			io.WriteString(way.from, "END\n")
			said <- n
			results <- err
		}()
		go func() {
			for n := 0; ; n++ {
				got, err := way.to.ReadString('\n')
				switch {
				case got == "END\n" && n == <-said && n > 0:
					results <- nil
					return
				case err != nil || got != line(n):
					results <- fmt.Errorf("line %d is %q (%w)", n, got, err)
					return
				}
			}
		}()
	}
	return func() {
		p.t.Helper()
		cancel()
		for range 4 {
			if err := <-results; err != nil {
				p.t.Error(err)
			}
		}
	}
}

// Server links go along, in plaintext and over TLS, while both ends talk: through upgrades and through such that fail at any step. Nothing of it is left in a
// process that another one has followed, nor with any end.
func TestUpgradesKeepServerLinks(t *testing.T) {
	r := startLinkFerry(t)
	services, leaf := r.link("services.example", "00S", r.services), r.link("leaf.example", "00L", r.leaf)
	c := r.crowd(12, 2, 50*time.Millisecond)
	stops := []func(){services.talk("00S"), leaf.talk("00L")}
	dry, err := r.upgrade(admin.UpgradeRequest{DryRun: true})
	if err != nil || len(dry.Refusals) != 0 || dry.Links != 2 || len(dry.Left) != 0 {
		t.Errorf("dry run %+v, %v", dry, err)
	}
	before := r.status().Pools[0].Links
	r.must()
	open := descriptorsOf(t, r.status().PID)
	for i, step := range []string{"prepared", "legacy", "descriptors", "ready", "go"} {
		r.stumbleAt(step, []string{"killed", "exit"}[i%2])
		if u, err := r.upgrade(admin.UpgradeRequest{}); err == nil {
			t.Errorf("stumbled at %s: %+v", step, u)
		}
		os.Remove(r.stumbleFile())
		if i < 4 {
			if u := r.must(); u.Links != 2 || u.Taken != dry.Taken {
				t.Errorf("%+v, the dry run %+v", u, dry)
			}
		}
	}
	for i, l := range r.status().Pools[0].Links {
		if was := before[i]; l.State != "raw" || l.SID != was.SID || l.Server != was.Server || l.From != was.From || l.Listen != was.Listen || !l.Since.Equal(was.Since) {
			t.Errorf("%+v, before %+v", l, was)
		}
	}
	for _, stop := range stops {
		stop()
	}
	r.unharmed(c)
	pid := r.status().PID
	await(t, "descriptors as before", func() bool { return descriptorsOf(t, pid)["socket"] <= open["socket"] })
	for name, p := range map[string]*linkPair{"services": services, "leaf": leaf} { // and who ends is ended
		p.peer.Close()
		if n, err := io.Copy(io.Discard, p.fromPeer); n > 0 || err != nil {
			t.Errorf("%s: the ircd gets %d bytes, %v", name, n, err)
		}
		p.ircd.Close()
	}
	r.link("services.example", "00S", r.services)
	r.link("leaf.example", "00L", r.leaf)
}

// A new program that cannot go on with links is refused as long as there are any, and named; whoever allows it has them split and link anew.
func TestUpgradeToAProgramThatHasNoLinks(t *testing.T) {
	r := startLinkFerry(t)
	services := r.link("services.example", "00S", r.services)
	pid := r.status().PID
	r.stumbleAt("started", "linkless")
	_, err := r.upgrade(admin.UpgradeRequest{})
	isRefused(t, err, "services.example")
	u, err := r.upgrade(admin.UpgradeRequest{DryRun: true})
	if err != nil || len(u.Refusals) != 1 || u.Left[leftLink] != 1 || u.Links != 0 {
		t.Errorf("dry run %+v, %v", u, err)
	}
	if st := r.status(); st.PID != pid {
		t.Fatalf("the daemon is %d, was %d", st.PID, pid)
	}
	services.passes(services.peer, services.fromPeer, ":00S PING 00A")
	if u, err := r.upgrade(admin.UpgradeRequest{AllowVisible: true}); err != nil || u.PID == pid || u.Left[leftLink] != 1 || u.Links != 0 {
		t.Fatalf("%+v, %v", u, err)
	}
	os.Remove(r.stumbleFile())
	for name, c := range map[string]io.Reader{"peer": services.fromIrcd, "ircd": services.fromPeer} {
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("end of the link at the %s: %v", name, err)
		}
	}
	await(t, "the new process's listener for links", func() bool {
		links := r.status().Pools[0].Links
		return len(links) == 2 && links[1].Listen != ""
	})
	r.link("services.example", "00S", r.services)
}

// A connection that is no link yet when the three seconds are over stays behind, is told, and may come again.
func TestAConnectionThatIsNoLinkYetStaysBehind(t *testing.T) {
	r := startLinkFerry(t)
	silent, err := net.Dial("tcp", r.leaf) // and never shakes hands
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r.link("leaf.example", "00L", r.leaf).peer.Close() // whoever came before was accepted before
	u, err := r.upgrade(admin.UpgradeRequest{})
	if err != nil || u.Left[leftConnecting] != 1 || u.Links != 0 {
		t.Fatalf("%+v, %v", u, err)
	}
	silent.SetDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, silent); err != nil {
		t.Errorf("its end: %v", err)
	}
	r.link("leaf.example", "00L", r.leaf)
}
