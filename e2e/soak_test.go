//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSoak: moves of every kind, one after the other, while processes are stopped, continued and killed, control answers come late or never,
// moves are cancelled, the configuration is reloaded, and clients come and go, over TLS and without. Whatever comes of a move, those
// who stay lose nothing and see nothing, every session goes on, and nothing is left behind.
//
// IRCFERRY_SOAK is how long it takes ("10m"; 20 s without it), IRCFERRY_SOAK_SEED what to repeat: the rounds of a seed are the same
// each time, though not to the millisecond. The ircds are embedded ones, with IRCFERRY_SOAK_IRCD=inspircd real ones.
func TestSoak(t *testing.T) {
	t.Parallel() // much of it is waiting for what is stopped
	length, err := time.ParseDuration(envOr("IRCFERRY_SOAK", "20s"))
	if err != nil {
		t.Fatal(err)
	}
	var seed uint64
	if _, err := fmt.Sscan(envOr("IRCFERRY_SOAK_SEED", fmt.Sprint(time.Now().UnixNano())), &seed); err != nil {
		t.Fatal(err)
	}
	t.Logf("IRCFERRY_SOAK_SEED=%d", seed)
	s := newSoak(t, seed)
	begin := time.Now()
	for n := 0; n == 0 || time.Since(begin) < length; n++ {
		s.round(n)
		if t.Failed() {
			return
		}
	}
	s.end()
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// round is one move with what goes wrong meanwhile.
func (s *soak) round(n int) {
	s.mu.Lock()
	s.log, s.away = nil, time.Duration(s.rnd.IntN(300))*time.Millisecond
	s.mu.Unlock()
	s.note("round %d, %s serves", n, s.serving)
	move := s.chooseMove()
	for range s.rnd.IntN(4) {
		s.makeMischief(move)
	}
	begin := time.Now()
	r := s.carryOut(move)
	s.note("%s after %s: %+v", move, time.Since(begin).Round(time.Millisecond), r)
	s.mischief.Wait()
	for _, p := range s.taps {
		p.at("", nil)
	}
	s.judge(move, r)
	s.usable()
	s.everybodyGoesOn()
	s.outcomes[move+" "+r.State]++
	if took := time.Since(begin); took > soakGap {
		s.t.Logf("a long round, %s:\n%s", took, s.story())
	}
}

func (s *soak) chooseMove() string {
	switch n := s.rnd.IntN(11); {
	case n == 10:
		return "pause"
	case n < 6:
		return "drain"
	case n < 8:
		return "restart"
	case n < 9:
		return "hold"
	}
	return "hold --to"
}

// carryOut returns at the end of the move; a command that did not begin one answers no state.
func (s *soak) carryOut(move string) (r result) {
	from, to := "main/"+s.serving, s.other()
	var out string
	switch move {
	case "drain":
		out, _ = s.f.ctl("-o", "json", "drain", from, "--to", to)
	case "restart":
		out = s.restart(from)
	case "pause":
		s.f.ctl("-o", "json", "pause", from, "--for", fmt.Sprintf("%dms", 50+s.rnd.IntN(1500)))
		s.pause(time.Duration(s.rnd.IntN(1500)) * time.Millisecond)
		s.f.ctl("-o", "json", "resume", from) // or its time was over
		out = s.lastMove()
	default:
		s.f.ctl("-o", "json", "hold", from)
		if move == "hold" {
			to = s.serving
		}
		s.pause(time.Duration(s.rnd.IntN(500)) * time.Millisecond)
		s.f.ctl("-o", "json", "release", from, "--to", to)
		out = s.lastMove()
	}
	if out != "" {
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			s.t.Errorf("%s: %v in %q", move, err, out)
		}
	}
	return r
}

// restart ends the process in order.
func (s *soak) restart(backend string) string {
	out, _ := s.f.ctl("-o", "json", "restart", backend, "--exec", fmt.Sprintf("kill %d", s.process(s.serving).cmd.Process.Pid))
	return out
}

// lastMove waits for the end of the newest move and answers its report.
func (s *soak) lastMove() string {
	var last soakMove
	eventually(s.t, time.Minute, "the move ends", func() bool {
		for _, m := range s.shown() {
			if !m.Started.Before(last.Started) {
				last = m
			}
		}
		return last.ID != "" && !last.underWay()
	})
	out, _ := s.f.ctl("-o", "json", "show", "move", last.ID)
	return out
}

// judge compares a report with what may come of a move, and knows who serves from then on.
func (s *soak) judge(move string, r result) {
	switch r.State {
	case "done": // also a hold that was cancelled while parked: its users are where they were
		if r.To != "" { // a pause has moved nobody
			s.serving = r.To
		}
	case "reverted", "":
	default:
		s.t.Errorf("%s has ended as %q: %+v", move, r.State, r)
	}
	if r.Failed > 0 {
		s.t.Errorf("%s has failed some: %+v", move, r)
	}
}

// usable waits until both ircds may take users again.
func (s *soak) usable() {
	for _, name := range []string{"a", "b"} {
		s.f.ctl("ready", "main/"+name)
	}
	eventually(s.t, 20*time.Second, "both ircds are up", func() bool {
		out, _ := s.f.ctl("-o", "json", "status")
		return strings.Count(out, `"oper":"up"`)+strings.Count(out, `"oper": "up"`) == 2
	})
}

// everybodyGoesOn: each of those who stay is answered, since a talker asks with every eighth line and waits for the answer.
func (s *soak) everybodyGoesOn() {
	begin := make([]int, len(s.talkers.flows))
	for n, f := range s.talkers.flows {
		begin[n] = f.Sent()
	}
	stuck := func() (who []int) {
		for n, f := range s.talkers.flows {
			if f.Sent() < begin[n]+16 {
				who = append(who, n)
			}
		}
		return who
	}
	for deadline := time.Now().Add(slack); len(stuck()) > 0 && !s.t.Failed(); s.pause(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Errorf("clients do not go on: %v", stuck())
		}
	}
	if gap := s.talkers.gap(); gap > soakGap {
		s.t.Errorf("somebody heard nothing for %s", gap)
	}
	if c := s.talkers.oracle.Counts(); c.Duplicated+c.Reordered+c.Unexpected+c.Disconnects > 0 {
		s.t.Errorf("%v\n%s", c, strings.Join(s.talkers.oracle.Samples(), "\n"))
	}
}

// end lets everybody go, and looks for what is left.
func (s *soak) end() {
	s.guests.end()
	s.talkers.closing(fmt.Sprint(s.outcomes))
	s.t.Logf("%d guests, %d of them were closed by the daemon; outcomes %v", s.guests.came.Load(), s.guests.closed.Load(), s.outcomes)
	s.talkers.goAway()
	gone := time.Now()
	eventually(s.t, 40*time.Second, "no session is left", func() bool { return len(s.f.sessions()) == 0 })
	eventually(s.t, 10*time.Second, "no descriptor is left", func() bool { return s.descriptors() <= s.files+4 }) // checks come and go
	s.t.Logf("all are gone after %s; the last:\n%s", time.Since(gone).Round(time.Millisecond), lastLines(s.f.proc.out.String(), 2))
	if left, _ := filepath.Glob(filepath.Join(s.f.dir, "state", "moves", "*")); len(left) > 0 {
		s.t.Errorf("journals are left: %v", left)
	}
	for _, word := range []string{"panic", "DATA RACE", "level=ERROR"} {
		if out := s.f.proc.out.String(); strings.Contains(out, word) {
			s.t.Errorf("the daemon said %q", word)
		}
	}
}
