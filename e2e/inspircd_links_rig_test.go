//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// linkPeer is the server at the other end of a link, played by hand in one dialect of InspIRCd's server protocol. It is its coordinator too: what a
// new process is told in a replay goes over a connection of its own, as if the peer had said it.
type linkPeer struct {
	t         *testing.T
	v         *inspVersion
	link      protocol.LinkSelection
	conn      net.Conn
	r         *bufio.Reader
	fences    int
	heard     []string // all lines from the ircd since the connection began
	swallowed int      // how many of them stood before the last marker
}

// mayLink adds a port for servers to the configuration, and links for these names.
func (i *nativeInspIRCd) mayLink(names ...string) (port int) {
	port = freePort(i.t)
	more := fmt.Sprintf("\n<bind address=\"127.0.0.1\" port=\"%d\" type=\"servers\">\n", port)
	for _, name := range names {
		more += fmt.Sprintf("<link name=%q ipaddr=\"127.0.0.1\" port=\"1\" allowmask=\"127.0.0.0/8\" sendpass=\"theirs\" recvpass=\"ours\">\n", name)
	}
	writeFile(i.t, i.conf, readFile(i.conf)+more)
	return port
}

// connect opens the connection and introduces the peer, up to the end of the ircd's burst.
func (p *linkPeer) connect(port int) {
	p.t.Helper()
	p.dial(port)
	hops := "0 "
	if p.link.Proto >= 1206 {
		hops = ""
	}
	p.say(fmt.Sprintf("CAPAB START %d", p.link.Proto), "CAPAB END", fmt.Sprintf("SERVER %s ours %s%s :played by hand", p.link.Name, hops, p.link.SID))
	p.awaitLine("SERVER ")
	p.say(fmt.Sprintf("BURST %d", time.Now().Unix()))
	p.awaitLine(":1AA ENDBURST")
}

func (p *linkPeer) dial(port int) {
	p.t.Helper()
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), slack)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	p.conn, p.r, p.heard, p.swallowed = conn, bufio.NewReader(conn), nil, 0
}

func (p *linkPeer) say(lines ...string) {
	p.t.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(slack))
	if _, err := io.WriteString(p.conn, strings.Join(lines, "\n")+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// sayPaced says many lines in pieces of at most 8,000 bytes: InspIRCd reads 10 KiB a turn, and an idle one turns once a second.
func (p *linkPeer) sayPaced(lines []string) {
	p.t.Helper()
	size, begin := 0, 0
	for i, line := range lines {
		if size += len(line) + 1; size > 7900 {
			p.say(lines[begin:i]...)
			p.fence()
			size, begin = len(line)+1, i
		}
	}
	if begin < len(lines) {
		p.say(lines[begin:]...)
		p.fence()
	}
}

// next is the next line of the ircd; io.EOF: it has closed.
func (p *linkPeer) next() (string, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(slack))
	line, err := p.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if strings.HasPrefix(line, "@") { // tags
		_, line, _ = strings.Cut(line, " ")
	}
	p.heard = append(p.heard, line)
	return line, nil
}

// awaitLine reads up to a line that begins so, and answers those before it.
func (p *linkPeer) awaitLine(prefix string) (before []string) {
	p.t.Helper()
	for {
		line, err := p.next()
		if err != nil {
			p.t.Fatalf("%s waits for %q: %v after\n%s", p.link.Name, prefix, err, lastLines(strings.Join(p.heard, "\n"), 20))
		}
		if strings.HasPrefix(line, prefix) {
			return before
		}
		if strings.HasPrefix(line, "ERROR ") {
			p.t.Fatalf("%s: the ircd says %q", p.link.Name, line)
		}
		before = append(before, line)
	}
}

// fence waits until the ircd has read all that was said, and answers what it has said meanwhile.
func (p *linkPeer) fence() []string {
	p.t.Helper()
	p.fences++
	token := fmt.Sprintf("fence%d", p.fences)
	p.say(p.ping(token))
	if p.link.Proto < 1205 {
		return p.awaitLine(fmt.Sprintf(":1AA PONG 1AA %s %s", p.link.SID, token))
	}
	return p.awaitLine(fmt.Sprintf(":1AA PONG %s %s", p.link.SID, token))
}

func (p *linkPeer) ping(token string) string {
	if p.link.Proto < 1205 {
		return fmt.Sprintf(":%s PING %s 1AA %s", p.link.SID, p.link.SID, token)
	}
	return fmt.Sprintf(":%s PING 1AA %s", p.link.SID, token)
}

// marker reads up to the marker of tx, and answers what stands before it.
func (p *linkPeer) marker(tx string) []string {
	p.t.Helper()
	before := p.awaitLine(":1AA METADATA * ircferry :" + tx)
	p.swallowed = len(p.heard)
	return before
}

