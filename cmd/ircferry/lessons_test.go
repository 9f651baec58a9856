package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/internal/ircclient"
)

// The numbers in names are those of the failure modes of migrating proxies that this project collected: C<part>_<number>.

// pair is two ircd processes and a daemon in front of them.
func pair(t *testing.T, aArgs, bArgs []string) (d *daemon, addr string, a, b *process) {
	t.Helper()
	dir := t.TempDir()
	a, b = startIrcd(t, dir, "a", aArgs...), startIrcd(t, dir, "b", bArgs...)
	d = startTestDaemon(t, testConfig(t, map[string]string{"a": "unix:" + a.socket, "b": "unix:" + b.socket}))
	return d, d.address(t), a, b
}

func mustMove(t *testing.T, d *daemon, sessions int) handoff.Report {
	t.Helper()
	r := drain(t, d, "a", "b")
	if r.State != handoff.StateDone || r.Moved != sessions {
		t.Fatalf("want %d sessions moved: %+v", sessions, r)
	}
	return r
}

// A half line of a client at the freeze arrives whole, once, at the new ircd (also TestHundredsOfMovesUnderTraffic).
func TestC1_1HalfLineAtTheFreezeArrivesWhole(t *testing.T) {
	d, addr, _, _ := pair(t, nil, nil)
	alice, bob := ircclient.TestUser(t, addr, "alice"), ircclient.TestUser(t, addr, "bob")
	alice.Write("PRIVMSG bob :one\r\nPRIVMSG bob :tw")
	bob.Expect("PRIVMSG bob :one")
	mustMove(t, d, 2)
	alice.Write("o\r\nPRIVMSG bob :three\r\n")
	bob.Expect("PRIVMSG bob :two")
	bob.Expect("PRIVMSG bob :three")
	bob.Silent()
}

// A thousand pipelined lines immediately before a move are all run, once and in order.
func TestC1_4ThousandPipelinedLinesBeforeAMove(t *testing.T) {
	d, addr, _, _ := pair(t, nil, nil)
	alice, bob := ircclient.TestUser(t, addr, "alice"), ircclient.TestUser(t, addr, "bob")
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "PRIVMSG bob :line %d\r\n", i)
	}
	alice.Write(lines.String())
	mustMove(t, d, 2)
	for i := range 1000 {
		bob.Expect(fmt.Sprintf("PRIVMSG bob :line %d", i))
	}
	bob.Silent()
}

// Neither an error reply nor a command without a reply keeps a session from being moved.
func TestC1_6And7ErrorsAndSilentCommandsDoNotBind(t *testing.T) {
	d, addr, _, _ := pair(t, nil, nil)
	alice := ircclient.TestUser(t, addr, "alice")
	alice.Write("NOSUCHCOMMAND\r\nJOIN\r\nPONG :nobody asked\r\nNOTICE nobody :silence\r\n")
	mustMove(t, d, 1)
	alice.Fence()
}

// One move at a time in a pool: the second is refused with the first one's name.
func TestC1_10SecondMoveIsRefused(t *testing.T) {
	d, _, _, _ := pair(t, []string{"--fault", "EXPORT:delay:1s*1"}, nil)
	first, err := d.moves.Drain(handoff.Request{Pool: "main", From: "a", To: "b"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.moves.Hold(handoff.Request{Pool: "main", From: "a"})
	var refused *handoff.Refused
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), first.ID()) {
		t.Errorf("second move: %v", err)
	}
	if r := ended(t, first); r.State != handoff.StateDone {
		t.Errorf("first move: %+v", r)
	}
}

// A client's PONG that answers the old ircd's PING is no line of an unknown origin for the new one, which asks anew in its own time.
func TestC2_14PongForTheOldIrcd(t *testing.T) {
	d, addr, _, _ := pair(t, nil, nil)
	alice := ircclient.TestUser(t, addr, "alice")
	mustMove(t, d, 1)
	alice.Send("PONG :a.test")
	alice.Silent()
}

// The drain of the last usable backend is refused, and says what to do instead.
func TestC3_24LastUsableBackendIsNotDrained(t *testing.T) {
	a := startIrcd(t, t.TempDir(), "a")
	d := startTestDaemon(t, testConfig(t, map[string]string{"a": "unix:" + a.socket}))
	alice := ircclient.TestUser(t, d.address(t), "alice")
	_, err := d.moves.Drain(handoff.Request{Pool: "main", From: "a"})
	var refused *handoff.Refused
	if !errors.As(err, &refused) || refused.Hint == "" {
		t.Errorf("drain of the only backend: %v", err)
	}
	ircclient.TestUser(t, d.address(t), "bob").Send("PRIVMSG alice :still open")
	alice.Expect("PRIVMSG alice :still open")
}

