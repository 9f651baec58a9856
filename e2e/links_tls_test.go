//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// linkCerts are the certificates of a network whose links use TLS, and what each end takes for those of the others.
type linkCerts struct {
	ferry, hub, leaf *certtest.Pair

	leafToFerry, hubToFerry, ferryToHub, ferryToLeaf string // fingerprints, as the second one's configuration has them of the first
}

func newLinkCerts(t *testing.T) *linkCerts {
	c := &linkCerts{ferry: certtest.SelfSigned(t, certtest.Options{}), hub: certtest.SelfSigned(t, certtest.Options{}), leaf: certtest.SelfSigned(t, certtest.Options{})}
	c.leafToFerry, c.hubToFerry, c.ferryToHub, c.ferryToLeaf = c.leaf.Fingerprint(), c.hub.Fingerprint(), c.ferry.Fingerprint(), c.ferry.Fingerprint()
	return c
}

// asServer and asClient are for a tap in the place of one of them.
func asServer(p *certtest.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.Cert}, ClientAuth: tls.RequestClientCert}
}

func asClient(p *certtest.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.Cert}, InsecureSkipVerify: true}
}

// profile is an ircd's TLS, with the name links.
func profile(t *testing.T, dir string, p *certtest.Pair) string {
	t.Helper()
	cert, key := p.Write(t, dir, "link")
	return fmt.Sprintf("<module name=\"ssl_gnutls\">\n<sslprofile name=\"links\" provider=\"gnutls\" certfile=%q keyfile=%q hash=\"sha256\" requestclientcert=\"yes\">\n", cert, key)
}

// newTLSNet is a hub and its twin with a leaf, whose links use TLS. The leaf dials, and both legs use it; or with dials it is the hub that dials, in plaintext
// to ircferry, which dials the leaf.
func newTLSNet(t *testing.T, v *inspVersion, c *linkCerts, dials bool) *linkNet {
	t.Helper()
	v.needGnuTLS(t)
	n := &linkNet{t: t, v: v, taps: make(map[string]*linkTap)}
	listen, dir := freePort(t), shortDir(t)
	n.leaf = v.newLeaf(t, 0)
	cert, key := c.ferry.Write(t, dir, "ferry")
	p := peer{name: leafName, leaf: true, link: fmt.Sprintf(", tls: {cert: %q, key: %q, fingerprints: [%s]}", cert, key, c.leafToFerry)}
	if dials {
		n.dials = newLinkTap(t, listen)
		n.dials.peerDialled = true
		n.taps[leafName] = newTLSTap(t, n.leaf.servers, asServer(c.leaf), asClient(c.ferry))
		n.taps[leafName].peerDialled = true
		p.link += fmt.Sprintf(", dial: \"127.0.0.1:%d\"", n.taps[leafName].port)
	} else {
		n.taps[leafName] = newTLSTap(t, listen, asServer(c.ferry), asClient(c.leaf))
		p.hub = fmt.Sprintf(", tls: {cert: %q, key: %q, fingerprints: [%s]}", cert, key, c.hubToFerry)
	}
	for k := range 2 {
		hub, servers := v.newHub(t, string(rune('a'+k)), "")
		n.hubs, n.servers, n.control = append(n.hubs, hub), append(n.servers, servers), append(n.control, newTap(t, hub.handoff()))
		links := filepath.Join(hub.dir, "links.conf")
		if dials {
			n.behind = append(n.behind, newLinkTap(t, servers))
			writeFile(t, links, strings.Replace(readFile(links), "7101", fmt.Sprint(n.dials.port), 1))
			if k == 0 { // the twin is to have what this one has, and not to link itself
				writeFile(t, hub.conf, readFile(hub.conf)+`<autoconnect period="1s" server="`+leafName+`">`+"\n")
			}
		} else {
			n.behind = append(n.behind, newTLSTap(t, servers, asServer(c.hub), asClient(c.ferry)))
			writeFile(t, links, strings.NewReplacer(`type="servers"`, `type="servers" sslprofile="links"`,
				`<link name="leaf.example"`, `<link name="leaf.example" fingerprint="`+c.ferryToHub+`"`).Replace(readFile(links)))
			writeFile(t, hub.conf, readFile(hub.conf)+profile(t, hub.dir, c.hub))
		}
		hub.run()
	}
	n.startFerry(p, map[string]int{leafName: listen})
	n.secureLeaf(c, dials)
	n.leaf.run()
	return n
}

// secureLeaf lets the leaf's link use TLS.
func (n *linkNet) secureLeaf(c *linkCerts, dials bool) {
	n.t.Helper()
	text := readFile(n.leaf.conf) + profile(n.t, n.leaf.dir, c.leaf)
	link := `<link name="` + hubName + `"`
	text = strings.Replace(text, link, link+` fingerprint="`+c.ferryToLeaf+`" sslprofile="links"`, 1)
	if dials {
		text = edit(n.t, n.leaf.conf, text, `<autoconnect [^>]*>`, "", `type="servers"`, `type="servers" sslprofile="links"`)
	} else {
		text = strings.Replace(text, `port="0"`, fmt.Sprintf(`port="%d"`, n.taps[leafName].port), 1)
	}
	writeFile(n.t, n.leaf.conf, text)
}

