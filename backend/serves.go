package backend

import (
	"fmt"
	"time"
)

// The ircds' word about which backend of a standalone pool serves, when a proxy that was away tells another one than ours: users must meet, so where there
// are some is right, whoever says so, and an ircd without any is no place to send them to. Both ircds must be up and have said how many they have twice, wordTime
// apart and after the question has come up: an old word would speak of users who have been moved since. If both have users, or neither, acts decide.

// wordTime is some checks: what was under way when a split healed is over.
const wordTime = 5 * time.Second

// doubt is a question to the ircds that is open.
type doubt struct {
	theirs string    // who serves elsewhere
	since  time.Time // it came up
	first  string    // who serves by the first word; "": none yet
	at     time.Time // of the first word
}

// takeServing makes another proxy's act hold, or its serving backend if it has users and ours has none. False: the ircds' word is awaited.
func (p *Pool) takeServing(from string, a Act, now string, back bool) (settled bool) {
	ours := p.set.memory.servingAct(p.name)
	theirs := now
	if a.After(ours) > 0 && a.N > 0 {
		theirs = a.Value
	}
	mine := p.Serving()
	if back && theirs != "" && mine != "" && theirs != mine {
		word, open := p.word(mine, theirs)
		if open {
			return false
		}
		if word != "" {
			p.serveBy(from, Act{Value: word, N: max(a.N, ours.N) + 1, By: ByIrcd})
			return true
		}
	}
	p.mu.Lock()
	p.doubt = doubt{}
	p.mu.Unlock()
	if a.N > 0 && a.After(ours) > 0 {
		p.serveBy(from, a)
	}
	return true
}

// word asks the ircds. open: they have not said it twice.
func (p *Pool) word(mine, theirs string) (who string, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doubt.theirs != theirs {
		p.doubt = doubt{theirs: theirs, since: time.Now()}
		p.recheckLocked(mine, theirs)
		return "", true
	}
	d := &p.doubt
	m, known1 := p.usersLocked(mine, d.since, d.at)
	t, known2 := p.usersLocked(theirs, d.since, d.at)
	if !known1 || !known2 {
		p.recheckLocked(mine, theirs)
		return "", time.Since(d.since) < 4*wordTime // an ircd that is down has no word
	}
	who = ""
	switch {
	case m > 0 && t == 0:
		who = mine
	case t > 0 && m == 0:
		who = theirs
	}
	if d.at.IsZero() || d.first != who {
		d.first, d.at = who, time.Now()
		return "", true
	}
	return who, time.Since(d.at) < wordTime
}

func (p *Pool) recheckLocked(names ...string) {
	for _, name := range names {
		if b := p.findLocked(name); b != nil {
			b.Recheck()
		}
	}
}

// usersLocked is how many users an ircd has said that it has, later than both times.
func (p *Pool) usersLocked(name string, since, last time.Time) (n int, known bool) {
	b := p.findLocked(name)
	if b == nil {
		return 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.health.oper != Up || !b.helloAt.After(since) || !b.helloAt.After(last) {
		return 0, false
	}
	return b.hello.Users, true
}

// serveBy makes a backend the serving one by an act.
func (p *Pool) serveBy(from string, a Act) {
	p.mu.Lock()
	b, was := p.findLocked(a.Value), p.serving
	if b != nil {
		p.serving, p.doubt = a.Value, doubt{}
	}
	p.mu.Unlock()
	if b == nil {
		return // not in our configuration: it differs, which is told
	}
	p.set.memory.setServingAct(p.name, a)
	if was == a.Value {
		return
	}
	text := fmt.Sprintf("in the place of %s, as proxy %s has it", orNone(was), orNone(from))
	if a.By == ByIrcd {
		text = fmt.Sprintf("in the place of %s: it has the users, proxy %s is back", orNone(was), orNone(from))
	}
	p.set.event(b, EventServing, text)
}
