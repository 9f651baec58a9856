package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// link links servers to the ircd of a, through us; b is an ircd that can take its place in the network.
func (r *rig) link(names ...string) {
	for _, i := range []*fakeIrcd{r.a, r.b} {
		i.server, i.caps, i.blocks = "irc.example", "ab12", []string{"services.example", "leaf.example", "hub.example"}
	}
	for n, name := range names {
		p := &fakePeer{Link: backend.Link{Name: name, SID: fmt.Sprint("00", n), Proto: 1205, Backend: "main/a"}, raw: true}
		p.up = r.a.linkLocked(protocol.LinkSelection{Name: name, SID: p.SID, Proto: 1205}, "burst before")
		p.got, p.read = []string{"burst before"}, 1
		r.links.peers = append(r.links.peers, p)
	}
}

// linksAreWell checks that each link has exactly one outcome and that no peer has seen what is not for it.
func (r *rig) linksAreWell(report Report) {
	r.t.Helper()
	r.linksAreWellBut(report, false)
}

// linksAreWellBut is linksAreWell for one in which a call of the links may have hung, which a report cannot know the end of.
func (r *rig) linksAreWellBut(report Report, stuck bool) {
	r.t.Helper()
	r.links.mu.Lock()
	defer r.links.mu.Unlock()
	if len(r.links.wrong) > 0 {
		r.t.Errorf("%q", r.links.wrong)
	}
	if r.links.barred {
		r.t.Error("nobody can link any more")
	}
	for _, p := range r.links.peers {
		for _, word := range p.got {
			if word == "burst" || word == "ours" || strings.HasPrefix(word, "marker") {
				r.t.Errorf("%s has seen %q of %q", p.Name, word, p.got)
			}
		}
		i := slices.IndexFunc(report.Links, func(row LinkRow) bool { return row.Link == p.Name })
		if i < 0 {
			if !p.raw || p.cause != nil {
				r.t.Errorf("%s has no row, raw %v, cause %v", p.Name, p.raw, p.cause)
			}
			continue
		}
		row := report.Links[i]
		if (row.Cause != "") != (row.State == LinkGivenUp || row.State == LinkNotHeld) {
			r.t.Errorf("%+v", row)
		}
		if stuck {
			if p.raw == (p.cause != nil) || p.ended > 1 {
				r.t.Errorf("%+v: raw %v, cause %v, ended %d times", row, p.raw, p.cause, p.ended)
			}
			continue
		}
		switch row.State {
		case LinkLive, LinkResumed:
			if p.cause != nil || !p.raw || p.ended != 1 {
				r.t.Errorf("%+v: raw %v, cause %v, ended %d times", row, p.raw, p.cause, p.ended)
			}
		case LinkGivenUp:
			if p.cause == nil || p.ended != 1 {
				r.t.Errorf("%+v: raw %v, ended %d times", row, p.raw, p.ended)
			}
		case LinkNotHeld:
			if p.cause != nil || !p.raw {
				r.t.Errorf("%+v: raw %v, cause %v", row, p.raw, p.cause)
			}
		default:
			r.t.Errorf("%+v", row)
		}
	}
	for _, i := range []*fakeIrcd{r.a, r.b} {
		i.mu.Lock()
		for name, s := range i.servers {
			ours := slices.ContainsFunc(r.links.peers, func(p *fakePeer) bool { return p.up == s })
			if !ours && !s.endedLocked() && !strings.HasPrefix(name, "other") {
				r.t.Errorf("%s has a link to %s that is nobody's", i.name, name)
			}
		}
		i.mu.Unlock()
	}
}

// states are the outcomes of the links.
func states(report Report) string {
	var all []string
	for _, row := range report.Links {
		all = append(all, row.Link+" "+string(row.State))
	}
	return strings.Join(all, ", ")
}

func (r *rig) peer(name string) *fakePeer {
	return r.links.peers[slices.IndexFunc(r.links.peers, func(p *fakePeer) bool { return p.Name == name })]
}

