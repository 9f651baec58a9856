//go:build e2e

package e2e

import (
	"syscall"
	"time"
)

// makeMischief decides about one thing that goes wrong in this round. It happens at a random time, or at a line of an ircd. Who has the users
// is never killed: nobody could keep them.
func (s *soak) makeMischief(move string) {
	name := []string{s.serving, s.other()}[s.rnd.IntN(2)]
	after := time.Duration(s.rnd.IntN([]int{60, 60, 400, 2000}[s.rnd.IntN(4)])) * time.Millisecond
	long := time.Duration(10+s.rnd.IntN(90)) * time.Millisecond
	if s.rnd.IntN(3) == 0 {
		long = time.Duration(100+s.rnd.IntN(3000)) * time.Millisecond
	}
	switch s.rnd.IntN(8) {
	case 0, 1:
		s.later(after, func() { s.stop(name, s.process(name), long) })
	case 2:
		s.later(after, func() { s.stop("the daemon", s.f.proc, min(long, time.Second)) })
	case 3:
		s.later(after, s.cancelAll)
	case 4:
		s.later(after, func() { s.note("SIGHUP"); s.f.proc.signal(syscall.SIGHUP) })
	case 5:
		s.atLine(name, func(process *process) bool { s.stop(name, process, long); return true })
	case 6:
		pass := s.rnd.IntN(2) == 0
		s.atLine(name, func(*process) bool { s.note("the line passes: %v, after %s", pass, long); s.pause(long); return pass })
	case 7:
		s.killDestination(move)
	}
}

func (s *soak) later(d time.Duration, do func()) { s.mischief.Go(func() { s.pause(d); do() }) }

// stop is SIGSTOP, and SIGCONT when the time is over.
func (s *soak) stop(name string, p *process, long time.Duration) {
	s.note("%s stops for %s", name, long)
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // it may be restarting
	s.pause(long)
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	s.note("%s goes on", name)
}

// atLine has act called at some line that an ircd answers in this round.
func (s *soak) atLine(name string, act func(*process) (pass bool)) {
	lines := []string{"HELLO", "IMPORTING", "PREPARED", "COMMITTED", "ABORTED", "STATUS", "CHAN", "USER", "END", "RELEASED", "RESUMED"}
	line := lines[s.rnd.IntN(len(lines))]
	p := s.process(name)
	s.taps[name].at(line, func() bool { s.note("%s at %s", line, name); return act(p) })
}

// killDestination kills the one that is to have the users while it certainly has not, and starts it again.
func (s *soak) killDestination(move string) {
	name := s.other()
	if move == "restart" || move == "hold" {
		name = s.serving
	}
	line := []string{"IMPORTING", "PREPARED", "COMMITTED"}[s.rnd.IntN(3)]
	s.taps[name].at(line, func() bool {
		s.note("%s at %s: it is killed", line, name)
		s.taps[name].refuse()
		s.process(name).kill()
		return false
	})
}

// cancelAll cancels what is under way.
func (s *soak) cancelAll() {
	for _, m := range s.shown() {
		if m.underWay() {
			s.note("cancel %s", m.ID)
			s.f.ctl("cancel", m.ID)
		}
	}
}
