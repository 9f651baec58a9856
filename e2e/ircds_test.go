//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ngircd starts ngIRCd and returns its client port.
func ngircd(t *testing.T) int {
	t.Helper()
	program := need(t, "ngircd", "ngircd")
	port, conf := ircdConfig(t, "ngircd.conf", "ng.example.org")
	awaitPort(t, port, start(t, nil, program, "--nodaemon", "--config", conf))
	return port
}

// inspircd starts InspIRCd and returns its client port, which wants a PROXY v2 header.
func inspircd(t *testing.T, v *inspVersion) int {
	t.Helper()
	v.need(t)
	port, conf := v.stockConfig(t)
	awaitPort(t, port, start(t, nil, v.wrapper(t, filepath.Dir(conf)), "--config="+conf, "--nofork", "--runasroot"))
	return port
}

// ircdConfig fills a configuration of testdata in and writes it into a directory of its own.
func ircdConfig(t *testing.T, file, name string) (port int, conf string) {
	t.Helper()
	dir := shortDir(t)
	port = freePort(t)
	conf = filepath.Join(dir, file)
	text := strings.NewReplacer("@RUN@", dir, "@NAME@", name, "@PORT@", fmt.Sprint(port)).
		Replace(readFile(filepath.Join("testdata", file)))
	writeFile(t, conf, text)
	return port, conf
}

// TestClientsDirect tries the drivers without a proxy, so that a red test below is known to be about ircferry.
func TestClientsDirect(t *testing.T) {
	clientsWork(t, ngircd(t))
}

// Who the ircds see: the client's own address, also the one that a balancer in front names in a PROXY header.
const trusted = "    proxy_protocol: {from: [127.0.0.2/32]}"

func TestInspIRCdSeesTheClient(t *testing.T) { onBoth(t, inspIRCdSeesTheClient) }

func inspIRCdSeesTheClient(t *testing.T, v *inspVersion) {
	port := inspircd(t, v)
	seesTheClient(t, startFerry(t, nil, trusted, relay(port, ", identity: proxy-v2")))
}

func TestNgIRCdSeesTheClient(t *testing.T) {
	t.Parallel() // most of it is waiting for the ircds
	port := ngircd(t)
	password := filepath.Join(shortDir(t), "password")
	writeFile(t, password, "webpass\n")
	seesTheClient(t, startFerry(t, nil, trusted, relay(port, ", identity: webirc, webirc_after: user, webirc_password_file: "+password)))
}

func TestEmbeddedSeesTheClientByProxyV1(t *testing.T) {
	port := freePort(t)
	startEmbedded(t, "a", "--proxy-v1", "--listen", fmt.Sprintf("127.0.0.1:%d", port))
	seesTheClient(t, startFerry(t, nil, trusted, relay(port, ", identity: proxy-v1")))
}

func seesTheClient(t *testing.T, f *ferry) {
	t.Helper()
	comeBothWays(t, f)
	clientsWork(t, f.port)
}

// comeBothWays lets in a client that comes itself and one behind a trusted proxy; the ircd must see both addresses.
func comeBothWays(t *testing.T, f *ferry) (direct, behind *irc) {
	t.Helper()
	direct = login(t, f.port, "127.0.9.9", "ann")
	behind = dial(t, f.port, "127.0.0.2", "PROXY TCP4 203.0.113.7 192.0.2.1 40000 6667\r\n")
	behind.register("ben")
	for c, address := range map[*irc]string{direct: "127.0.9.9", behind: "203.0.113.7"} {
		before := c.count()
		c.send("WHOIS " + c.nick)
		c.expect(" 318 ")
		if whois := strings.Join(c.since(before), "\n"); !strings.Contains(whois, address) {
			t.Errorf("%s is %s, but WHOIS says:\n%s", c.nick, address, whois)
		}
	}
	return direct, behind
}

// firstSteps are an operator's with an ircd that has the driver: ircferry check, clients, restarts in place.
func firstSteps(t *testing.T, backend string, restart func(*ferry) result) {
	t.Helper()
	f := startFerry(t, nil, trusted, backend)
	check := start(t, nil, binary("ircferry"), "check", "--strict", "-c", f.configFile())
	if code := check.await(10 * time.Second); code != 0 {
		t.Errorf("ircferry check: exit %d\n%s", code, check.out.String())
	}
	direct, behind := comeBothWays(t, f)
	for n := range 3 {
		t.Logf("restart %d: %+v", n, restart(f))
		direct.fence()
		behind.fence()
	}
}

// clientsWork has real clients join and talk through the proxy.
func clientsWork(t *testing.T, port int) {
	t.Helper()
	observer := login(t, port, "127.0.0.1", "eye")
	observer.send("JOIN " + channel)
	observer.expect(" 366 ")
	for _, begin := range []func(*testing.T, int) realClient{weechat, irssi, sic} {
		c := begin(t, port)
		c.reportOnFailure(t)
		observer.expect(":" + c.nick + "!")
		c.talk()
		for n := 1; n <= 3; n++ {
			observer.expect(fmt.Sprintf("PRIVMSG %s :%s %d", channel, c.nick, n))
			observer.send(fmt.Sprintf("PRIVMSG %s :eye %d", channel, n))
		}
		eventually(t, 10*time.Second, c.nick+" shows what the observer says", func() bool { return times(c.log(), "eye")[3] == 1 })
	}
}
