package link

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

func pairFiles(t *testing.T, name string) (p *certtest.Pair, cert, key string) {
	p = certtest.SelfSigned(t, certtest.Options{Names: []string{name}})
	cert, key = p.Write(t, t.TempDir(), "link")
	return p, cert, key
}

// over shakes hands on the next connection of a listener.
func over(t *testing.T, l net.Listener, conf *tls.Config) *tls.Conn {
	t.Helper()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return tls.Server(c, conf)
}

// TLS on both sides, with certificates known by their fingerprints; through it a link is held as through plaintext, and ends by close_notify and FIN.
func TestTLSOnBothSides(t *testing.T) {
	ours, cert, key := pairFiles(t, "ferry.test")
	peerPair, _, _ := pairFiles(t, "services.test")
	ircdPair, _, _ := pairFiles(t, "ircd.test")
	r := newRig(t, func(p *config.Pool) {
		p.Links[0].TLS = &config.LinkTLS{Cert: cert, Key: key, Fingerprints: []config.Fingerprint{config.Fingerprint(peerPair.Fingerprint())}}
		p.Backends[0].Servers.TLS = &config.LinkTLS{Cert: cert, Key: key, Fingerprints: []config.Fingerprint{config.Fingerprint(ircdPair.Fingerprint())}}
	})
	ircdConf := &tls.Config{Certificates: []tls.Certificate{ircdPair.Cert}, ClientAuth: tls.RequireAnyClientCert}
	c, err := net.Dial("tcp", r.door("services.example"))
	if err != nil {
		t.Fatal(err)
	}
	peerConn := tls.Client(c, &tls.Config{Certificates: []tls.Certificate{peerPair.Cert}, RootCAs: ours.Roots(), ServerName: "ferry.test"})
	shaken := background(peerConn.Handshake)
	ircdConn := over(t, r.ircds["a"], ircdConf)
	r.must("ircd's handshake", background(ircdConn.Handshake))
	r.must("peer's handshake", shaken)
	if got := ircdConn.ConnectionState().PeerCertificates; len(got) == 0 || string(config.FingerprintOf(got[0])) != ours.Fingerprint() {
		t.Error("the ircd was not shown our certificate")
	}
	peer, ircd := newEnd(t, "peer", peerConn), newEnd(t, "ircd", ircdConn)
	r.handshake(peer, ircd, anope)
	h := r.hold(anope, ircd)
	r.cut(h, peer, ircd, "tx1")
	h.Part()
	done := background(func() error { return h.Replay(r.ctx(), r.replayOf("tx2")) })
	next := over(t, r.ircds["a"], ircdConf)
	ircd = newEnd(t, "ircd", next)
	r.takeReplay(anope, ircd, "InspIRCd-3 one")
	r.must("replay", done)
	r.live(h, ircd, "tx2")
	h.End(nil)
	peer.expect(":00AAAAAAC MODE 00AAAAAAC -o")
	peer.Close()
	ircd.ended()
}

// Whoever has another certificate, or none, becomes no link, and the ircd hears nothing.
func TestAStrangersCertificateIsRefused(t *testing.T) {
	_, cert, key := pairFiles(t, "ferry.test")
	peerPair, _, _ := pairFiles(t, "services.test")
	stranger, _, _ := pairFiles(t, "services.test")
	r := newRig(t, func(p *config.Pool) {
		p.Links[0].TLS = &config.LinkTLS{Cert: cert, Key: key, Fingerprints: []config.Fingerprint{config.Fingerprint(peerPair.Fingerprint())}}
	})
	for _, shown := range [][]tls.Certificate{nil, {stranger.Cert}} {
		c, err := net.Dial("tcp", r.door("services.example"))
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		conn := tls.Client(c, &tls.Config{Certificates: shown, InsecureSkipVerify: true})
		if err := conn.Handshake(); err == nil {
			_, err = conn.Read(make([]byte, 1)) // TLS 1.3 tells it then
			if err == nil {
				t.Error("the peer was let in")
			}
		}
		c.Close()
	}
	r.until("both are refused", func() bool { return r.set.Links()[0].Refused == 2 })
	r.until("the log says why", func() bool { return strings.Contains(r.log.String(), "reason=tls") }) // which is behind the count
	r.ircds["a"].(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Millisecond))
	if c, err := r.ircds["a"].Accept(); err == nil {
		c.Close()
		t.Error("the ircd was dialled")
	}
}

// An ircd's port for servers that shows another certificate is nobody to say a password to.
func TestAnIrcdsCertificateIsLookedAt(t *testing.T) {
	known, _, _ := pairFiles(t, "ircd.test")
	stranger, _, _ := pairFiles(t, "ircd.test")
	r := newRig(t, func(p *config.Pool) {
		p.Backends[0].Servers.TLS = &config.LinkTLS{Fingerprints: []config.Fingerprint{config.Fingerprint(known.Fingerprint())}}
	})
	peer := r.dial("services.example")
	conn := over(t, r.ircds["a"], &tls.Config{Certificates: []tls.Certificate{stranger.Cert}})
	conn.Handshake()
	if b := make([]byte, 1); conn.ConnectionState().HandshakeComplete {
		if n, _ := conn.Read(b); n > 0 {
			t.Error("the ircd was told something")
		}
	}
	peer.ended()
	r.until("the log says whose certificate it was", func() bool { return strings.Contains(r.log.String(), stranger.Fingerprint()) })
}

// An ircd that ends itself says marker, farewell and close_notify in one breath, perhaps before the move asks for the marker. What stands behind the marker,
// its end too, is not worked off until it is known whose it is.
func TestTheEndBehindAMarkerWaits(t *testing.T) {
	ways(t, func(t *testing.T, r *rig, connect func(*rig) (peer, ircd *end)) {
		peer, ircd := connect(r)
		r.handshake(peer, ircd, anope)
		h := r.hold(anope, ircd)
		ircd.say(":00A PRIVMSG #sea :last", ":00A METADATA * ircferry :tx1", ":00A SQUIT 00S :restart", "ERROR :restart")
		ircd.Conn.(interface{ CloseWrite() error }).CloseWrite() // over TLS close_notify alone, and no FIN
		peer.expect(":00A PRIVMSG #sea :last")
		peer.silent(50 * time.Millisecond)
		r.must("cut", background(func() error { return h.Cut(r.ctx(), "tx1") }))
		peer.silent(20 * time.Millisecond)
		h.Resume() // the move is taken back: now it is an end like any other
		peer.expect(":00A SQUIT 00S :restart", "ERROR :restart")
		peer.ended()
		h.End(nil)
	})
}
