//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// TestInspIRCdManyBehindLinks prints what a large network behind a link costs: IRCFERRY_SCALE users on five channels each, of a tenth as many.
func TestInspIRCdManyBehindLinks(t *testing.T) {
	users, err := strconv.Atoi(os.Getenv("IRCFERRY_SCALE"))
	if err != nil || users < 10 {
		t.Skip("a measurement: set IRCFERRY_SCALE to a number of users to run it")
	}
	oneByOne(t, func(t *testing.T, v *inspVersion) {
		a := v.new(t, "a")
		port := a.mayLink("leaf.example")
		a.run()
		p := leaf(t, v, v.newest())
		p.connect(port)
		p.crowd(users)
		h := newHand(t, a)
		ann := h.open("i.1", "ann", nil)
		begin, worked := time.Now(), a.cpu()
		x := h.exportLinks([]*linkPeer{p}, ann)
		exported, dumping := time.Since(begin), a.cpu()-worked
		p.marker(x.tx)
		h.ok(h.c.Release(t.Context(), x.tx, ""))
		a.again()
		h = newHand(t, a)
		tx := protocol.NewSecret()
		h.ok(h.c.ImportLinks(t.Context(), tx, tx, time.Minute, ""))
		g, err := h.c.Greet(t.Context(), tx, p.link)
		h.ok(err)
		begin = time.Now()
		p.replay(port, g, x.bursts["leaf.example"])
		replayed := time.Since(begin)
		begin = time.Now()
		for _, r := range x.records {
			h.ok(h.c.Record(t.Context(), r))
		}
		prepared, err := h.c.Prepare(t.Context(), tx)
		h.ok(err)
		if len(prepared.Warns)+len(prepared.Conflicts) > 0 {
			t.Fatalf("%+v", prepared)
		}
		preparing := time.Since(begin)
		begin, worked = time.Now(), a.cpu()
		h.commitLinks(tx, []*linkPeer{p}, "i.1")
		t.Logf("%s, %d users behind a link, %d lines, %d records: EXPORT %s (of the ircd %s), replay %s, PREPARE %s, COMMIT %s (%s)", v.release, users, len(x.bursts["leaf.example"]),
			len(x.records), exported.Round(time.Millisecond), dumping, replayed.Round(time.Millisecond), preparing.Round(time.Millisecond),
			time.Since(begin).Round(time.Millisecond), a.cpu()-worked)
	})
}

// cpu is how long the process has worked, in steps of 10 ms: what others do on the machine is not in it.
func (i *nativeInspIRCd) cpu() time.Duration {
	_, rest, _ := strings.Cut(readFile(fmt.Sprintf("/proc/%d/stat", i.proc.cmd.Process.Pid)), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// crowd bursts many users.
func (p *linkPeer) crowd(users int) {
	p.t.Helper()
	id := func(n int) string {
		b := []byte("00BAAAAAA")
		for at := 8; n > 0; at, n = at-1, n/26 {
			b[at] = byte('A' + n%26)
		}
		return string(b)
	}
	var lines []string
	for u := range users {
		lines = append(lines, p.uid(id(u), fmt.Sprintf("user%d", u), "+i", 1700000000), fmt.Sprintf(":00B METADATA %s accountname :acc%d", id(u), u))
	}
	channels := users / 10
	for c := range channels {
		line := fmt.Sprintf(":00B FJOIN #c%d 1700000000 +nt :", c)
		for k := range 50 {
			line += fmt.Sprintf(",%s:%d ", id((c*10+k*7)%users), c*50+k)
		}
		lines = append(lines, line)
	}
	p.sayPaced(append(lines, ":00B ENDBURST"))
}
