package certs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// every is how often the files are looked at: two calls of the kernel for a pair, and a new certificate is there before anybody has
// wondered.
const every = 3 * time.Second

// soon is when a certificate is called one that ends soon; ACME clients have renewed theirs long before. It is told once a day.
const (
	soon     = 14 * 24 * time.Hour
	reminder = 24 * time.Hour
)

// Word says what a notice is about.
type Word string

const (
	Reloaded Word = "reloaded" // a new certificate is in use
	Broken   Word = "broken"   // the new files cannot be used, the old certificate goes on
	Mended   Word = "mended"   // the files are right again
	Expiring Word = "expiring" // or expired: once a day
)

// Notice is something that happened to a certificate.
type Notice struct {
	Time      time.Time
	Word      Word
	Files     config.Cert
	Listeners []string // that use it
	Text      string
}

// Store keeps the set in use and follows its files.
type Store struct {
	tell func(Notice)

	mu  sync.Mutex // held while files are read and while told
	set *Set
}

// NewStore returns a store without certificates. tell is called for each notice, one at a time, by who calls Load, Use or Run; it must
// not call the store. It may be nil.
func NewStore(tell func(Notice)) *Store {
	if tell == nil {
		tell = func(Notice) {}
	}
	return &Store{tell: tell, set: &Set{}}
}

// Load reads what the listeners name, for Use. With an error nothing is changed; the files of certificates in use that are wrong are told
// and marked as broken.
func (s *Store) Load(listeners []config.Listener) (*Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	next, wrong := load(listeners, s.set.pair, now)
	for files, err := range wrong {
		if p := s.set.pair(files); p != nil {
			s.fail(p, err, now)
		}
	}
	if len(wrong) > 0 {
		return nil, joined(listeners, wrong)
	}
	return next, nil
}

// Use makes next the set that is watched and shown, and returns the one before, so that a reload that fails later can put it back.
func (s *Store) Use(next *Set) (before *Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.set = s.set, next
	now := time.Now()
	for _, p := range next.pairs {
		old := before.pair(p.files)
		switch {
		case old == nil || old == p:
		case !sameCert(old.cert, p.cert):
			s.notice(p, Reloaded, now, replacing(old.cert.Leaf, p.cert.Leaf))
		case old.broken != "":
			s.notice(p, Mended, now, "")
		}
		s.remind(p, now)
	}
	return before
}

// Run follows the files of the set in use until ctx ends.
func (s *Store) Run(ctx context.Context) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.look()
		}
	}
}

// look looks after each pair once.
func (s *Store) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.set.pairs {
		now := time.Now()
		switch cert, err := p.look(now); {
		case err == errUnchanged:
		case err != nil && (p.suspect != "" || p.broken != ""):
			s.fail(p, err, now)
		case err != nil:
			p.suspect = err.Error()
		default:
			s.take(p, cert, now)
		}
		s.remind(p, now)
	}
}

// fail tells what is wrong with a pair's files, once for each text.
func (s *Store) fail(p *pair, err error, now time.Time) {
	p.suspect = ""
	if p.broken == err.Error() {
		return
	}
	if p.broken == "" {
		p.since = now
	}
	p.broken = err.Error()
	s.notice(p, Broken, now, p.broken+"; the one that was read before goes on")
}

func (s *Store) notice(p *pair, w Word, now time.Time, text string) {
	s.tell(Notice{Time: now, Word: w, Files: p.files, Listeners: slices.Clone(p.listeners), Text: text})
}

// remind tells once a day of a certificate that ends soon.
func (s *Store) remind(p *pair, now time.Time) {
	end := p.cert.Leaf.NotAfter
	if end.Sub(now) > soon || now.Sub(p.warned) < reminder {
		return
	}
	p.warned = now
	text := "expires on " + day(end)
	switch days := int(end.Sub(now).Hours() / 24); {
	case now.After(end):
		text = "has expired on " + day(end)
	case days == 0:
		text += ", within a day"
	case days == 1:
		text += ", in 1 day"
	default:
		text += fmt.Sprintf(", in %d days", days)
	}
	s.notice(p, Expiring, now, text)
}
