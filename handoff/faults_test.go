package handoff

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ircferry/ircferry/backend"
)

// holdAndRelease parks the users of a, lets change what it likes, and sends them to a backend.
func (r *rig) holdAndRelease(to string, change func()) Report {
	r.t.Helper()
	m, err := r.c.Hold(Request{Pool: "main", From: "a"})
	if err != nil {
		r.t.Fatal(err)
	}
	<-m.Parked()
	change()
	if _, err := r.c.Release("main", "a", to, "test"); err != nil {
		r.t.Fatal(err)
	}
	return r.await(m)
}

// One user's trouble behind the point of no return is his alone: his session ends, he is named with the cause, and the others do not wait for it.
// An ircd that can do that shows him leave.
func TestOneUserOfManyBehindTheRelease(t *testing.T) {
	for name, c := range map[string]struct {
		trouble func(*rig)
		outcome string
		cause   backend.Cause
		missed  bool // the destination had his record
	}{
		"his session ended while parked": {func(r *rig) { r.sessions.mu.Lock(); r.sessions.end("u2"); r.sessions.mu.Unlock() }, "left", backend.CauseGone, true},
		"his stream is refused for ever": {func(r *rig) { r.b.banned["u2"] = true }, "failed", backend.CauseAttach, true},
		"his stream times out":           {func(r *rig) { r.sessions.attach = causes("u2", backend.CauseTimeout) }, "failed", backend.CauseTimeout, true},
		"his loop has no memory for him": {func(r *rig) { r.sessions.attach = causes("u2", backend.CauseGone) }, "left", backend.CauseGone, true},
		"his nick is taken":              {func(r *rig) { r.b.taken = "u2" }, "failed", backend.CauseConflict, false},
		"his stream is lost behind LIVE": {func(r *rig) { r.sessions.splice = causes("u2", backend.CauseNoLive) }, "failed", backend.CauseNoLive, false},
		"his stream is lost before COMMIT": {func(r *rig) {
			r.b.fault = on("COMMIT", 1, fault{})
			b := r.b
			old := r.b.fault
			r.b.fault = func(verb string) fault {
				if verb == "COMMIT" && b.imports != nil && b.imports.streams["u2"] != nil {
					b.imports.streams["u2"].theirs = false
				}
				return old(verb)
			}
		}, "failed", backend.CauseDetached, true},
	} {
		for _, older := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				in(t, func(t *testing.T, r *rig) {
					r.b.older = older
					began := time.Now()
					report := r.holdAndRelease("b", func() { c.trouble(r) })
					if report.State != StateDone || report.Moved != 2 || len(report.Named) != 1 || report.Named[0].Session != "u2" ||
						report.Named[0].Outcome != c.outcome || report.Named[0].Nick != "nick-u2" {
						t.Fatalf("older %v: %+v", older, report)
					}
					if got := backend.Cause(report.Named[0].Cause); got != c.cause && !(c.cause == backend.CauseDetached && got == backend.CauseNoLive) {
						t.Errorf("older %v: cause %s, want %s", older, got, c.cause)
					}
					if took := time.Since(began); took > 30*time.Second {
						t.Errorf("older %v: the others waited %v", older, took)
					}
					if want := c.missed && !older; want != slices.Contains(r.b.missed, "u2") {
						t.Errorf("older %v: who quit for lack of a stream: %v", older, r.b.missed)
					}
					for u, n := range r.b.blames {
						if u != "" && n > 2 { // COMMIT is asked once more after his stream was attached again
							t.Errorf("%s made %d tries fail", u, n)
						}
					}
					balanced(t, report)
					r.owners()
				})
			})
		}
	}
}

