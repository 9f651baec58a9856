//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hybrid starts ircd-hybrid, which cannot be installed beside ngIRCd: make deps unpacks it aside, and a mount namespace puts it where it
// looks for its modules. It returns its client port.
func hybrid(t *testing.T) int {
	t.Helper()
	return hybridWith(t, "", "")
}

// hybridWith is hybrid with another text in the place of one of its configuration.
func hybridWith(t *testing.T, old, now string) int {
	t.Helper()
	return hybridEdited(t, func(conf string) string { return strings.Replace(conf, old, now, 1) })
}

// hybridEdited is hybrid with its configuration edited.
func hybridEdited(t *testing.T, edit func(string) string) int {
	t.Helper()
	port, command := hybridCommand(t, edit)
	awaitPort(t, port, start(t, nil, command[0], command[1:]...))
	return port
}

// hybridCommand is what starts an ircd-hybrid, with its configuration edited.
func hybridCommand(t *testing.T, edit func(string) string) (port int, command []string) {
	t.Helper()
	const aside = "/usr/local/lib/ircferry-deps"
	program := filepath.Join(aside, "usr/sbin/ircd-hybrid")
	if _, err := os.Stat(program); err != nil {
		t.Skipf("no ircd-hybrid in %s (make deps unpacks it there)", aside)
	}
	overlay := "mount -t overlay overlay -o lowerdir=" + aside + "/usr/lib:/usr/lib /usr/lib"
	if out, err := exec.Command("unshare", "-m", "sh", "-c", overlay).CombinedOutput(); err != nil {
		t.Skipf("no overlay mount in a namespace here: %v %s", err, out)
	}
	port, conf := ircdConfig(t, "ircd-hybrid.conf", "hy.example.org")
	writeFile(t, conf, edit(readFile(conf)))
	dir := filepath.Dir(conf)
	for path, mode := range map[string]os.FileMode{dir: 0o777, conf: 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	run := fmt.Sprintf(`%s && exec setpriv --reuid=65534 --regid=65534 --clear-groups %s -foreground -configfile %s -logfile %s/log -pidfile %s/pid`,
		overlay, program, conf, dir, dir)
	return port, []string{"unshare", "-m", "sh", "-c", run}
}

// inspircdWith starts InspIRCd with a client port that wants no PROXY header, and more text in its configuration.
func inspircdWith(t *testing.T, v *inspVersion, more string) (port int) {
	t.Helper()
	v.need(t)
	port, conf := v.stockConfig(t)
	text := strings.Replace(readFile(conf), ` hook="haproxy"`, "", 1)
	writeFile(t, conf, more+"\n"+text)
	awaitPort(t, port, start(t, nil, v.wrapper(t, filepath.Dir(conf)), "--config="+conf, "--nofork", "--runasroot"))
	return port
}

// checked is a daemon whose backend is checked by irc, or however else check says, and what ircferry check says of it.
func checked(t *testing.T, check, backend string) (f *ferry, says string, code int) {
	t.Helper()
	f = newFerry(t, "", backend)
	f.writeConfig(strings.Replace(readFile(f.configFile()), "check: {inter: 1s", "check: {"+check+", inter: 1s", 1))
	p := start(t, nil, binary("ircferry"), "check", "-c", f.configFile())
	code = p.await(20 * time.Second)
	f.run(nil)
	return f, p.out.String(), code
}

func (f *ferry) shows(t *testing.T, what string, args ...string) string {
	t.Helper()
	var out string
	eventually(t, 20*time.Second, strings.Join(args, " ")+" says "+what, func() bool {
		out, _ = f.ctl(args...)
		return strings.Contains(out, what)
	})
	return out
}

func secret(t *testing.T, word string) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "password")
	writeFile(t, path, word+"\n")
	return path
}