// A client that does not read has a defined end, by name, and stalls nobody (lesson C4.32 is the same from its side).
func TestC4_27ClientThatDoesNotReadStallsNobody(t *testing.T) {
	d, addr, _, _ := pair(t, nil, nil)
	deaf, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	deaf.(*net.TCPConn).SetReadBuffer(64 << 10) // fixed: else the kernel lets it grow to megabytes
	fmt.Fprintf(deaf, "NICK deaf\r\nUSER deaf 0 * :deaf\r\n")
	alice := ircclient.TestUser(t, addr, "alice")
	await(t, "deaf is registered", func() bool { return strings.Contains(alice.Ask("ISON deaf"), "deaf") })
	long := strings.Repeat("x", 400)
	sent := 0
	say := func(lines int) {
		for range lines {
			alice.Send(fmt.Sprint("PRIVMSG deaf :", sent, " ", long))
			if sent++; sent%50 == 0 {
				alice.Fence()
			}
		}
	}
	for !heldBack(t, d) { // the kernel takes some megabytes first
		say(50)
	}
	say(1500) // 600 KB: more than the stream's buffers, less than the ircd's SendQ
	r := drain(t, d, "a", "b")
	if r.State != handoff.StateDone || r.Moved != 2 {
		t.Fatalf("%+v", r)
	}
	alice.Fence()
	// What it had not read came along in order: the kernel's part, the proxy's, and the old ircd's own queue (sq).
	deaf.SetDeadline(time.Now().Add(patience))
	next := 0
	for lines := bufio.NewScanner(deaf); next < sent && lines.Scan(); {
		if _, text, ok := strings.Cut(lines.Text(), "PRIVMSG deaf :"); ok {
			if want := fmt.Sprint(next, " ", long); text != want {
				t.Fatalf("line %d: %.60q", next, text)
			}
			next++
		}
	}
	if next != sent {
		t.Errorf("%d of %d lines came along", next, sent)
	}
}

// connectionsTo counts the established connections to a port of this host, by the end that has connected.
func connectionsTo(t *testing.T, port uint16) (n int) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[3] == "01" && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", port)) {
			n++
		}
	}
	return n
}

// heldBack reports whether some session has so much unread that its backend is not read any more.
func heldBack(t *testing.T, d *daemon) bool {
	t.Helper()
	sessions, err := d.proxy.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sessions {
		if s.Held >= 64<<10 {
			return true
		}
	}
	return false
}