// The same before the point of no return: the one who ends while frozen is moved along and quits there.
func TestOneUserEndsWhileFrozen(t *testing.T) {
	for _, older := range []bool{false, true} {
		in(t, func(t *testing.T, r *rig) {
			r.b.older = older
			r.sessions.before = func(call string) {
				if call == "ReadUp" {
					r.sessions.mu.Lock()
					defer r.sessions.mu.Unlock()
					r.sessions.end("u2")
				}
			}
			report, err := r.drain(Request{})
			if err != nil || report.State != StateDone || report.Moved != 2 || report.Left != 1 {
				t.Errorf("older %v: %+v, %v", older, report, err)
			}
			if slices.Contains(r.b.missed, "u2") == older {
				t.Errorf("older %v: who quit for lack of a stream: %v", older, r.b.missed)
			}
			balanced(t, report)
			r.owners()
		})
	}
}

// A destination that takes none of the streams, or that has forgotten the transaction, says nothing of any of them: nobody is taken out for it.
func TestADestinationThatTakesNobodyBlamesNobody(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		report := r.holdAndRelease("b", func() {
			for _, u := range []string{"u1", "u2", "u3"} {
				r.b.banned[u] = true
			}
			time.AfterFunc(time.Minute, func() {
				r.b.mu.Lock()
				defer r.b.mu.Unlock()
				clear(r.b.banned)
			})
		})
		if report.State != StateDone || report.Moved != 3 {
			t.Errorf("%+v", report)
		}
		r.owners()
	})
	in(t, func(t *testing.T, r *rig) {
		first := true
		report := r.holdAndRelease("b", func() {
			r.sessions.before = func(call string) {
				if call == "Attach" && first {
					first = false
					r.b.mu.Lock()
					defer r.b.mu.Unlock()
					r.b.abortLocked() // an operator at the ircd, a lease that ended
				}
			}
		})
		if report.State != StateDone || report.Moved != 3 {
			t.Errorf("%+v", report)
		}
		r.owners()
	})
}

// A disk that hangs before the point of no return holds nobody longer than max_pause, and a cancel is heard. After it nobody waits.
func TestHungDisk(t *testing.T) {
	for n := 1; n <= 5; n++ { // MOVE, the directory, the records, RELEASE, the end
		for _, cancel := range []bool{false, true} {
			in(t, func(t *testing.T, r *rig) {
				r.c.toDisk = at(n, func() error { time.Sleep(10 * time.Minute); return nil })
				from, _ := r.c.find("main", "a")
				to, _ := r.c.find("main", "b")
				m, err := r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if err := error(nil); cancel {
					if err = r.c.Cancel(m.ID()); (err != nil) != (n == 5) {
						t.Errorf("disk call %d: cancel: %v", n, err)
					}
				}
				report := r.await(m)
				want := StateReverted
				if n == 5 {
					want = StateDone
				}
				if report.State != want {
					t.Errorf("disk call %d: %+v", n, report)
				}
				if r.sessions.longest > 5500*time.Millisecond || cancel && n < 5 && report.Ended.Sub(report.Started) > 4*time.Second {
					t.Errorf("disk call %d, cancel %v: frozen for %v, over after %v", n, cancel, r.sessions.longest, report.Ended.Sub(report.Started))
				}
				balanced(t, report)
				r.owners()
				time.Sleep(11 * time.Minute)
			})
		}
	}
}

// A refused connect, a socket that is replaced and another process at the address are no evidence that the old ircd has ended: it may have
// resumed, and its users would be live twice.
func TestUnreachableIsNotDead(t *testing.T) {
	for name, after := range map[string]func(*rig){
		"refused for a while":       func(r *rig) {},
		"released, and not reached": func(r *rig) {},
	} {
		in(t, func(t *testing.T, r *rig) {
			doIt := strings.HasPrefix(name, "released")
			lose := on("RELEASE", 1, fault{err: errLost, doIt: doIt})
			r.a.fault = func(verb string) fault {
				f := lose(verb)
				r.a.hidden = r.a.hidden || f.err != nil
				return f
			}
			if !doIt {
				time.AfterFunc(time.Minute, func() {
					r.a.mu.Lock()
					defer r.a.mu.Unlock()
					r.a.hidden = false
				})
			}
			after(r)
			report, err := r.drain(Request{})
			want := StateReverted
			if doIt { // it has closed the streams: nobody is live there, whatever it says
				want = StateDone
			}
			if err != nil || report.State != want {
				t.Errorf("%s: %+v, %v", name, report, err)
			}
			balanced(t, report)
			r.owners()
		})
	}
}

