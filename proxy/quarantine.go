package proxy

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/wire"
)

// A session whose bytes have ended a process, and when they were worked once more the next one too, would go on to do so for ever, and take all others
// with it. It ends, and what it had sent is kept for who wants to find out.

const (
	// maxQuarantined bounds the files in the directory: each has at most two reads of a loop.
	maxQuarantined = 16

	wordOfQuarantine = "What you have sent is not understood here, please reconnect"
)

// quarantine ends the session without a look at what was being worked.
func (s *session) quarantine(pl *plan) {
	w, in := s.w, pl.work
	side, read := pl.input()
	path, err := s.imprison([...]string{"client", "backend"}[side], pl, read)
	w.p.ends.say(slog.LevelError, "bytes of a session have ended this daemon twice: it is closed", "session", s.id(), "side", side, "bytes", read+in.Plain,
		"kept", path, "err", err)
	s.slot().Crashes = 0
	w.shard.DropWorkOf(s.slotID)
	if pl.counts[0].Ahead > 0 {
		s.set(midLine) // of what the kernel has nobody knows where it ends
	}
	s.end(ReasonQuarantined, wordOfQuarantine)
}

// imprison puts what was read, and what was opened of it, into a file of its own, and answers its name; "": there is no directory for it, or it has enough.
func (s *session) imprison(side string, pl *plan, read int) (string, error) {
	dir := s.w.p.jail
	if dir == "" {
		return "", nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("keep bytes of a session: %w", err)
	}
	if there, err := os.ReadDir(dir); err != nil || len(there) >= maxQuarantined {
		return "", err
	}
	l := [...]*leg.Leg{&s.client, &s.backend}[pl.work.Dir-wire.ToBackend]
	var b []byte
	if read > 0 {
		b = l.Unworked(s.w.legs, read)
	}
	b = append(b, s.w.shard.Plaintext(pl.work.Plain)...)
	defer clear(b)
	path := filepath.Join(dir, s.id()+"."+side)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return "", fmt.Errorf("keep bytes of a session: %w", err)
	}
	return path, nil
}
