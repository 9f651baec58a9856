package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy/loop"
)

// Recovered is what became of the links of a process that was killed.
type Recovered struct {
	Links int               // that go on
	Lost  map[string]string // that do not, by "pool/name", and why: both sides are closed
}

// mostTries is how many processes may go on from one picture: what has made two crash is not tried a third time.
const mostTries = 2

// Recover makes a set without links what that of a killed process was, from what a keeper has of it: kept has only tags that are Tagged. pools is the
// configuration that ran there. The links stand until Start. Listeners are not kept: Apply opens them behind that.
func (s *Set) Recover(kept map[uint64]int, pools map[string]config.Pool) (Recovered, error) {
	report := Recovered{Lost: map[string]string{}}
	next, servers, err := s.plan(pools)
	if err != nil {
		for tag, fd := range kept {
			shut(fd)
			s.drop(tag)
		}
		return report, fmt.Errorf("recover links: %w", err)
	}
	s.ports, s.servers = next, servers
	for _, p := range next {
		s.metrics.show(p)
	}
	for tag, fd := range kept {
		if tag&^tagOfLink&(1<<32-1) != tagJournal {
			continue
		}
		number := uint32(tag >> 32)
		peer, ircd := take(kept, tagOf(number, tagPeer)), take(kept, tagOf(number, tagIrcd))
		l, name, err := s.recoverLink(number, os.NewFile(uintptr(fd), "link journal"), peer, ircd)
		if err != nil {
			report.Lost[name] = err.Error()
			s.drop(tagOf(number, tagJournal), tagOf(number, tagPeer), tagOf(number, tagIrcd))
			s.log.Error("the link is lost with the process before", "link", name, "err", err)
			continue
		}
		s.numbers.Store(max(s.numbers.Load(), number))
		s.links = append(s.links, l)
		s.under[l.port.key()]++
		report.Links++
	}
	for tag, fd := range kept { // of links without a journal
		if tag&^tagOfLink&(1<<32-1) != tagJournal && fd >= 0 {
			shut(fd)
			s.drop(tag)
		}
	}
	return report, nil
}

// drop has the keeper forget what is closed.
func (s *Set) drop(tags ...uint64) {
	if s.keeper != nil {
		s.keeper.Drop(tags...) //nolint:errcheck // then there is no keeper
	}
}

// take answers a descriptor, which is the caller's from then on; -1: there is none.
func take(kept map[uint64]int, tag uint64) int {
	fd, ok := kept[tag]
	if !ok {
		return -1
	}
	kept[tag] = -1
	return fd
}

// shut ends a connection whoever else has it.
func shut(fd int) {
	if fd >= 0 {
		unix.Shutdown(fd, unix.SHUT_RDWR) //nolint:errcheck // it may be over
		unix.Close(fd)
	}
}

// recoverLink goes on from a journal. An error: both sides are closed.
func (s *Set) recoverLink(number uint32, file *os.File, peer, ircd int) (l *link, name string, err error) {
	name = fmt.Sprintf("number %d", number)
	fds := [2]int{peer, ircd}
	j, err := openJournal(file)
	defer func() {
		if err == nil {
			return
		}
		shut(fds[0])
		shut(fds[1])
		if j != nil {
			j.wipe()
			j.close()
		}
	}()
	if err != nil {
		return nil, name, err
	}
	text, all, err := j.read()
	var p pictureState
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return nil, name, fmt.Errorf("%w: %w", errJournal, err)
	}
	name = p.Link.Pool + "/" + p.Link.Name
	if j.head.Tries.Add(1) > mostTries {
		return nil, name, fmt.Errorf("%d processes have crashed with it", mostTries)
	}
	if fds[0] < 0 || fds[1] < 0 {
		return nil, name, errors.New("a connection of it was not kept")
	}
	var dup [2]int // what goes wrong behind here is ended by ours
	for i, fd := range fds {
		if dup[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return nil, name, err
		}
	}
	if l, err = s.resumeLink(p.Link, dup[0], dup[1]); err != nil {
		return nil, name, err
	}
	if err = l.hearAgain(&p, all, j, fds); err != nil {
		l.vanish()
		return nil, name, err
	}
	l.number, l.guard.before = number, j
	for _, fd := range fds {
		unix.Close(fd)
	}
	return l, name, nil
}

// hearAgain has the link hear what it had heard behind the picture, and finds out how far it had come.
func (l *link) hearAgain(p *pictureState, all []heard, j *journal, fds [2]int) error {
	log := l.log
	l.log, l.relives = discard, true
	taken := [2]uint32{p.Sides[0].Taken, p.Sides[1].Taken}
	for _, h := range all {
		if l.state == Down {
			break
		}
		atPoint("again")
		if taken[h.side] += uint32(len(h.b)); h.side == sidePeer {
			l.hearPeer(h.b)
		} else {
			l.hearIrcd(h.b)
		}
		l.flush()
	}
	l.log, l.relives = log, false
	j.head.Tries.Store(0)
	if l.state == Down {
		return errors.New("it was at its end")
	}
	for i, s := range [...]*side{l.peer, l.ircd} {
		k, was := loop.Counts(fds[i]), p.Sides[i]
		unread, sent := k.In-was.In0-taken[i], k.Out-was.Out0-was.Wrote
		if k.Dead {
			return errors.New("one of its connections is over")
		}
		if unread > readSize || !s.sentAlready(sent) {
			return fmt.Errorf("%w: %d bytes are unread and %d are sent", errJournal, unread, sent)
		}
		s.unreadAlready(j.staging(i)[:unread])
	}
	return nil
}

// KeepAll gives all links to a keeper that has none of them.
func (s *Set) KeepAll(ctx context.Context) {
	for _, l := range s.all() {
		l.do(ctx, func() { // the end of the turn protects it again
			if l.guard.on {
				l.unprotect()
			}
			l.guard.lost = false
		})
	}
}