// The destination likewise: a COMMIT whose answer is lost is asked for until the ircd says, or its streams have ended.
func TestUnreachableDestinationMayHaveCommitted(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		lose := on("COMMIT", 1, fault{err: errLost, doIt: true})
		r.b.fault = func(verb string) fault {
			f := lose(verb)
			r.b.hidden = r.b.hidden || f.err != nil
			return f
		}
		time.AfterFunc(time.Minute, func() {
			r.b.mu.Lock()
			defer r.b.mu.Unlock()
			r.b.hidden = false
		})
		report, err := r.drain(Request{})
		if err != nil || report.State != StateDone || report.Moved != 3 || r.b.name != "b" || len(r.b.live) != 3 {
			t.Errorf("%+v, %v", report, err)
		}
		r.owners()
	})
}

// Behind the release every question has a time of its own, and a cancel ends the try that is under way.
func TestStallBehindTheRelease(t *testing.T) {
	for _, verb := range []string{"CONNECT", "IMPORT", "RECORD", "PREPARE", "STATUS"} {
		in(t, func(t *testing.T, r *rig) {
			r.sessions.attach = nil
			m, err := r.c.Hold(Request{Pool: "main", From: "a"})
			if err != nil {
				t.Fatal(err)
			}
			<-m.Parked()
			if verb == "STATUS" {
				r.b.banned["u2"] = true // whose fault is asked for
			}
			r.b.fault = func(v string) fault { return fault{stall: v == verb} }
			if _, err := r.c.Release("main", "a", "b", "test"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if err := r.c.Cancel(m.ID()); err != nil {
				t.Fatal(err)
			}
			told := time.Now()
			report := r.await(m)
			if took := report.Ended.Sub(told) - checkedTime; report.State != StateDone || report.Released || report.Moved != 3 || took > 5*time.Second {
				t.Errorf("%s stalls: %v after the cancel: %+v", verb, took, report)
			}
			r.owners()
		})
	}
}

// A cancel that cannot be obeyed is refused with what is true.
func TestCancelTellsTheTruth(t *testing.T) {
	for verb, want := range map[string]string{"RELEASE": "RELEASE was sent", "COMMIT": "COMMIT was sent to b"} {
		in(t, func(t *testing.T, r *rig) {
			stall := func(v string) fault { return fault{stall: v == verb || v == "STATUS"} }
			if r.a.fault = stall; verb == "COMMIT" {
				r.a.fault, r.b.fault = nil, stall
			}
			from, _ := r.c.find("main", "a")
			to, _ := r.c.find("main", "b")
			m, err := r.c.start(Request{Kind: KindDrain, Pool: "main", From: "a", To: "b"}, from, to)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			if err := r.c.Cancel(m.ID()); !isRefused(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s stalls: %v", verb, err)
			}
			r.a.mu.Lock()
			r.a.fault = nil
			r.a.mu.Unlock()
			r.b.mu.Lock()
			r.b.fault = nil
			r.b.mu.Unlock()
			r.await(m)
			r.owners()
		})
	}
}

// A proxy that cannot tell of the streams is no evidence either.
func TestNoAnswerIsNoEvidence(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		lose := on("RELEASE", 1, fault{err: errLost})
		r.a.fault = func(verb string) fault {
			f := lose(verb)
			r.a.hidden = r.a.hidden || f.err != nil
			return f
		}
		asked := false
		r.sessions.before = func(call string) {
			if call == "Streams" && !asked {
				asked = true
				time.Sleep(time.Minute)
			}
		}
		time.AfterFunc(2*time.Minute, func() {
			r.a.mu.Lock()
			defer r.a.mu.Unlock()
			r.a.hidden = false
		})
		report, err := r.drain(Request{})
		if err != nil || report.State != StateReverted || !asked || report.Ended.Sub(report.Started) > 3*time.Minute {
			t.Errorf("asked %v: %+v, %v", asked, report, err)
		}
		r.owners()
	})
}