// replay tells a new process what the peer would have to, on a connection of its own.
func (p *linkPeer) replay(port int, g protocol.Greeting, burst []string) {
	p.t.Helper()
	p.dial(port)
	_, err := p.conn.Write(g.Open)
	if err != nil {
		p.t.Fatal(err)
	}
	p.fence()
	p.sayPaced(burst)
	if _, err = p.conn.Write(g.Close); err != nil {
		p.t.Fatal(err)
	}
	p.fence()
}

// uid is a line that introduces a user behind the peer, in its dialect.
func (p *linkPeer) uid(id, nick, modes string, nts int64) string {
	idents := nick
	if p.link.Proto >= 1206 {
		idents = "real" + nick + " " + nick
	}
	return fmt.Sprintf(":%s UID %s %d %s %s.host.example %s.cloak %s 192.0.2.%d %d %s :Real %s", id[:3], id, nts, nick, nick, nick, idents, len(nick), nts, modes, nick)
}

// membid is the number by which the peer knows a membership of the ircd's user. In the dialect of 1202 nobody is told any.
func (p *linkPeer) membid(channel, uid string) string {
	p.t.Helper()
	for _, line := range slices.Backward(p.heard) {
		words := strings.Fields(line)
		if len(words) >= 4 && words[0] == ":"+uid && words[1] == "IJOIN" && words[2] == channel {
			return words[3]
		}
		if len(words) >= 5 && words[1] == "FJOIN" && words[2] == channel {
			for _, item := range words[4:] {
				if _, rest, ok := strings.Cut(item, ","); ok && strings.HasPrefix(rest, uid+":") {
					return strings.TrimPrefix(rest, uid+":")
				}
			}
		}
	}
	p.t.Fatalf("%s has not been told of %s on %s:\n%s", p.link.Name, uid, channel, lastLines(strings.Join(p.heard, "\n"), 20))
	return ""
}

// created is the time of a channel that the ircd has told of.
func (p *linkPeer) created(channel string) string {
	p.t.Helper()
	for _, line := range p.heard {
		if words := strings.Fields(line); len(words) >= 4 && words[1] == "FJOIN" && words[2] == channel {
			return words[3]
		}
	}
	p.t.Fatalf("%s has not been told of %s", p.link.Name, channel)
	return ""
}

// held is what an export with links has told.
type held struct {
	tx      string
	end     protocol.End
	users   map[string]protocol.User
	links   map[string]protocol.Link
	bursts  map[string][]string
	records []protocol.Message // for a destination
}

// exportLinks is export with held links: on each the marker is what has come last.
func (h *hand) exportLinks(peers []*linkPeer, streams ...*rawStream) held {
	h.t.Helper()
	x := held{tx: protocol.NewSecret(), users: map[string]protocol.User{}, links: map[string]protocol.Link{}, bursts: map[string][]string{}}
	req := protocol.ExportRequest{Tx: x.tx, Freeze: 10 * time.Second}
	for _, s := range streams {
		req.Select = append(req.Select, protocol.Selection{U: s.u, In: s.in})
	}
	for _, p := range peers {
		req.Links = append(req.Links, p.link)
	}
	end, err := h.c.Export(h.t.Context(), req, func(m protocol.Message) error {
		switch m.Verb {
		case protocol.VerbUser:
			x.users[m.Get("u")] = protocol.User{Message: m}
			m = protocol.User{Message: m}.Strip().Message
		case protocol.VerbLink:
			x.links[m.Get("n")] = protocol.Link{Message: m}
		case protocol.VerbBurst:
			x.bursts[m.Get("l")] = append(x.bursts[m.Get("l")], m.Get("d"))
			return nil
		}
		x.records = append(x.records, m)
		return nil
	})
	h.ok(err)
	x.end = end
	return x
}

// importLinks opens an import, replays all links and sends the records, up to PREPARED.
func (h *hand) importLinks(port int, peers []*linkPeer, x held) (tx string, prepared protocol.Prepared) {
	h.t.Helper()
	tx = protocol.NewSecret()
	h.ok(h.c.ImportLinks(h.t.Context(), tx, tx, time.Minute, ""))
	for _, p := range peers {
		g, err := h.c.Greet(h.t.Context(), tx, p.link)
		h.ok(err)
		p.replay(port, g, x.bursts[p.link.Name])
	}
	for _, r := range x.records {
		h.ok(h.c.Record(h.t.Context(), r))
	}
	prepared, err := h.c.Prepare(h.t.Context(), tx)
	h.ok(err)
	return tx, prepared
}

// commitLinks attaches the streams and commits; each peer reads up to the marker.
func (h *hand) commitLinks(tx string, peers []*linkPeer, us ...string) []*rawStream {
	h.t.Helper()
	var streams []*rawStream
	for _, u := range us {
		streams = append(streams, h.attach(tx, tx, u))
	}
	_, err := h.c.Commit(h.t.Context(), tx)
	h.ok(err)
	for _, s := range streams {
		h.ok(s.answer(protocol.VerbLive))
	}
	for _, p := range peers {
		p.marker(tx)
	}
	return streams
}

// again ends the process at once and starts it anew.
func (i *nativeInspIRCd) again() {
	i.t.Helper()
	i.proc.kill()
	i.run()
}
