//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// TestInspIRCdRefusedInAMove: who was refused a nick, a parameter or a subcommand and is still typing when the others are moved, goes on at
// the new ircd, is shown nothing that it has seen, and nobody waits for it.
func TestInspIRCdRefusedInAMove(t *testing.T) { onBoth(t, inspIRCdRefusedInAMove) }

func inspIRCdRefusedInAMove(t *testing.T, v *inspVersion) {
	a, b := v.start(t, "a"), v.start(t, "b")
	f := startFerry(t, nil, "", a.backend(), b.backend())
	ann := login(t, f.port, "127.0.9.9", "ann")
	f.toA()
	for name, move := range map[string]func() result{
		"drain":   func() result { return f.move("drain", "main/a", "--to", "b") },
		"restart": func() result { return a.restart(f) },
	} {
		for refusal, first := range map[string]string{" 433 ": "NICK ann", " 461 ": "USER", " 410 ": "CAP FOO"} {
			late := dial(t, f.port, "127.0.9.8", "")
			late.nick = "late"
			late.send(first)
			late.expect(refusal)
			before := late.count()
			r := move()
			f.ctl("undrain", "main/a")
			if r.Moved != 2 || r.Reopened != 1 || r.Took["prepare"] > 1000 {
				t.Errorf("%s after%s: %+v", name, refusal, r)
			}
			late.send("CAP END") // InspIRCd waits for it since the first CAP
			late.send("NICK late")
			late.send("USER late 0 * :late")
			late.expect(" 001 late")
			if seen := strings.Join(late.since(before), "\n"); strings.Contains(seen, refusal) {
				t.Errorf("%s: the refusal is seen again:\n%s", name, seen)
			}
			ann.send("PRIVMSG late :welcome")
			late.expect("welcome")
			late.send("QUIT :bye")
			late.expect("ERROR ")
			f.toA()
		}
	}
}
