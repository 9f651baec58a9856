package ircd

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// Each step of a move broken on purpose: what the coordinator is told, that nobody is live twice, and that the users are served
// afterwards where they belong.
func TestHandoffFaults(t *testing.T) {
	fails := func(code protocol.Code) func(error) bool {
		return func(err error) bool { return protocol.HasCode(err, code) }
	}
	broken := func(err error) bool { return errors.Is(err, protocol.ErrBroken) }
	for _, c := range []struct {
		at    string // "a " or "b " and the fault
		step  string // that fails
		fails func(error) bool
	}{
		{"b IMPORT:refuse", "import", fails(protocol.CodeUnknownVerb)},
		{"b IMPORTING:close", "import", broken},
		{"b ATTACH:close", "attach", fails(protocol.CodeBadLine)},
		{"b ATTACHED:refuse", "attach", fails(protocol.CodeInternal)},
		{"a SELECT:drop*1", "export", func(err error) bool { return err == nil }},
		{"a EXPORT:refuse", "export", fails(protocol.CodeUnknownVerb)},
		{"a EXPORT:close", "export", broken},
		{"a CHAN:drop", "export", fails(protocol.CodeCount)},
		{"a USER:damage", "export", fails(protocol.CodeSum)},
		{"a USER:close", "export", broken},
		{"a USER:lie", "read up", func(err error) bool { return err != nil }},
		{"a END:lie", "export", fails(protocol.CodeCount)},
		{"a END:sum", "export", fails(protocol.CodeSum)},
		{"a END:close", "export", broken},
		{"a END:drop", "export", broken},
		{"b USER:drop", "prepare", fails(protocol.CodeBadRecord)},
		{"b PREPARE:refuse", "prepare", fails(protocol.CodeUnknownVerb)},
		{"b PREPARE:sum", "prepare", fails(protocol.CodeSum)},
		{"b PREPARE:lie", "prepare", fails(protocol.CodeCount)},
		{"b PREPARED:lie", "prepare", fails(protocol.CodeCount)},
		{"b PREPARED:close", "prepare", broken},
		{"b PREPARED:drop", "prepare", broken},
		{"a RELEASE:refuse", "release", fails(protocol.CodeUnknownVerb)},
		{"a RELEASE:close", "release", broken},
	} {
		t.Run(c.at, func(t *testing.T) {
			a, b, f := twoShips(t)
			alice, bob := f.user("alice"), f.user("bob")
			alice.Join("#sea")
			bob.Join("#sea")
			alice.Await("JOIN")
			fault, err := ParseFault(c.at[2:])
			noErr(t, err)
			if c.at[0] == 'a' {
				a.handoff.SetFaults(fault)
			} else {
				b.handoff.SetFaults(fault)
			}
			m := f.newMove(a, b)
			step, err := m.upToRelease()
			if step != c.step && !(err == nil && c.step == "export") || !c.fails(err) {
				t.Fatalf("%s: %v", step, err)
			}
			// Back: whatever the failure was, RESUME (or the end of control) and ABORT on fresh connections are the way.
			a.handoff.SetFaults()
			b.handoff.SetFaults()
			a.c.Close()
			b.c.Close()
			a.c, b.c = a.dial(), b.dial()
			noErr(t, a.c.Resume(t.Context(), m.tx))
			noErr(t, b.c.Abort(t.Context(), m.tx))
			m.thaw()
			alice.Silent()
			bob.Silent()
			alice.Send("PRIVMSG bob :still here")
			bob.Await("still here")
			if a.srv.Users() != 2 || b.srv.Users() != 0 || b.srv.Channels() != 0 {
				t.Fatalf("users %d, %d", a.srv.Users(), b.srv.Users())
			}
			f.newMove(a, b).run()
			alice.Silent()
		})
	}
}

// upToRelease takes the steps before the point of no return, and RELEASE if it fails; it answers the step that failed.
func (m *move) upToRelease() (string, error) {
	ctx, cancel := context.WithTimeout(m.f.t.Context(), 300*time.Millisecond) // for answers that never come
	defer cancel()
	if err := m.importTx(); err != nil {
		m.freeze()
		return "import", err
	}
	err := m.attach()
	m.freeze()
	if err != nil {
		return "attach", err
	}
	if err := m.exportWith(ctx); err != nil {
		return "export", err
	}
	if len(m.users) < len(m.sessions) {
		return "export", nil // one was not selected: the coordinator names it and goes back
	}
	if _, err := m.prepareWith(ctx); err != nil {
		return "prepare", err
	}
	if err := m.readUp(); err != nil {
		return "read up", err
	}
	return "release", m.from.c.Release(ctx, m.tx, "")
}

// After RELEASE a lost answer of COMMIT is asked for again.
func TestHandoffLostCommitAnswer(t *testing.T) {
	for _, at := range []string{"COMMITTED:close*1", "COMMIT:close*1"} {
		t.Run(at, func(t *testing.T) {
			a, b, f := twoShips(t)
			alice := f.user("alice")
			fault, _ := ParseFault(at)
			b.handoff.SetFaults(fault)
			m := f.newMove(a, b)
			if step, err := m.upToRelease(); err != nil {
				t.Fatalf("%s: %v", step, err)
			}
			if _, err := b.c.Commit(t.Context(), m.tx); !errors.Is(err, protocol.ErrBroken) {
				t.Fatalf("COMMIT: %v", err)
			}
			b.c = b.dial()
			users, err := b.c.Commit(t.Context(), m.tx)
			if err != nil || users != 1 {
				t.Fatalf("COMMIT again: %d, %v", users, err)
			}
			noErr(t, m.splice())
			m.thaw()
			alice.Silent()
		})
	}
}

// A stream that is lost at COMMIT is a visible quit, and nothing worse.
func TestHandoffStreamLostAtLive(t *testing.T) {
	a, b, f := twoShips(t)
	f.user("alice")
	b.handoff.SetFaults(Fault{At: "LIVE", Do: FaultClose})
	m := f.newMove(a, b)
	if step, err := m.upToRelease(); err != nil {
		t.Fatalf("%s: %v", step, err)
	}
	_, err := b.c.Commit(t.Context(), m.tx)
	noErr(t, err)
	if line := readLine(m.attached[m.sessions[0].u]); line != "" {
		t.Fatalf("got %q", line)
	}
	m.thaw()
	for b.srv.Users() > 0 { // the loop finds it
		noErr(t, b.c.Ping(t.Context()))
	}
}

func TestParseFault(t *testing.T) {
	for s, want := range map[string]Fault{
		"END:sum":           {At: "END", Do: FaultSum},
		"EXPORT:delay:5s*2": {At: "EXPORT", Do: FaultDelay, Delay: 5 * time.Second, Times: 2},
	} {
		if got, err := ParseFault(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "END", "END:dance", "END:delay", "END:sum:1", ":sum", "END:sum*0"} {
		if f, err := ParseFault(s); err == nil {
			t.Errorf("%q was taken: %+v", s, f)
		}
	}
}