// refused are clients that say who they are and are thrown out.
func refusedClients(t *testing.T, f *ferry, n int) {
	t.Helper()
	for i := range n {
		c := dial(t, f.port, fmt.Sprintf("127.0.7.%d", i+1), "")
		c.nick = fmt.Sprintf("gil%d", i)
		c.send("NICK " + c.nick)
		c.send("USER gil 0 * :gil")
		eventually(t, 20*time.Second, "the end of "+c.nick, func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.err != nil
		})
		_ = c.conn.Close() // else its session waits half a minute for that, as half_closed in the log of whatever fails behind it
	}
}

// Issue 10, 5: an ircd that does not believe who a client is. ngIRCd goes on with the proxy's address, for everybody.
func TestFieldNgIRCdDoesNotBelieve(t *testing.T) {
	port := ngircd(t)
	backend := func(word string) string {
		return relay(port, ", identity: webirc, webirc_after: user, webirc_password_file: "+secret(t, word))
	}
	f, says, code := checked(t, "type: irc", backend("wrong"))
	if code != 1 || !strings.Contains(says, "error: pools.main.backends[0]") || !strings.Contains(says, "does not believe who a client is") {
		t.Errorf("check: exit %d\n%s", code, says)
	}
	f.shows(t, "does not believe who a client is", "status")
	f.shows(t, "not believed", "events")
	login(t, f.port, "127.0.9.9", "ann").fence() // it is no reason to keep everybody out

	good, says, code := checked(t, "type: irc", backend("webpass"))
	if code != 0 || !strings.Contains(says, "shows the address that it is told") {
		t.Errorf("check: exit %d\n%s", code, says)
	}
	login(t, good.port, "127.0.9.9", "ben").fence()
	if out, _ := good.ctl("status"); strings.Contains(out, "believe") {
		t.Errorf("status:\n%s", out)
	}
}

// ircd-hybrid throws everybody out, and says why.
func TestFieldHybridThrowsOut(t *testing.T) {
	port := hybrid(t)
	backend := func(word string) string {
		return relay(port, ", identity: webirc, webirc_password_file: "+secret(t, word))
	}
	const words = "ERROR :Closing Link: * (Not a WebIRC auth block)"
	f, says, code := checked(t, "type: tcp", backend("wrong"))
	if code != 1 || !strings.Contains(says, "error: pools.main.backends[0]") || !strings.Contains(says, words) {
		t.Errorf("check: exit %d\n%s", code, says)
	}
	f.shows(t, " up ", "show", "backends")
	refusedClients(t, f, 4)
	f.shows(t, words, "status")
	eventually(t, 20*time.Second, "the refusal is logged", func() bool { return strings.Contains(f.proc.out.String(), "backend refusing") })
	if n := strings.Count(f.proc.out.String(), "backend refusing"); n != 1 {
		t.Errorf("the refusal is logged %d times", n)
	}

	f, _, _ = checked(t, "type: irc", backend("wrong"))
	f.shows(t, words, "show", "backends")
	f.shows(t, " down ", "show", "backends")

	f, says, code = checked(t, "type: irc", backend("webpass"))
	if code != 0 || !strings.Contains(says, "shows the address that it is told") {
		t.Errorf("check: exit %d\n%s", code, says)
	}
	f.shows(t, " up ", "show", "backends")
	seesTheAddress(t, f)
}

// InspIRCd throws them out, too.
func TestFieldInspIRCdThrowsOut(t *testing.T) { onBoth(t, inspIRCdThrowsOut) }

func inspIRCdThrowsOut(t *testing.T, v *inspVersion) {
	port := inspircdWith(t, v, v.either(`<module name="cgiirc"><cgihost type="webirc" password="webpass" mask="127.0.0.1">`,
		`<module name="gateway"><gateway type="webirc" password="webpass" mask="127.0.0.1">`))
	backend := func(word string) string {
		return relay(port, ", identity: webirc, webirc_password_file: "+secret(t, word))
	}
	words := v.either("WEBIRC: you don't match any configured WebIRC hosts", "WEBIRC: ")
	f, says, code := checked(t, "type: irc", backend("wrong"))
	if code != 1 || !strings.Contains(says, words) {
		t.Errorf("check: exit %d\n%s", code, says)
	}
	f.shows(t, words, "show", "backends")
	f, says, code = checked(t, "type: irc", backend("webpass"))
	if code != 0 || !strings.Contains(says, "shows the address that it is told") {
		t.Errorf("check: exit %d\n%s", code, says)
	}
	f.shows(t, " up ", "show", "backends")
	seesTheAddress(t, f)
}