// TestLinksTLS: links with TLS on both legs, or that the ircd dials and ircferry on, with the certificates that each end wants to see, are held like others.
func TestLinksTLS(t *testing.T) {
	t.Parallel()
	for name, dials := range map[string]bool{"both legs": false, "dialled": true} {
		onVersions(t, name, func(t *testing.T, v *inspVersion) {
			certs := newLinkCerts(t)
			n := newTLSNet(t, v, certs, dials)
			n.awaitLinks()
			n.works()
			before, w := n.state(), n.talk()
			n.hubs[0].restart(n.f)
			w.talkOn(1000)
			for k := range 2 {
				n.f.replace(k)
				w.talkOn(1000)
			}
			extra := n.peerLines(w)
			w.closing(fmt.Sprintf("ircd=inspircd-%s peer=leaf tls=%q restarts=1 replaces=2 peer_lines=%d", v.release, name, extra))
			sameState(t, before, n.state())
			n.works()
			if dials {
				n.twinKnocks()
			}
			seen := certs.hub
			if dials {
				seen = certs.leaf
			}
			n.checked("its certificate has the fingerprint " + seen.Fingerprint())
		})
	}
}

// twinKnocks: the idle twin dials too. The leaf never hears of it.
func (n *linkNet) twinKnocks() {
	n.t.Helper()
	twin, tries := n.hubs[1], n.taps[leafName].tries()
	writeFile(n.t, twin.conf, readFile(twin.conf)+`<autoconnect period="1s" server="`+leafName+`">`+"\n")
	twin.again()
	eventually(n.t, slack, "the twin has tried", func() bool { return strings.Contains(n.f.proc.out.String(), "reason=twin") })
	if n.taps[leafName].tries() > tries {
		n.t.Error("the leaf was dialled for the twin")
	}
	n.withLeaf.met(n.withLeaf.ann, n.withLeaf.bob)
}

// TestLinksWrongFingerprint: whoever shows another certificate than the other end knows becomes no link, and who has to be asked why says which it was.
func TestLinksWrongFingerprint(t *testing.T) {
	t.Parallel()
	wrong := strings.Repeat("ab", 32)
	for _, c := range []struct {
		name  string
		dials bool
		of    func(c *linkCerts) *string
		told  func(n *linkNet, c *linkCerts) (log string, want []string)
		check bool // ircferry check tells it too
	}{
		{"the leaf's at ircferry", false, func(c *linkCerts) *string { return &c.leafToFerry }, func(n *linkNet, c *linkCerts) (string, []string) {
			return n.f.proc.out.String(), []string{"connection of a link refused", "reason=tls", "its certificate is none of fingerprints: it has " + c.leaf.Fingerprint()}
		}, false},
		{"the ircd's at ircferry", false, func(c *linkCerts) *string { return &c.hubToFerry }, func(n *linkNet, c *linkCerts) (string, []string) {
			return n.f.proc.out.String(), []string{"connection of a link refused", "reason=dial", "its certificate is none of fingerprints: it has " + c.hub.Fingerprint()}
		}, true},
		{"the dialled leaf's at ircferry", true, func(c *linkCerts) *string { return &c.leafToFerry }, func(n *linkNet, c *linkCerts) (string, []string) {
			return n.f.proc.out.String(), []string{"connection of a link refused", "reason=dial", "dial peer " + leafName, "its certificate is none of fingerprints: it has " + c.leaf.Fingerprint()}
		}, true},
		{"ircferry's at the ircd", false, func(c *linkCerts) *string { return &c.ferryToHub }, func(n *linkNet, c *linkCerts) (string, []string) {
			return readFile(n.hubs[0].dir + "/ircd.log"), []string{"fingerprint", c.ferry.Fingerprint()}
		}, false},
		{"ircferry's at the leaf", false, func(c *linkCerts) *string { return &c.ferryToLeaf }, func(n *linkNet, c *linkCerts) (string, []string) {
			return readFile(n.leaf.dir + "/ircd.log"), []string{"fingerprint", c.ferry.Fingerprint()}
		}, false},
	} {
		onVersions(t, c.name, func(t *testing.T, v *inspVersion) {
			certs := newLinkCerts(t)
			*c.of(certs) = wrong
			n := newTLSNet(t, v, certs, c.dials)
			eventually(t, slack, "who has refused says why", func() bool {
				log, want := c.told(n, certs)
				for _, w := range want {
					if !strings.Contains(log, w) {
						return false
					}
				}
				return true
			})
			for _, conn := range n.taps[leafName].of(leafName) {
				for _, l := range conn.lines {
					if strings.Contains(l.text, " UID ") {
						t.Errorf("somebody was told of: %s", l.text)
					}
				}
			}
			if c.check {
				n.checked("is somebody else than fingerprints say")
			}
		})
	}
}

// onVersions is onBoth under a name; for make test onFirst.
func onVersions(t *testing.T, name string, test func(t *testing.T, v *inspVersion)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		if _, all := linkMoves(); all {
			onBoth(t, test)
		} else {
			onFirst(t, test)
		}
	})
}

// checked is that ircferry check tells something.
func (n *linkNet) checked(want string) {
	n.t.Helper()
	check := start(n.t, nil, binary("ircferry"), "check", "-c", n.f.configFile())
	check.await(10 * time.Second)
	if out := check.out.String(); !strings.Contains(out, want) {
		n.t.Errorf("ircferry check does not tell %q:\n%s", want, out)
	}
}