func TestLinksGoAlong(t *testing.T) {
	for _, restart := range []bool{false, true} {
		in(t, func(t *testing.T, r *rig) {
			r.link("services.example", "leaf.example")
			r.a.stay = []string{"id-past"}
			report, err := r.moveOf(restart)
			if err != nil || report.State != StateDone || report.Moved != 3 || states(report) != "services.example live, leaf.example live" {
				t.Fatalf("%+v, %v", report, err)
			}
			for _, p := range r.links.peers {
				if want := []string{"burst before", "chat", "chat"}; !slices.Equal(p.got, want) {
					t.Errorf("%s got %q", p.Name, p.got)
				}
			}
			if !slices.Equal(r.links.quits, []backend.Quit{{ID: "id-past", Reason: "Connection closed"}}) || r.a.quit+r.b.quit != "" {
				t.Errorf("quits %v, %q", r.links.quits, r.a.quit)
			}
			if row := report.Links[0]; row.Kept != 7 || row.SID != "000" {
				t.Errorf("%+v", row)
			}
			r.owners()
			r.linksAreWell(report)
		})
	}
}

// Whatever is wrong with one link before the point of no return undoes the move, and names it; who has said that it may be seen is moved all the
// same, and the links are left alone.
func TestTroubleOfALinkBeforeTheRelease(t *testing.T) {
	trouble := func(at string) func(r *rig) {
		return func(r *rig) {
			r.links.fails = func(call, link string) error {
				if call == at && link == "leaf.example" {
					return errors.New("it does not come")
				}
				return nil
			}
		}
	}
	for name, c := range map[string]struct {
		make    func(*rig)
		says    string
		replace bool // of a replace only
	}{
		"fence":    {trouble("Hold"), "leaf.example: it does not come", false},
		"marker":   {trouble("Cut"), "leaf.example: no marker", false},
		"replay":   {trouble("Replay"), "leaf.example: play it into main/b: it does not come", true},
		"greeting": {func(r *rig) { r.b.blocks = []string{"services.example"} }, "leaf.example: play it into main/b: handoff unknown-link", true},
		"not linked": {func(r *rig) {
			r.a.fault = func(verb string) fault {
				if verb == "EXPORT" {
					delete(r.a.servers, "leaf.example")
				}
				return fault{}
			}
		}, "not-linked", false},
		"unheld": {func(r *rig) {
			r.a.fault = func(verb string) fault {
				if verb == "EXPORT" {
					r.a.linkLocked(protocol.LinkSelection{Name: "other.example", SID: "00O"})
				}
				return fault{}
			}
		}, "other.example: it is linked to the ircd past those that are held", false},
		"untold": {func(r *rig) { r.a.untold = "leaf.example" }, "leaf.example: export: the source has told nothing of it", false},
		"prepare": {func(r *rig) {
			r.b.fault = func(verb string) fault {
				if verb == "PREPARE" {
					r.b.linkLocked(protocol.LinkSelection{Name: "other.example", SID: "00O"})
				}
				return fault{}
			}
		}, "server link other.example: prepare", true},
	} {
		for _, restart := range []bool{false, true} {
			if restart && c.replace {
				continue
			}
			t.Run(fmt.Sprintf("%s/restart=%v", name, restart), func(t *testing.T) {
				in(t, func(t *testing.T, r *rig) {
					r.link("services.example", "leaf.example")
					c.make(r)
					report, err := r.moveOf(restart)
					if err != nil || report.State != StateReverted || !strings.Contains(report.Error, c.says) {
						t.Errorf("%+v, %v", report, err)
					}
					if name != "fence" && states(report) != "services.example resumed, leaf.example resumed" {
						t.Errorf("%+v", report.Links)
					}
					r.owners()
					r.linksAreWell(report)
				})
			})
		}
	}
}

// visibly is moveOf for who has said --allow-visible.
func (r *rig) visibly() Report {
	r.t.Helper()
	m, err := r.c.Hold(Request{Kind: KindHold, Pool: "main", From: "a", AllowVisible: true})
	if err != nil {
		r.t.Fatal(err)
	}
	<-m.Parked()
	if _, err := r.c.Release("main", "a", "", "test"); err != nil {
		r.t.Fatal(err)
	}
	return r.await(m)
}

func TestLinksAreLeftAloneIfItMayBeSeen(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example", "leaf.example")
		r.links.fails = func(call, link string) error {
			if call == "Cut" {
				return errors.New("it does not come")
			}
			return nil
		}
		report := r.visibly()
		if report.State != StateDone || report.Moved != 3 || states(report) != "services.example not-held, leaf.example not-held" || r.a.quit == "" {
			t.Errorf("%+v, quit %q", report, r.a.quit)
		}
		r.owners()
		r.linksAreWell(report)
	})
}

