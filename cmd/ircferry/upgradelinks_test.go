package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/admin"
)

// Server links end with the process that has them. An upgrade that would split a network is refused and names the servers, until somebody allows it; then
// the link ends, and its server can link anew through the new process.
func TestUpgradeWithLinks(t *testing.T) {
	f := startFerry(t)
	servers, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer servers.Close()
	address := freeAddress(t)
	text, err := os.ReadFile(f.path())
	if err != nil {
		t.Fatal(err)
	}
	f.write(f.path(), strings.Replace(string(text), "    backends:\n      - {name: a, ",
		fmt.Sprintf("    links: [{name: services.example, listen: %q}]\n    backends:\n      - {name: a, servers: {address: %q}, ", address, servers.Addr()), 1))
	if _, err := f.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	link := func() (peer, ircd net.Conn) {
		t.Helper()
		peer, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		ircd, err = servers.Accept()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []net.Conn{peer, ircd} {
			c.SetDeadline(time.Now().Add(patience))
			t.Cleanup(func() { c.Close() })
		}
		const hello = "CAPAB START 1205\nSERVER services.example secret 0 00S :x\n"
		fmt.Fprint(peer, hello)
		if _, err := io.ReadFull(ircd, make([]byte, len(hello))); err != nil {
			t.Fatal(err)
		}
		return peer, ircd
	}
	peer, ircd := link()
	pid := f.status().PID
	_, err = f.upgrade(admin.UpgradeRequest{})
	isRefused(t, err, "services.example")
	u, err := f.upgrade(admin.UpgradeRequest{DryRun: true})
	if err != nil || len(u.Refusals) != 1 || u.Left[leftLink] != 1 {
		t.Errorf("dry run %+v, %v", u, err)
	}
	if st := f.status(); st.PID != pid {
		t.Fatalf("the daemon is %d, was %d", st.PID, pid)
	}
	fmt.Fprint(peer, ":00S PING 00A\n")
	if _, err := io.ReadFull(ircd, make([]byte, len(":00S PING 00A\n"))); err != nil {
		t.Errorf("the link behind a refusal: %v", err)
	}
	if u, err := f.upgrade(admin.UpgradeRequest{AllowVisible: true}); err != nil || u.PID == pid || u.Left[leftLink] != 1 {
		t.Fatalf("%+v, %v", u, err)
	}
	for name, c := range map[string]net.Conn{"peer": peer, "ircd": ircd} {
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("end of the link at the %s: %v", name, err)
		}
	}
	await(t, "the new process's listener for links", func() bool {
		links := f.status().Pools[0].Links
		return len(links) == 1 && links[0].Listen != ""
	})
	link()
}
