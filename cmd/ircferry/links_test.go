package main

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// A reload brings a link, which is shown from its first line to its end and carries what its ends say; another one takes it away, and who is linked stays.
func TestLinksOfADaemon(t *testing.T) {
	f := newFileDaemon(t)
	servers, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer servers.Close()
	was := f.text
	f.change("    backends: [{name: a, ", fmt.Sprintf("    links: [{name: services.example, listen: \"127.0.0.1:0\"}]\n    backends: [{name: a, servers: {address: %q}, ", servers.Addr()))
	f.must("pools", "")
	shown := func() admin.Link {
		t.Helper()
		links := f.api.Status().Pools[0].Links
		if len(links) != 1 || links[0].Name != "services.example" {
			t.Fatalf("%+v", links)
		}
		return links[0]
	}
	if l := shown(); l.State != "down" || l.Up() || l.HoldBytes != 64<<20 {
		t.Errorf("%+v", l)
	}
	peer, err := net.Dial("tcp", shown().Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	ircd, err := servers.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer ircd.Close()
	for _, c := range []net.Conn{peer, ircd} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	say := func(from, to net.Conn, lines string) {
		t.Helper()
		fmt.Fprint(from, lines)
		got := make([]byte, len(lines))
		if _, err := io.ReadFull(to, got); err != nil {
			t.Fatal(err)
		}
	}
	say(peer, ircd, "CAPAB START 1205\nSERVER services.example secret 0 00S :x\n:00S BURST 1\n:00S ENDBURST\n")
	say(ircd, peer, "CAPAB START 1205\nSERVER irc.example secret 0 00A :x\n:00A BURST 1\n:00A ENDBURST\n")
	for end := time.Now().Add(10 * time.Second); shown().State != "raw"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", shown())
		}
	}
	if l := shown(); l.Backend != "main/a" || l.Server != "irc.example" || l.SID != "00S" || l.Proto != 1205 || l.From != peer.LocalAddr().String() || !l.Up() {
		t.Errorf("%+v", l)
	}
	f.write(was)
	f.must("pools", "")
	if l := shown(); l.Listen != "" || !l.Up() {
		t.Errorf("%+v", l)
	}
	say(peer, ircd, ":00S PRIVMSG #sea :on\n")
	if w := f.api.Status().Warnings; len(w) != 1 {
		t.Errorf("warnings: %q", w)
	}
	words := ""
	err = f.events.Follow(t.Context(), 0, false, func(e admin.Event) error {
		if e.Kind == admin.EventLink {
			words += e.Object + " " + e.Word
		}
		return nil
	})
	if err != nil || words != "main/services.example up" {
		t.Errorf("events: %q, %v", words, err)
	}
}
