package ircd

import (
	"slices"
	"testing"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// A user without a stream is built like the others and quits in the turn of COMMIT, for all to see, whether his stream never came, ended, or spoke.
func TestWhoHasNoStreamQuitsAtCommit(t *testing.T) {
	for name, lose := range map[string]func(m *move, u string){
		"ended": func(m *move, u string) { m.attached[u].Close() },
		"spoke": func(m *move, u string) { m.attached[u].Write([]byte("NICK x\r\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, f := twoShips(t)
			alice, bob := f.user("alice"), f.user("bob")
			alice.Join("#sea")
			bob.Join("#sea")
			alice.Await(" JOIN ")
			bob.Send("MODE bob +i")
			bob.Fence()
			alice.Send("MONITOR + bob")
			alice.Fence()
			m := f.newMove(a, b)
			m.stage()
			m.freeze()
			noErr(t, m.export())
			_, err := m.prepare()
			noErr(t, err)
			noErr(t, m.readUp())
			noErr(t, a.c.Release(t.Context(), m.tx, ""))
			gone := slices.IndexFunc(m.sessions, func(s *session) bool { return m.users[s.u].Get("nick") == "bob" })
			lose(m, m.sessions[gone].u)
			if _, err := b.c.Commit(t.Context(), m.tx); !protocol.HasCode(err, protocol.CodeNotAttached) {
				t.Fatalf("without missing=quit: %v", err)
			}
			users, missing, err := b.c.CommitMissing(t.Context(), m.tx)
			if noErr(t, err); users != 1 || missing != 1 {
				t.Fatalf("%d live, %d missing", users, missing)
			}
			lost := m.sessions[gone]
			m.sessions = slices.Delete(m.sessions, gone, gone+1)
			noErr(t, m.splice())
			m.thaw()
			lost.setFrozen(false)
			lost.up.Unlock()
			if line := alice.Await(" QUIT "); line.Nick() != "bob" {
				t.Errorf("alice sees %q", line.Text)
			}
			alice.Await(" 731 ")
			if _, err := b.c.Find(t.Context(), "bob"); !protocol.HasCode(err, protocol.CodeNotFound) {
				t.Errorf("bob: %v", err)
			}
		})
	}
}
