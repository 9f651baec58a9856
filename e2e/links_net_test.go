//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// peer is what is linked to the ircd whose users are moved.
type peer struct {
	name     string
	services *servicesKind // nil: none
	behind   bool          // services are linked to the leaf, and not to the ircd itself
	leaf     bool
	kept     bool // ircferry has a keeper
	far      bool // another server is linked to the leaf, and its users are those of the other side

	past  bool   // the links do not lead through ircferry
	alone bool   // the ircd has no twin
	link  string // of ircferry's configuration: more for each link
	hub   string // more for the servers of each backend
	ferry string // and more for all
}

// linkNet is a network: InspIRCd with links, each peer behind a tap, and ircferry between, or nothing.
type linkNet struct {
	t       *testing.T
	v       *inspVersion
	direct  bool
	hubs    []*nativeInspIRCd
	servers []int               // the hubs' ports for servers
	behind  []*linkTap          // before each of those ports
	dials   *linkTap            // between the first hub, if it dials its peer itself, and ircferry
	taps    map[string]*linkTap // between a peer and ircferry
	control []*tap              // before the hubs' control sockets
	f       *ferry
	keeps   bool       // ircferry has a keeper
	kept    *keptFerry // then: f
	http    string     // ircferry's address for metrics

	services *servicesProc
	leaf     *leafIRCd
	far      *leafIRCd // behind the leaf, or nil
	uplink   *linkTap  // of services
	root     *irc      // an operator of the hub

	withServices *servicesCast // who try things
	withLeaf     *leafCast
}

// newHub is an InspIRCd with the links of our snippet; conf is more of its configuration.
func (v *inspVersion) newHub(t *testing.T, name, conf string) (hub *nativeInspIRCd, servers int) {
	t.Helper()
	hub, servers = v.new(t, name), freePort(t)
	links := strings.NewReplacer("7000", fmt.Sprint(servers), `<module name="spanningtree">`, "").Replace(readFile("../configs/inspircd/links.conf"))
	writeFile(t, filepath.Join(hub.dir, "links.conf"), links)
	text := inNetwork.Replace(readFile(hub.conf))
	writeFile(t, hub.conf, text+`<include file="`+hub.dir+`/links.conf">`+"\n"+v.networkModules()+conf)
	return hub, servers
}

// inNetwork is what a network changes in the configuration of a single ircd.
var inNetwork = strings.NewReplacer(`<sasl target="services.test">`, "", `<options `, `<options serverpingfreq="10s" pingwarning="3s" `, `threshold="1000"`, `threshold="100000"`, `hardsendq="1M"`, `hardsendq="16M"`)

// networkModules are those that a network with services has besides.
func (v *inspVersion) networkModules() string {
	var b strings.Builder
	for _, name := range strings.Fields(v.either("mlock topiclock servprotect cban shun rmode", "cban shun rmode")) {
		fmt.Fprintf(&b, "<module name=%q>\n", name)
	}
	return b.String()
}

// leafIRCd is another server of the network: an InspIRCd without our module.
type leafIRCd struct {
	t       *testing.T
	dir     string
	conf    string
	port    int
	servers int // its port for servers that link to it
	args    []string
	proc    *process
}

// newLeaf makes the configuration of a leaf whose link leads to a port; run starts it.
func (v *inspVersion) newLeaf(t *testing.T, hub int) *leafIRCd {
	t.Helper()
	l := v.newServer(t, leafName, leafSID, hubName, hub)
	l.servers = freePort(t)
	below := fmt.Sprintf("<bind address=\"127.0.0.1\" port=\"%d\" type=\"servers\">\n", l.servers)
	for _, name := range []string{farName, servicesName} {
		below += fmt.Sprintf("<link name=%q ipaddr=\"127.0.0.1\" port=\"1\" allowmask=\"127.0.0.0/8\" sendpass=\"linkpw\" recvpass=\"linkpw\">\n", name)
	}
	writeFile(t, l.conf, readFile(l.conf)+below)
	return l
}

// newServer makes the configuration of a server that links itself to another one.
func (v *inspVersion) newServer(t *testing.T, name, sid, to string, port int) *leafIRCd {
	t.Helper()
	v.need(t)
	l := &leafIRCd{t: t, dir: shortDir(t), port: freePort(t)}
	l.conf = filepath.Join(l.dir, "inspircd.conf")
	text := strings.NewReplacer("@RUN@", l.dir, "@MODULES@", v.modules, "@NAME@", name, "@SID@", sid, "@LOG@", v.either("default", "normal"),
		"@PORT@", fmt.Sprint(l.port), `<include file="`+"@RUN@"+`/handoff.conf">`, "").
		Replace(inNetwork.Replace(readFile(v.either("testdata/inspircd-handoff.conf", "testdata/inspircd-handoff-4.conf"))))
	link := strings.NewReplacer("irc.example", to, "7101", fmt.Sprint(port), "60s", "1s", `<module name="spanningtree">`, "").Replace(readFile("../configs/inspircd/leaf.conf"))
	writeFile(t, l.conf, text+link+v.networkModules()+`<uline server="`+servicesName+`" silent="yes"><services server="`+servicesName+`" silent="yes"><sasl target="`+servicesName+`">`+"\n")
	l.args = []string{v.wrapper(t, l.dir), "--config=" + l.conf, "--nofork", "--runasroot"}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s:\n%s", name, lastLines(readFile(filepath.Join(l.dir, "ircd.log")), 30))
		}
	})
	return l
}

func (l *leafIRCd) run() {
	l.t.Helper()
	l.proc = start(l.t, nil, l.args[0], l.args[1:]...)
	awaitPort(l.t, l.port, l.proc)
}

