package main

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// The part links: a server of our own is linked to the InspIRCds, with many users, and its link is held while the users of the ircd are replaced.
const (
	linkUsers    = 20_000
	linkChannels = 2_000
	linkEach     = 5 // channels of each remote user
	localUsers   = 100
	linkName     = "peer.example"
	linkSID      = "00P"
)

// moveLinks replaces users to and fro between two InspIRCds, with the link, and says how long the peer heard nothing.
func (b *bench) moveLinks() ([]string, error) {
	fmt.Printf("\n== %d users replaced between two InspIRCds with a link to %d users in %d channels each\n", localUsers, linkUsers, linkEach)
	program, module, ok := b.findInspIRCd()
	if !ok {
		return nil, nil
	}
	servers := map[string]string{"a": freeAddress(), "b": freeAddress()}
	listen := freeAddress()
	dir, address, err := b.startFerry(func(dir, name string) error {
		_, port, _ := strings.Cut(servers[name], ":")
		return b.startInspIRCd(program, module, dir, name, fmt.Sprintf(`<bind address="127.0.0.1" port="%s" type="servers">
<link name="%s" ipaddr="127.0.0.1" port="1" allowmask="127.0.0.0/8" sendpass="p" recvpass="p">`, port, linkName))
	}, `a.sock"}`, `a.sock", servers: {address: "`+servers["a"]+`"}}`, `b.sock"}`, `b.sock", servers: {address: "`+servers["b"]+`"}}`,
		"state: ", fmt.Sprintf("    links:\n      - {name: %s, listen: %q}\nstate: ", linkName, listen))
	if err == nil {
		err = b.beginAtA(dir)
	}
	if err != nil {
		return nil, err
	}
	peer, err := linkPeer(listen)
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", linkName, err)
	}
	defer peer.conn.Close()
	t, err := newTalkers(address, localUsers)
	if t != nil {
		defer t.close()
	}
	if err != nil {
		return nil, err
	}
	all, err := b.moveRounds(t, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"a", "b"} {
		printSteps(filepath.Join(dir, name, "ircd.log"))
	}
	return linkTable(all, peer), nil
}

func linkTable(all []moved, peer *linkedPeer) []string {
	var away []float64
	kept := true
	for _, m := range all {
		fmt.Printf("  link: cut and dump %.0f ms, replay and records %.0f ms\n", m.Took["pull"], m.Took["push"])
		for _, l := range m.Links {
			away = append(away, l.Away)
			kept = kept && l.State == "live"
		}
	}
	kept = kept && len(away) == len(all) && peer.err.Load() == nil
	if len(away) == 0 {
		away = []float64{0}
	}
	title := fmt.Sprintf("link to %d users, %d moves: ", linkUsers, len(all))
	return []string{
		fmt.Sprintf("%-56s %16s %13.0f ms %22s %8s %s", title+"unheard, median", "", median(away), "", "< 1000", reached(median(away) < 1000)),
		fmt.Sprintf("%-56s %16s %13.0f ms", title+"unheard, worst", "", slices.Max(away)),
		fmt.Sprintf("%-56s %16s %16v %22s %8s %s", title+"held in all", "", kept, "", "true", reached(kept)),
	}
}

// linkedPeer is a server of spanningtree's protocol that reads all it is told, and answers what it must.
type linkedPeer struct {
	conn  net.Conn
	pongs chan struct{}
	err   atomic.Pointer[error] // why reading ended
}

// linkPeer links, and returns when the ircd has read all of the burst.
func linkPeer(address string) (*linkedPeer, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	p := &linkedPeer{conn: conn, pongs: make(chan struct{}, 1)}
	if _, err := fmt.Fprintf(conn, "CAPAB START 1205\nCAPAB CAPABILITIES :CASEMAPPING=ascii\nCAPAB END\nSERVER %s p 0 %s :many users\n", linkName, linkSID); err != nil {
		return nil, err
	}
	go p.read()
	// InspIRCd reads 10 KiB of a link in a turn of its loop, which turns once a second when it has nothing else to do.
	const piece = 8000
	var text []byte
	for line := range linkBurst(time.Now().Unix()) {
		text = append(append(text, line...), '\n')
		if len(text) < piece && !strings.HasSuffix(line, "ENDBURST") {
			continue
		}
		text = fmt.Appendf(text, ":%s PING 1AA here\n", linkSID)
		if _, err := conn.Write(text); err != nil {
			return nil, err
		}
		select {
		case <-p.pongs:
		case <-time.After(20 * time.Second):
			return nil, fmt.Errorf("the ircd does not answer in its burst")
		}
		text = text[:0]
	}
	return p, nil
}

// read is the goroutine of a linkedPeer.
func (p *linkedPeer) read() {
	lines := bufio.NewScanner(p.conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) > 1 && strings.HasPrefix(words[0], "@") {
			words = words[1:]
		}
		switch {
		case len(words) < 2:
		case words[1] == "PONG" && strings.HasSuffix(lines.Text(), "here"):
			p.pongs <- struct{}{}
		case words[1] == "PING":
			fmt.Fprintf(p.conn, ":%s PONG %s\n", linkSID, strings.TrimPrefix(words[0], ":"))
		}
	}
	err := lines.Err()
	if err == nil {
		err = net.ErrClosed
	}
	p.err.Store(&err)
}

// linkBurst is what the peer says of its users and channels.
func linkBurst(now int64) func(yield func(string) bool) {
	id := func(n int) string {
		var name [6]byte
		for k := 5; k >= 0; k-- {
			name[k] = byte('A' + n%26)
			n /= 26
		}
		return linkSID + string(name[:])
	}
	return func(yield func(string) bool) {
		if !yield(fmt.Sprintf("BURST %d", now)) {
			return
		}
		for n := range linkUsers {
			if !yield(fmt.Sprintf(":%s UID %s %d remote%d host%d.example host%d.example user%d 10.%d.%d.%d %d +i :the real name of remote user %d",
				linkSID, id(n), now-1000, n, n, n, n, n>>16&255, n>>8&255, n&255, now-1000, n)) {
				return
			}
		}
		members := make([][]string, linkChannels)
		for n := range linkUsers {
			for k := range linkEach {
				c := (n + k*397) % linkChannels // another one for each k
				members[c] = append(members[c], fmt.Sprintf(",%s:%d", id(n), k))
			}
		}
		for c, all := range members {
			for some := range slices.Chunk(all, 25) {
				if !yield(fmt.Sprintf(":%s FJOIN #r%d %d +nt :%s", linkSID, c, now-900, strings.Join(some, " "))) {
					return
				}
			}
		}
		yield(":" + linkSID + " ENDBURST")
	}
}