// Who may be seen is not, as long as all links are held.
func TestHeldLinksNeedNoQuits(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example")
		if report := r.visibly(); states(report) != "services.example live" || r.a.quit != "" {
			t.Errorf("%+v, quit %q", report, r.a.quit)
		}
	})
}

// One that links past us makes the others no worse than they were before there were held links.
func TestLinksOfWhichOneIsPastUs(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example")
		r.a.linkLocked(protocol.LinkSelection{Name: "other.example", SID: "00O"})
		_, err := r.c.Hold(Request{Kind: KindHold, Pool: "main", From: "a"})
		if !isRefused(err) || !strings.Contains(err.Error(), "main/a is linked to other.example past ircferry") {
			t.Errorf("%v", err)
		}
		report := r.visibly()
		if report.State != StateDone || len(report.Links) > 0 || r.a.quit == "" {
			t.Errorf("%+v, quit %q", report, r.a.quit)
		}
		r.linksAreWell(report)
		r.owners()
	})
}

// Behind the point of no return a link that cannot come into the process is given up, with its cause, and nobody waits for it.
func TestTroubleOfALinkBehindTheRelease(t *testing.T) {
	const both = "services.example given-up, leaf.example given-up"
	at := func(call string) func(*rig) {
		return func(r *rig) {
			r.links.fails = func(c, link string) error {
				if c == call && link == "leaf.example" {
					return errors.New("it does not come")
				}
				return nil
			}
		}
	}
	for name, c := range map[string]struct {
		make func(*rig)
		want string
		says string
	}{
		"replay":   {at("Replay"), "services.example live, leaf.example given-up", "it does not come"},
		"marker":   {at("Live"), "services.example live, leaf.example given-up", "no second marker"},
		"greeting": {func(r *rig) { r.a.blocks = []string{"services.example"} }, "services.example live, leaf.example given-up", "unknown-link"},
		"linked already": {func(r *rig) {
			r.a.fault = func(verb string) fault {
				if verb == "IMPORT" {
					r.a.linkLocked(protocol.LinkSelection{Name: "leaf.example", SID: "00X"})
				}
				return fault{}
			}
		}, "services.example given-up, leaf.example given-up", "linked"},
		"not up at PREPARE": {func(r *rig) {
			n := 0
			r.a.fault = func(verb string) fault {
				if n++; verb == "PREPARE" && r.a.servers["leaf.example"] != nil {
					delete(r.a.servers, "leaf.example")
				}
				return fault{}
			}
		}, "services.example live, leaf.example given-up", "not up"},
		"other modules": {func(r *rig) { r.a.caps = "other" }, both, "other modules"},
		"other name":    {func(r *rig) { r.a.server = "irc2.example" }, both, "irc2.example"},
		"no links":      {func(r *rig) { r.a.blocks = nil }, both, "cannot take server links over"},
		"a stranger":    {func(r *rig) { r.a.linkLocked(protocol.LinkSelection{Name: "other.example", SID: "00O"}) }, both, "linked to other.example"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.link("services.example", "leaf.example")
				m, err := r.c.Hold(Request{Kind: KindRestart, Pool: "main", From: "a"})
				if err != nil {
					t.Fatal(err)
				}
				<-m.Parked()
				r.a.mu.Lock()
				r.a.start()
				c.make(r)
				r.a.mu.Unlock()
				if _, err := r.c.Release("main", "a", "", "test"); err != nil {
					t.Fatal(err)
				}
				report := r.await(m)
				if report.State != StateDone || report.Moved != 3 || states(report) != c.want || !strings.Contains(report.Links[1].Cause, c.says) {
					t.Errorf("%+v", report)
				}
				if took := report.Ended.Sub(report.Started); took > 10*time.Second {
					t.Errorf("everybody has waited for %v", took)
				}
				if strings.Contains(c.want, "live") && !slices.Equal(r.links.splits, []string{"leaf.example"}) && name != "marker" {
					t.Errorf("told of splits: %q", r.links.splits)
				}
				r.owners()
				r.a.mu.Lock()
				for name, s := range r.a.servers { // of the case
					if s.link.SID == "00X" {
						delete(r.a.servers, name)
					}
				}
				r.a.mu.Unlock()
				r.linksAreWell(report)
			})
		})
	}
}