// A destination that takes connections and then says nothing holds at most its share of streams, and the move is off at its deadline.
func TestC4_33DestinationThatAcceptsAndStalls(t *testing.T) {
	d, addr, _, _ := pair(t, nil, []string{"--fault", "ATTACH:delay:30s"})
	alice := ircclient.TestUser(t, addr, "alice")
	m, err := d.moves.Drain(handoff.Request{Pool: "main", From: "a", To: "b", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r := ended(t, m); r.State != handoff.StateReverted || !r.TimedOut {
		t.Errorf("%+v", r)
	}
	alice.Fence()
	await(t, "its streams closed", func() bool { return d.proxy.Counts().Sessions == 1 })
}

// New clients that arrive during a move wait for its end and then are served, whatever the move came to.
func TestNewClientsWaitForTheEndOfAMove(t *testing.T) {
	d, addr, _, _ := pair(t, []string{"--fault", "EXPORT:delay:1s*1"}, nil)
	ircclient.TestUser(t, addr, "alice")
	m, err := d.moves.Drain(handoff.Request{Pool: "main", From: "a", To: "b"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "frozen", func() bool { return m.Report().Step == handoff.StepPull })
	bob := ircclient.TestUser(t, addr, "bob")
	if r := ended(t, m); r.State != handoff.StateDone || r.Moved != 1 {
		t.Errorf("%+v", r)
	}
	if got := bob.Ask("VERSION"); !strings.Contains(got, "b.test") {
		t.Errorf("the new client is not at the new ircd: %q", got)
	}
}

// max_pause: a freeze that lasts longer before the point of no return is reverted.
func TestFreezeLongerThanMaxPauseIsReverted(t *testing.T) {
	dir := t.TempDir()
	a, b := startIrcd(t, dir, "a"), startIrcd(t, dir, "b", "--fault", "PREPARE:delay:5s")
	cfg := testConfig(t, map[string]string{"a": "unix:" + a.socket, "b": "unix:" + b.socket})
	cfg.Moves.MaxPause = config.Duration(500 * time.Millisecond)
	d := startTestDaemon(t, cfg)
	alice := ircclient.TestUser(t, d.address(t), "alice")
	r := drain(t, d, "a", "b")
	if r.State != handoff.StateReverted || !r.TimedOut || !strings.Contains(r.Error, "max_pause") {
		t.Errorf("%+v", r)
	}
	alice.Fence()
}

// A backend that dies without notice: its sessions get an ERROR line with the reason.
func TestBackendDiesWithoutNotice(t *testing.T) {
	t.Parallel() // most of it is waiting for checks
	d, addr, a, _ := pair(t, nil, nil)
	alice := ircclient.TestUser(t, addr, "alice")
	a.kill()
	if got := ircclient.Texts(alice.Gone()); !strings.Contains(got, "ERROR :Closing link: (ircferry)") {
		t.Errorf("told %q", got)
	}
	await(t, "counted", func() bool { return d.ended(t, "backend_lost") == 1 })
	ircclient.TestUser(t, addr, "alice") // the standby serves
}

// Streams are attached at most 64 at a time, so that the accept queue of the new ircd is not overrun.
func TestC4_26AttachesAreBounded(t *testing.T) {
	d, addr, _, b := pair(t, nil, []string{"--fault", "ATTACH:delay:30s"})
	stream := netip.MustParseAddrPort(awaitHello(t, "unix:"+b.socket).Stream)
	const clients = 150
	for i := range clients {
		ircclient.TestUser(t, addr, nick("user", i))
	}
	m, err := d.moves.Drain(handoff.Request{Pool: "main", From: "a", To: "b"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "64 streams", func() bool { return connectionsTo(t, stream.Port()) >= 64 })
	if _, err := d.proxy.Sessions(t.Context()); err != nil { // the loops have done by now what they were asked to
		t.Fatal(err)
	}
	if n := connectionsTo(t, stream.Port()); n != 64 {
		t.Errorf("%d streams at once, want 64: %+v", n, m.Report())
	}
	if err := d.moves.Cancel(m.ID()); err != nil {
		t.Error(err)
	}
	if r := ended(t, m); r.State != handoff.StateReverted {
		t.Errorf("%+v", r)
	}
}

// A client that is parked for more than ten seconds and measures its lag gets its PONG, from the name of its server.
func TestC2_15ParkedClientGetsItsPongFromItsServer(t *testing.T) {
	t.Parallel() // it takes the ten seconds
	d, addr, _, _ := pair(t, nil, nil)
	alice := ircclient.TestUser(t, addr, "alice")
	m, err := d.moves.Hold(handoff.Request{Pool: "main", From: "a"})
	if err != nil {
		t.Fatal(err)
	}
	<-m.Parked()
	alice.Send("PING lag")
	alice.Send("PRIVMSG alice :held")
	if got, err := alice.Next(patience); err != nil || got.Text != ":a.test PONG a.test :lag" {
		t.Errorf("answered %q, %v", got.Text, err)
	}
	if err := d.moves.Cancel(m.ID()); err != nil {
		t.Fatal(err)
	}
	if r := ended(t, m); r.Moved != 1 {
		t.Errorf("%+v", r)
	}
	alice.Expect("PRIVMSG alice :held")
}

// The same for clients whose move waits for the word of an ircd that has stalled behind the point of no return; it goes on when that does.
func TestC2_15ClientGetsItsPongWhileTheNewIrcdStalls(t *testing.T) {
	t.Parallel() // it takes the ten seconds
	d, addr, _, b := pair(t, nil, []string{"--fault", "COMMIT:delay:1s*1"})
	alice := ircclient.TestUser(t, addr, "alice")
	m, err := d.moves.Drain(handoff.Request{Pool: "main", From: "a", To: "b"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "commit", func() bool { return m.Report().Step == handoff.StepCommit })
	b.stop()
	alice.Send("PING lag")
	alice.Send("PRIVMSG alice :held")
	if got, err := alice.Next(patience); err != nil || got.Text != ":a.test PONG a.test :lag" {
		t.Errorf("answered %q, %v", got.Text, err)
	}
	b.signal(syscall.SIGCONT)
	if r := ended(t, m); r.State != handoff.StateDone || r.Moved != 1 {
		t.Errorf("%+v", r)
	}
	alice.Expect("PRIVMSG alice :held")
}
