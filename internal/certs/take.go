package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// take gives a pair what its files hold now.
func (s *Store) take(p *pair, next *tls.Certificate, now time.Time) {
	was := p.broken
	p.suspect, p.broken, p.since = "", "", time.Time{}
	old := p.cert
	if sameCert(old, next) {
		if was != "" {
			s.notice(p, Mended, now, "")
		}
		return
	}
	p.cert, p.read, p.warned = next, now, time.Time{}
	s.set.rechoose(p)
	s.notice(p, Reloaded, now, replacing(old.Leaf, next.Leaf))
}

// replacing says in words what a new certificate changes.
func replacing(old, next *x509.Certificate) string {
	text := "valid until " + day(next.NotAfter)
	if next.NotAfter.Before(old.NotAfter) {
		text += ", which is earlier than before"
	}
	now := Names(next)
	lost := slices.DeleteFunc(Names(old), func(n string) bool { return slices.Contains(now, n) })
	if len(lost) > 0 {
		text += fmt.Sprintf(", without %s, which the old one had", strings.Join(lost, ", "))
	}
	return text
}