// A cancelled hold puts users and links back into the process that they came from, which sees the links of before end only now.
func TestLinksGoBackIntoTheirProcess(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example")
		r.a.stay = []string{"id-past"}
		m, err := r.c.Hold(Request{Kind: KindHold, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		late := r.a.linkLocked(r.peer("services.example").up.link) // not seen yet
		time.AfterFunc(time.Second, late.close)
		if err := r.c.Cancel(m.ID()); err != nil {
			t.Fatal(err)
		}
		report := r.await(m)
		if report.State != StateDone || states(report) != "services.example live" || len(r.links.quits) > 0 {
			t.Errorf("%+v, quits %v", report, r.links.quits)
		}
		r.owners()
		r.linksAreWell(report)
	})
}

// A try that fails leaves no link played, and its users of whom no try comes to anything are quits for the peers.
func TestLinksOfTriesThatFail(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example")
		m, err := r.c.Hold(Request{Kind: KindRestart, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		r.a.mu.Lock()
		r.a.start()
		r.a.taken = "u2" // a conflict of his
		tries := 0
		r.a.fault = func(verb string) fault {
			if verb == "PREPARE" {
				if tries++; tries == 1 {
					return fault{err: errLost, kill: true, revive: true}
				}
			}
			return fault{}
		}
		r.a.mu.Unlock()
		if _, err := r.c.Release("main", "a", "", "test"); err != nil {
			t.Fatal(err)
		}
		report := r.await(m)
		if report.State != StateDone || report.Moved != 2 || states(report) != "services.example live" || tries != 3 {
			t.Errorf("%d tries: %+v", tries, report)
		}
		if !slices.Equal(r.links.quits, []backend.Quit{{ID: "id-u2", Reason: "Connection closed"}}) {
			t.Errorf("quits %v", r.links.quits)
		}
		r.owners()
		r.linksAreWell(report)
	})
}

// A process that ends while a link is played into it takes no link with it, and neither does the operator who says where else the users go.
func TestLinksOutliveATry(t *testing.T) {
	for name, disturb := range map[string]func(r *rig, m *Move){
		"the process ends": func(r *rig, _ *Move) {
			r.a.mu.Lock()
			defer r.a.mu.Unlock()
			r.a.start()
		},
		"a cancel": func(r *rig, m *Move) {
			if err := r.c.Cancel(m.ID()); err != nil {
				r.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.link("services.example", "leaf.example")
				m, err := r.c.Hold(Request{Kind: KindHold, Pool: "main", From: "a"})
				if err != nil {
					t.Fatal(err)
				}
				<-m.Parked()
				played := 0
				r.links.before = func(call string) {
					if call == "Replay" {
						if played++; played == 2 {
							disturb(r, m)
						}
					}
				}
				if _, err := r.c.Release("main", "a", "", "test"); err != nil {
					t.Fatal(err)
				}
				report := r.await(m)
				if report.State != StateDone || states(report) != "services.example live, leaf.example live" || played != 4 {
					t.Errorf("played %d: %+v", played, report)
				}
				r.owners()
				r.linksAreWell(report)
			})
		})
	}
}

// Links that are held when nobody waits for that any more go on at once.
func TestLinksThatAreHeldTooLate(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example")
		r.links.late = true
		r.links.before = func(call string) {
			if call == "Hold" {
				time.Sleep(time.Minute)
			}
		}
		report, err := r.moveOf(true)
		if err != nil || report.State != StateReverted {
			t.Errorf("%+v, %v", report, err)
		}
		time.Sleep(2 * time.Minute)
		r.settled()
		if p := r.peer("services.example"); !p.raw || p.cause != nil || r.links.barred {
			t.Errorf("raw %v, cause %v, barred %v", p.raw, p.cause, r.links.barred)
		}
		r.owners()
	})
}

// A destination that cannot have the links takes the users without what is of them, and only then are the links given up.
func TestUsersGoWhereTheirLinksCannot(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example")
		r.b.server = "other.example"
		r.a.sea = []string{"u1"}
		var got []string
		m, err := r.c.Hold(Request{Kind: KindHold, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		r.b.recorded = func(rec protocol.Message) { got = append(got, rec.Verb+" "+rec.Get("n")+rec.Get("c")) }
		refused := 0
		r.b.fault = func(verb string) fault {
			if verb == "COMMIT" && refused == 0 {
				refused++
				if r.peer("services.example").cause != nil {
					t.Error("given up although the users are not there yet")
				}
			}
			return fault{}
		}
		if _, err := r.c.Release("main", "a", "b", "test"); err != nil {
			t.Fatal(err)
		}
		report := r.await(m)
		if report.State != StateDone || report.Moved != 3 || states(report) != "services.example given-up" {
			t.Errorf("%+v", report)
		}
		if want := []string{"CHAN #sea", "USER ", "USER ", "USER ", "MEMB #sea"}; !slices.Equal(got, want) {
			t.Errorf("records %q", got)
		}
		r.owners()
		r.linksAreWell(report)
	})
}

