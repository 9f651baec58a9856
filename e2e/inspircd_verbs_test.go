//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// TestInspIRCdVerbs prints what each verb of a move costs in the ircd alone: IRCFERRY_SCALE users, each on three of a tenth as many channels with 20
// list entries each, go to and fro between two processes. The client here reads and writes lines and does nothing else.
func TestInspIRCdVerbs(t *testing.T) {
	users, err := strconv.Atoi(os.Getenv("IRCFERRY_SCALE"))
	if err != nil || users < 10 {
		t.Skip("a measurement: set IRCFERRY_SCALE to a number of users to run it")
	}
	oneByOne(t, func(t *testing.T, v *inspVersion) {
		ends := []*mover{newMover(t, v.start(t, "a"), users), newMover(t, v.start(t, "b"), users)}
		records := crowd(users)
		took := map[string][]time.Duration{}
		for round := range 11 {
			to := ends[round%2]
			to.take(records, took)
			records = to.give(took)
		}
		for _, verb := range []string{"EXPORT", "RELEASE", "PREPARE", "COMMIT"} {
			slices.Sort(took[verb])
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			n := len(took[verb])
			t.Logf("%s, %d users, %-9s p50 %6.1f ms, max %6.1f ms", v.release, users, verb, ms(took[verb][n/2]), ms(took[verb][n-1]))
		}
	})
}

// crowd are records of many users as an InspIRCd tells them.
func crowd(users int) (lines []string) {
	channels := users / 10
	for c := range channels {
		lines = append(lines, fmt.Sprintf("CHAN n=#c%d ts=1700000000 topic=a\\stopic tby=x tat=1700000000 m.noextmsg m.topiclock", c))
		for k := range 20 {
			lines = append(lines, fmt.Sprintf("LIST c=#c%d m=ban mask=*!*@%d.%d.example by=x at=1700000000", c, c, k))
		}
	}
	for u := range users {
		lines = append(lines, fmt.Sprintf("USER u=i.%d nick=user%d ident=~u rhost=192.0.2.7 dhost=192.0.2.7 ip=192.0.2.7 port=%d real=user class=users signon=1700000000"+
			" caps=multi-prefix\\sserver-time capver=302 m.invisible", u, u, 1024+u%60000))
	}
	for u := range users {
		for k := range 3 {
			lines = append(lines, fmt.Sprintf("MEMB u=i.%d c=#c%d m=", u, (u+k)%channels))
		}
	}
	return lines
}

// mover is one end of the moves: a control connection and the streams of those who are there.
type mover struct {
	t       *testing.T
	h       *hand
	d       *dialog
	users   int
	streams []*rawStream
}

func newMover(t *testing.T, i *nativeInspIRCd, users int) *mover {
	t.Helper()
	m := &mover{t: t, h: newHand(t, i), d: control(i), users: users}
	m.d.says("HELLO v=1 role=coordinator name=i", "HELLO ")
	return m
}

// take imports.
func (m *mover) take(records []string, took map[string][]time.Duration) {
	m.t.Helper()
	_ = m.d.conn.SetDeadline(time.Now().Add(slack))
	tx := protocol.NewSecret()
	m.d.says("IMPORT tx="+tx+" tok="+tx+" lease=60", "IMPORTING")
	m.streams = nil
	for u := range m.users {
		m.streams = append(m.streams, m.h.attach(tx, tx, fmt.Sprint("i.", u)))
	}
	all := []byte(strings.Join(records, "\n") + "\n")
	sum := crc32.Checksum(all, crc32.MakeTable(crc32.Castagnoli))
	begin := time.Now()
	_, _ = m.d.conn.Write(all)
	answer := m.d.says(fmt.Sprintf("PREPARE tx=%s records=%d sum=%08x", tx, len(records), sum), "PREPARED")
	took["PREPARE"] = append(took["PREPARE"], time.Since(begin))
	if !strings.Contains(answer, "warns=0 conflicts=0") {
		m.t.Fatalf("PREPARE: %q", answer)
	}
	begin = time.Now()
	m.d.says("COMMIT tx="+tx+" missing=quit quiet", "COMMITTED")
	took["COMMIT"] = append(took["COMMIT"], time.Since(begin))
}

// give exports, and answers the records without the coordinator's keys.
func (m *mover) give(took map[string][]time.Duration) (records []string) {
	m.t.Helper()
	_ = m.d.conn.SetDeadline(time.Now().Add(slack))
	tx := protocol.NewSecret()
	var ask bytes.Buffer
	for u := range m.users {
		fmt.Fprintf(&ask, "SELECT u=i.%d in=0\n", u)
	}
	fmt.Fprintf(&ask, "EXPORT tx=%s freeze=20000\n", tx)
	begin := time.Now()
	_, _ = m.d.conn.Write(ask.Bytes())
	for {
		line, err := m.d.r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "ERROR") {
			m.t.Fatalf("EXPORT: %q, %v", line, err)
		}
		if strings.HasPrefix(line, "END ") {
			break
		}
		records = append(records, strings.TrimSuffix(line, "\n"))
	}
	took["EXPORT"] = append(took["EXPORT"], time.Since(begin))
	begin = time.Now()
	m.d.says("RELEASE tx="+tx, "RELEASED")
	took["RELEASE"] = append(took["RELEASE"], time.Since(begin))
	for i, line := range records {
		if strings.HasPrefix(line, "USER ") {
			records[i] = strings.Join(slices.DeleteFunc(strings.Split(line, " "), func(f string) bool {
				key, _, _ := strings.Cut(f, "=")
				return key == "in" || key == "out" || key == "rq" || key == "sq"
			}), " ")
		}
	}
	for _, s := range m.streams {
		_ = s.Close()
	}
	return records
}
