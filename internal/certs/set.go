package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// Set is the certificates of all listeners of one configuration. Its getters work for as long as somebody has them, also when another
// set is in use; only the one in use follows its files.
type Set struct {
	listeners []*listener // those with TLS, in the order of the configuration
	pairs     []*pair     // each once, also if several listeners name its files
}

type listener struct {
	name   string
	pairs  []*pair
	choice atomic.Pointer[choice]
}

// load reads all pairs of the listeners, or returns all that is wrong with them. was finds the pair of the same files that is in use.
func load(listeners []config.Listener, was func(config.Cert) *pair, now time.Time) (*Set, map[config.Cert]error) {
	s := &Set{}
	byFiles, wrong := map[config.Cert]*pair{}, map[config.Cert]error{}
	for _, c := range listeners {
		if c.TLS == nil {
			continue
		}
		l := &listener{name: c.Name}
		for _, files := range c.TLS.Certs {
			p := byFiles[files]
			if p == nil && wrong[files] == nil {
				var err error
				if p, err = newPair(files, was(files), now); err != nil {
					wrong[files] = err
				} else {
					byFiles[files] = p
					s.pairs = append(s.pairs, p)
				}
			}
			if p != nil && !slices.Contains(l.pairs, p) {
				p.listeners = append(p.listeners, c.Name)
				l.pairs = append(l.pairs, p)
			}
		}
		l.choose()
		s.listeners = append(s.listeners, l)
	}
	return s, wrong
}

// choose takes the pairs' present certificates for the handshakes from now on.
func (l *listener) choose() {
	var all []*tls.Certificate
	for _, p := range l.pairs {
		all = append(all, p.cert)
	}
	l.choice.Store(newChoice(all))
}

func (l *listener) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return l.choice.Load().get(hello)
}

// GetCertificate is for the tls.Config of the listener of that name; nil if it has no TLS. What it returns is for any goroutine.
func (s *Set) GetCertificate(name string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	for _, l := range s.listeners {
		if l.name == name {
			return l.get
		}
	}
	return nil
}

// rechoose gives a pair's new certificate to the listeners that use it.
func (s *Set) rechoose(p *pair) {
	for _, l := range s.listeners {
		if slices.Contains(l.pairs, p) {
			l.choose()
		}
	}
}

// Renewed reports whether files that are in both sets have given another certificate to s than to before.
func (s *Set) Renewed(before *Set) bool {
	return slices.ContainsFunc(s.pairs, func(p *pair) bool {
		old := before.pair(p.files)
		return old != nil && !sameCert(old.cert, p.cert)
	})
}

func (s *Set) pair(files config.Cert) *pair {
	for _, p := range s.pairs {
		if p.files == files {
			return p
		}
	}
	return nil
}

// joined is all that is wrong, by listener and in the order of the configuration.
func joined(listeners []config.Listener, wrong map[config.Cert]error) error {
	var all []error
	for _, l := range listeners {
		if l.TLS == nil {
			continue
		}
		for _, files := range l.TLS.Certs {
			if err := wrong[files]; err != nil {
				all = append(all, fmt.Errorf("listener %s: %w", l.Name, err))
			}
		}
	}
	return errors.Join(all...)
}