// During a pause the peers' PINGs are answered for the ircd, and afterwards all is as before.
func TestPauseHoldsLinks(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example")
		m, err := r.c.Pause(Request{Pool: "main", From: "a", Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		if states(m.Report()) != "services.example held" {
			t.Errorf("%+v", m.Report())
		}
		report := r.await(m)
		if report.State != StateDone || states(report) != "services.example resumed" {
			t.Errorf("%+v", report)
		}
		r.linksAreWell(report)
	})
}

// The daemon ends while links are held: they end with it, and its successor says so.
func TestDaemonEndsWhileLinksAreHeld(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example", "leaf.example")
		m, err := r.c.Hold(Request{Kind: KindHold, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.c.Close(ctx); err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(journals(t, r.dir)[0])
		if text := string(kept); err != nil || !strings.Contains(text, "BURST l=leaf.example d=user") || strings.Contains(text, `open\sservices`) || strings.Contains(text, `open\sleaf`) {
			t.Errorf("the journal: %q, %v", text, err)
		}
		if got := states(m.Report()); got != "services.example given-up, leaf.example given-up" {
			t.Errorf("%+v", m.Report())
		}
		r.linksAreWell(m.Report())
		_, found, err := New(Options{Sessions: r.sessions, Backends: r.set, Driver: r, Journals: r.dir, Log: r.c.opt.Log, Limits: r.c.opt.Limits})
		if err != nil || len(found) != 1 || !slices.Equal(found[0].Links, []string{"services.example", "leaf.example"}) || found[0].Users != 3 {
			t.Errorf("%+v, %v", found, err)
		}
	})
}

// An ircd that may keep others out until its users are back hears when they will not be.
func TestWhoWaitsForUsersIsToldThatTheyDoNotCome(t *testing.T) {
	for name, c := range map[string]struct {
		to   string
		told bool
	}{"they are elsewhere": {"b", true}, "they are back": {"a", false}} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.link("services.example")
				m, err := r.c.Hold(Request{Kind: KindHold, Pool: "main", From: "a"})
				if err != nil {
					t.Fatal(err)
				}
				<-m.Parked()
				r.a.mu.Lock()
				tx := r.a.export1()
				r.a.start()
				r.a.dead = c.told // for a while
				r.a.mu.Unlock()
				time.AfterFunc(time.Minute, func() { r.a.mu.Lock(); r.a.dead = false; r.a.mu.Unlock() })
				if _, err := r.c.Release("main", "a", c.to, "test"); err != nil {
					t.Fatal(err)
				}
				if report := r.await(m); report.State != StateDone || report.To != c.to {
					t.Errorf("%+v", report)
				}
				if slices.Contains(r.a.aborted, tx) != c.told {
					t.Errorf("the ircd was told %q of %s", r.a.aborted, tx)
				}
			})
		})
	}
}

// export1 is the one export that there was.
func (i *fakeIrcd) export1() string {
	for tx := range i.source {
		return tx
	}
	return ""
}

// An ircd that goes on telling conflicts of links, although none is left, is asked no more often than another that refuses.
func TestConflictsOfLinksThatAreNone(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.link("services.example")
		m, err := r.c.Hold(Request{Kind: KindRestart, Pool: "main", From: "a"})
		if err != nil {
			t.Fatal(err)
		}
		<-m.Parked()
		r.a.mu.Lock()
		r.a.start()
		r.a.notes.Conflicts = []protocol.Note{{L: "other.example", Code: string(protocol.CodeLink)}}
		asked := 0
		r.a.fault = func(verb string) fault {
			if verb == "PREPARE" {
				asked++
			}
			return fault{}
		}
		r.a.mu.Unlock()
		if _, err := r.c.Release("main", "a", "", "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		r.a.mu.Lock()
		if asked < 3 || asked > 40 {
			t.Errorf("asked %d times in 3 s", asked)
		}
		r.a.notes.Conflicts = nil
		r.a.mu.Unlock()
		if report := r.await(m); report.State != StateDone || states(report) != "services.example given-up" || !strings.Contains(report.Links[0].Cause, "other.example has linked itself") {
			t.Errorf("%+v", report)
		}
		r.owners()
	})
}