// A PROXY header to a port that knows none: the ircd takes it for a line that it does not know, and everybody for us.
func TestFieldPortWithoutPROXY(t *testing.T) { onBoth(t, portWithoutPROXY) }

func portWithoutPROXY(t *testing.T, v *inspVersion) {
	port := inspircdWith(t, v, "")
	_, says, code := checked(t, "type: irc", relay(port, ", identity: proxy-v1"))
	if code != 1 || !strings.Contains(says, "does not believe who a client is") {
		t.Errorf("check: exit %d\n%s", code, says)
	}
}

func seesTheAddress(t *testing.T, f *ferry) {
	t.Helper()
	c := login(t, f.port, "127.0.9.9", "ann")
	before := c.count()
	c.send("WHOIS ann")
	c.expect(" 318 ")
	if whois := strings.Join(c.since(before), "\n"); !strings.Contains(whois, "127.0.9.9") {
		t.Errorf("WHOIS says\n%s", whois)
	}
}

// Issue 10, 2 (inspircd/docker#66): the ircd has banned the proxy, or has no room for it. Its port answers all the same.
func TestFieldIrcdRefusesTheProxy(t *testing.T) { onBoth(t, ircdRefusesTheProxy) }

func ircdRefusesTheProxy(t *testing.T, v *inspVersion) {
	for name, c := range map[string]struct{ more, words string }{
		"banned": {`<badip ipmask="127.0.0.1" reason="too many checks">`, "too many checks"},
		"K-line": {`<badhost host="*@127.0.0.1" reason="no proxies">`, "no proxies"},
	} {
		t.Run(name, func(t *testing.T) {
			port := inspircdWith(t, v, c.more)
			f, says, _ := checked(t, "type: irc", relay(port, ""))
			if !strings.Contains(says, c.words) || strings.Contains(says, "answers as an ircd does") {
				t.Errorf("check:\n%s", says)
			}
			f.shows(t, c.words, "show", "backends")
			f.shows(t, " down ", "show", "backends")
			f, _, _ = checked(t, "type: tcp", relay(port, ""))
			refusedClients(t, f, 3)
			f.shows(t, c.words, "status")
			f.shows(t, "refusing", "events")
		})
	}
}

// ngIRCd counts the proxy's address for all clients: one too many is told ERROR and nothing else, and so is the check.
func TestFieldNgIRCdIsFull(t *testing.T) {
	program := need(t, "ngircd", "ngircd")
	port, conf := ircdConfig(t, "ngircd.conf", "ng.example.org")
	writeFile(t, conf, strings.Replace(readFile(conf), "MaxConnectionsIP = 0", "MaxConnectionsIP = 3", 1))
	awaitPort(t, port, start(t, nil, program, "--nodaemon", "--config", conf))
	const words = "too many connections from your IP"
	f, _, code := checked(t, "type: irc", relay(port, ""))
	if code != 0 {
		t.Error("check does not let an ircd pass that is not full yet")
	}
	f.shows(t, " up ", "show", "backends")
	login(t, f.port, "127.0.0.1", "ann")
	login(t, f.port, "127.0.0.1", "ben")
	eventually(t, 20*time.Second, "the third is in, between two checks", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = conn.Write([]byte("NICK cat\r\nUSER cat 0 * :cat\r\n"))
		_ = conn.SetReadDeadline(time.Now().Add(slack))
		buf := make([]byte, 4096)
		n, _ := conn.Read(buf)
		return strings.Contains(string(buf[:n]), " 001 ")
	})
	f.shows(t, words, "show", "backends")
}