// newNet starts a network. With direct nothing is between the ircd and its peers but the taps.
func newNet(t *testing.T, v *inspVersion, p peer, hubs int, direct bool) *linkNet {
	t.Helper()
	n := &linkNet{t: t, v: v, direct: direct, keeps: p.kept, taps: make(map[string]*linkTap)}
	for k := range hubs {
		hub, servers := v.newHub(t, string(rune('a'+k)), "")
		n.hubs, n.servers = append(n.hubs, hub), append(n.servers, servers)
		n.behind = append(n.behind, newLinkTap(t, servers))
		n.control = append(n.control, newTap(t, hub.handoff()))
		hub.run()
	}
	names := p.links()
	listens := make(map[string]int)
	for _, name := range names {
		listens[name] = n.servers[0]
		if !direct && !p.past {
			listens[name] = freePort(t)
		}
		n.taps[name] = newLinkTap(t, listens[name])
	}
	if !direct {
		n.startFerry(p, listens)
	}
	if p.leaf {
		n.leaf = v.newLeaf(t, n.taps[leafName].port)
		n.leaf.run()
	}
	if p.far {
		n.far = v.newServer(t, farName, farSID, leafName, n.leaf.servers)
		n.far.run()
	}
	if n.uplink = n.taps[servicesName]; p.behind {
		n.uplink = newLinkTap(t, n.leaf.servers)
	}
	if p.services != nil {
		n.services = p.services.start(t, n.uplink.port)
	}
	n.awaitLinks()
	return n
}

func (p peer) links() (names []string) {
	if p.services != nil && !p.behind {
		names = append(names, servicesName)
	}
	if p.leaf {
		names = append(names, leafName)
	}
	return names
}

// awaitLinks returns when all links are up and their bursts through.
func (n *linkNet) awaitLinks() {
	n.t.Helper()
	for name := range n.taps {
		for _, up := range []bool{true, false} {
			n.taps[name].saw(name, up, 0, ` (ENDBURST|EOB)$`)
		}
	}
	n.root = n.login("root")
	n.root.send("OPER root rootpw")
	n.root.expect(" 381 ")
	names := slices.Collect(maps.Keys(n.taps))
	if n.far != nil {
		names = append(names, farName)
	}
	if n.services != nil {
		names = append(names, servicesName)
	}
	for _, name := range names {
		eventually(n.t, 30*time.Second, name+" is in LINKS", func() bool {
			return strings.Contains(strings.Join(n.root.ask("LINKS"), "\n"), name)
		})
	}
}

// startFerry has a listener for clients, and one for each link.
func (n *linkNet) startFerry(p peer, listens map[string]int) {
	n.t.Helper()
	n.f = &ferry{t: n.t, dir: shortDir(n.t), port: freePort(n.t)}
	var backends []string
	for k, hub := range n.hubs {
		if p.past {
			backends = append(backends, fmt.Sprintf("{name: %s, handoff: %q}", hub.name, n.control[k].handoff()))
			continue
		}
		backends = append(backends, fmt.Sprintf("{name: %s, handoff: %q, servers: {address: \"127.0.0.1:%d\"%s}}", hub.name, n.control[k].handoff(), n.behind[k].port, p.hub))
	}
	links := ""
	for k, name := range p.links() {
		if p.past {
			break
		}
		if k == 0 {
			links = "    links:\n"
		}
		links += fmt.Sprintf("      - {name: %s, listen: \"127.0.0.1:%d\"%s}\n", name, listens[name], p.link)
	}
	n.http = fmt.Sprintf("127.0.0.1:%d", freePort(n.t))
	text := strings.Replace(config(n.f.dir, n.f.port, "", backends...), `http: {address: ""}`, fmt.Sprintf("http: {address: %q}", n.http), 1)
	n.f.writeConfig(strings.Replace(text, "state: ", links+"state: ", 1) + p.ferry)
	if n.keeps {
		n.kept = &keptFerry{ferry: n.f, socket: filepath.Join(n.f.dir, "k", "s")}
		n.kept.startKeeper()
		n.kept.run()
	} else {
		n.f.run(nil)
	}
	proc := n.f.proc
	n.t.Cleanup(func() {
		if n.t.Failed() {
			n.t.Logf("what ircferry logged of links and moves:\n%s", linesWith(proc.out.String(), "component=link", "component=handoff"))
		}
	})
}

// linesWith are those that have one of the words in them.
func linesWith(text string, words ...string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// login is a user of the hub, through ircferry if it is there.
func (n *linkNet) login(nick string) *irc {
	n.t.Helper()
	return login(n.t, n.port(), "127.0.0.1", nick)
}

func (n *linkNet) port() int {
	if n.direct {
		return n.hubs[0].port
	}
	return n.f.port
}

// there is a user of the other side.
func (n *linkNet) there(nick string) *irc {
	n.t.Helper()
	return login(n.t, n.away().port, "127.0.0.1", nick)
}

// away is the server of the other side: the leaf, or the one behind it.
func (n *linkNet) away() *leafIRCd {
	if n.far != nil {
		return n.far
	}
	return n.leaf
}

// ask is all that comes until the ircd has read a command. What it asks of other servers for comes later: see irc.expect.
func (c *irc) ask(line string) []string {
	c.t.Helper()
	begin := c.count()
	c.send(line)
	c.fence()
	lines := c.since(begin)
	if len(lines) > 0 {
		lines = lines[:len(lines)-1] // of the fence
	}
	return lines
}

// skip forgets what has come until now: expect looks at what comes from here on.
func (c *irc) skip() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = len(c.lines)
}

// says sends and waits for the answer.
func (c *irc) says(line, want string) string {
	c.t.Helper()
	c.skip()
	c.send(line)
	return c.expect(want)
}
