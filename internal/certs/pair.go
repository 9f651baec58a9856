package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// pair is one certificate with its key, and what its files are now. All of it belongs to who holds the store's mutex.
type pair struct {
	files     config.Cert
	listeners []string // that use it, in the order of the configuration

	cert   *tls.Certificate // what clients get
	read   time.Time        // when it was taken
	stamp  stamp            // of the files that it was read from
	unsure bool             // the files may have changed once more within the same stamp

	suspect string    // what was wrong at the last look, not told yet
	broken  string    // what was told; "": nothing
	since   time.Time // that it is broken
	warned  time.Time // when its end was told last
}

// newPair reads a pair for the first time. was is the pair of the same files that is in use now, nil if there is none.
func newPair(files config.Cert, was *pair, now time.Time) (*pair, error) {
	p := &pair{files: files, read: now}
	p.stamp = stampOf(files)
	p.unsure = p.stamp.fresh(now)
	cert, err := Read(files)
	if err != nil {
		return nil, err
	}
	p.cert = cert
	if was != nil {
		if err := mayReplace(was.cert, cert, now); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", files.Cert, err)
		}
		p.warned = was.warned
		if sameCert(was.cert, cert) {
			p.read = was.read
		}
	}
	return p, nil
}

// mayReplace refuses what is no longer or not yet valid in the place of what is. Of two that are both not, the newer one goes.
func mayReplace(old, next *tls.Certificate, now time.Time) error {
	if !valid(old, now) || valid(next, now) {
		return nil
	}
	if now.Before(next.Leaf.NotBefore) {
		return fmt.Errorf("the new one is not valid before %s", day(next.Leaf.NotBefore))
	}
	return fmt.Errorf("the new one has expired on %s", day(next.Leaf.NotAfter))
}

func valid(c *tls.Certificate, now time.Time) bool {
	return !now.Before(c.Leaf.NotBefore) && !now.After(c.Leaf.NotAfter)
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// sameCert compares the whole chains: a new intermediate is a change too.
func sameCert(a, b *tls.Certificate) bool {
	if len(a.Certificate) != len(b.Certificate) {
		return false
	}
	for i := range a.Certificate {
		if !bytes.Equal(a.Certificate[i], b.Certificate[i]) {
			return false
		}
	}
	return true
}

// errUnchanged says that the files are those that were read.
var errUnchanged = errors.New("unchanged")

// look reads the files again if they are others than those in use, or were wrong at the last look. With errUnchanged or another
// error the pair goes on as it was.
func (p *pair) look(now time.Time) (*tls.Certificate, error) {
	at := stampOf(p.files)
	if p.stamp.same(at) && !p.unsure && p.suspect == "" && p.broken == "" {
		return nil, errUnchanged
	}
	cert, err := Read(p.files)
	if err != nil {
		return nil, err
	}
	if err := mayReplace(p.cert, cert, now); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", p.files.Cert, err)
	}
	p.stamp, p.unsure = at, at.fresh(now)
	return cert, nil
}