// Issue 10, 12: after a check with a PROXY header InspIRCd kept an unknown connection for its registration timeout.
func TestFieldChecksLeaveNothingBehind(t *testing.T) { onBoth(t, checksLeaveNothingBehind) }

func checksLeaveNothingBehind(t *testing.T, v *inspVersion) {
	port := inspircd(t, v)
	for i, check := range []string{"type: tcp", "type: irc"} {
		f, _, _ := checked(t, check, relay(port, ", identity: proxy-v2"))
		f.writeConfig(strings.Replace(readFile(f.configFile()), "inter: 1s", "inter: 20ms", 1))
		f.writeConfig(strings.Replace(readFile(f.configFile()), "timeout: 1s", "timeout: 20ms", 1))
		if out, code := f.ctl("reload"); code != 0 {
			t.Fatal(out)
		}
		f.shows(t, " up ", "show", "backends")
		c := login(t, f.port, "127.0.0.1", fmt.Sprintf("ann%d", i))
		eventually(t, 20*time.Second, "thirty checks", func() bool {
			c.send("LUSERS")
			return strings.Contains(c.expect(" 255 "), " 255 ") && len(c.since(0)) > 120
		})
		first, last := -1, 0
		for _, line := range c.since(0) {
			if words := strings.Fields(line); len(words) > 3 && words[1] == "253" {
				fmt.Sscan(words[3], &last)
			}
			if first < 0 && strings.Contains(line, " 255 ") {
				first = last // of those that were there before, and no check's
			}
		}
		if last > first+2 {
			t.Errorf("%s: %d unknown connections became %d", check, first, last)
		}
	}
}

// Issue 10, 13: the snippets of configs/ircds as they stand, with a limit of two for one address. It means the client's own, and never ircferry's.
func TestFieldCloneLimits(t *testing.T) { onBoth(t, cloneLimits) }

func cloneLimits(t *testing.T, v *inspVersion) {
	port, conf := v.stockConfig(t)
	text := strings.NewReplacer(`localmax="1000" globalmax="1000"`, `localmax="2" globalmax="2"`, `clonesonconnect="no"`, `clonesonconnect="yes"`).Replace(readFile(conf))
	cut := strings.Index(text, `<module name="haproxy">`)
	snippet := strings.ReplaceAll(readFile("../configs/ircds/inspircd.conf"), "6670", fmt.Sprint(port))
	writeFile(t, conf, text[:cut]+snippet+text[strings.Index(text, "# The class is"):])
	awaitPort(t, port, start(t, nil, v.wrapper(t, filepath.Dir(conf)), "--config="+conf, "--nofork", "--runasroot"))
	twoOfAnAddress(t, relay(port, ", identity: proxy-v2, proxy_tlvs: [ssl]"))
}

func TestFieldCloneLimitsOfHybrid(t *testing.T) {
	port := hybridWith(t, "number_per_ip_local = 1000; number_per_ip_global = 1000", "number_per_ip_local = 2; number_per_ip_global = 2")
	twoOfAnAddress(t, relay(port, ", identity: webirc, webirc_password_file: "+secret(t, "webpass")))
}

// twoOfAnAddress: an ircd takes two clients of an address and no third one, while ircferry's checks go on.
func twoOfAnAddress(t *testing.T, backend string) {
	t.Helper()
	f, says, code := checked(t, "type: irc", backend)
	if code != 0 {
		t.Errorf("check does not let it pass:\n%s", says)
	}
	for i, from := range []string{"127.0.9.1", "127.0.9.1", "127.0.9.2", "127.0.9.2", "127.0.9.3"} {
		login(t, f.port, from, fmt.Sprintf("ann%d", i)).fence()
	}
	c := dial(t, f.port, "127.0.9.1", "")
	c.nick = "third"
	c.send("NICK third")
	c.send("USER third 0 * :third")
	c.expect("ERROR")
	f.shows(t, " up ", "show", "backends")
}
