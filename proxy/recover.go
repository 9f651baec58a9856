package proxy

import (
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/loop"
	"github.com/ircferry/ircferry/proxy/wire"
)

// How a Proxy goes on with what a process left that was killed: with the arena, in which every session is put back to one moment (wire.Recover), and
// the descriptors, of which the kernel knows how far they have come (leg.Reconcile). Work in whose midst the process ended is done once
// more, from the bytes that it had read (redo.go). What lay in its own memory is lost: handshakes, and what a client had said before a
// backend was found for it.

// Kept is what a keeper has of a Proxy of a process that has ended.
type Kept struct {
	Arena       int            // descriptor of the wire arena
	Descriptors map[uint64]int // by tag
}

// Report says what has become of the sessions that there were.
type Report struct {
	Sessions  int            // that go on
	Ended     map[string]int // that do not, by why
	Corrected int            // sockets of which the kernel knew more than we did
	Strangers int            // descriptors that are nobody's: they were closed
	Unbound   []string       // listeners of which sockets are missing: SetListeners binds them anew
}

// Why a session does not go on behind a crash.
const (
	EndedInHandshake  = LeftInHandshake
	EndedUnheard      = "said-too-early"      // what it had said waited in memory for a backend, or for the rest of its PROXY header
	EndedNoDescriptor = "descriptor-missing"  // the keeper does not have it
	EndedUnexplained  = "counts-do-not-match" // see leg.ErrUnexplained
	EndedNoListener   = "listener-not-noted"  // where it came in is not known
	EndedNoBackend    = "backend-not-known"   // it is not in the configuration
	EndedInMove       = "in-a-move"           // ... that nobody goes on with
	EndedQuarantined  = "quarantined"         // its bytes have ended a process twice
	EndedBefore       = "had-ended-before"    // it was over, and is buried
	pleaseReconnect   = "The proxy was restarted, please reconnect"
)

// recovery is one Recover.
type recovery struct {
	p         *Proxy
	fds       map[uint64]int // that nobody has taken yet
	listeners *admit.Resumed
	backends  map[uint32]*backend.Backend // by the mark of the name
	report    Report
	plans     [][]plan // by loop
}

// Recover makes a Proxy of what a keeper has. Of o, Instance is as it was, and Loops, MaxSessions and MaxBytes are in the arena; secure is as for
// SetListeners, by the listeners of then. The descriptors are the Successor's from here on. An error: nothing of it can be used, the descriptors are the
// caller's.
func Recover(o Options, kept Kept, secure map[string]*tls.Config) (*Successor, Report, error) {
	if err := checkInstance(o.Instance); err != nil {
		return nil, Report{}, err
	}
	arena, err := wire.Attach(kept.Arena, wire.Options{MaxQueue: maxQueue})
	if err != nil {
		return nil, Report{}, err
	}
	arena.Recover()
	arena.FreeLost()
	shards := uint64(arena.Shards())
	if err := arena.Adopt(func(s *wire.Slot) int { return int(s.Session % shards) }); err != nil {
		return nil, Report{}, errors.Join(err, arena.Detach())
	}
	p, err := newProxy(o, arena)
	if err != nil {
		return nil, Report{}, errors.Join(err, arena.Detach())
	}
	x := &recovery{p: p, fds: kept.Descriptors, backends: map[uint32]*backend.Backend{}, report: Report{Ended: map[string]int{}}}
	s := &Successor{p: p, recovered: x}
	if err := x.recover(s, secure); err != nil {
		p.metrics.unregister()
		p.giveUp()
		return nil, Report{}, errors.Join(fmt.Errorf("go on behind a crash: %w", err), arena.Detach())
	}
	x.closeStrangers()
	return s, x.report, nil
}

func (x *recovery) recover(s *Successor, secure map[string]*tls.Config) error {
	var n notes
	if err := json.Unmarshal(x.p.arena.Notes(), &n); err != nil || n.Format != notesFormat {
		return fmt.Errorf("notes of the listeners: form %d, this program reads %d (%v)", n.Format, notesFormat, err)
	}
	if err := x.listen(n.Listeners, secure); err != nil {
		return err
	}
	for _, b := range x.p.backends.Backends() {
		x.backends[x.p.names.mark(b.FullName())] = b
	}
	delete(x.backends, 0)
	x.plans = make([][]plan, len(x.p.workers))
	s.left = make([][]wire.SlotID, len(x.p.workers))
	for i, w := range x.p.workers {
		w.loop.SetNow(w.shard.Time())
		w.firstGen = w.shard.Gen() // no id that was given is given again
		x.p.arena.Used(i, func(id wire.SlotID, slot *wire.Slot) {
			pl, why := x.session(w, id, slot)
			switch {
			case why != "":
				x.report.Ended[why]++
			default:
				x.report.Sessions++
			}
			if pl.s == nil {
				s.left[i] = append(s.left[i], id)
				return
			}
			x.plans[i] = append(x.plans[i], pl)
		})
		w.freePlaces()
	}
	return nil
}

// listen makes the listeners of which all sockets are there what they were.
func (x *recovery) listen(st admit.State, secure map[string]*tls.Config) (err error) {
	var fds []int
	for i := range st.Listeners {
		l := &st.Listeners[i]
		if !l.Open {
			continue
		}
		tags := make([]uint64, len(x.p.workers))
		for k := range tags {
			tags[k] = listenerTag(l.ID, k)
			if _, ok := x.fds[tags[k]]; !ok {
				l.Open = false
			}
		}
		if !l.Open {
			x.report.Unbound = append(x.report.Unbound, l.Addr.String())
			continue
		}
		for _, tag := range tags {
			fds = append(fds, x.fds[tag])
			delete(x.fds, tag)
		}
	}
	x.listeners, err = x.p.listeners.Resume(st, fds, secure)
	return err
}

// take is the descriptor of one of a session's sides, -1 if it was not kept.
func (x *recovery) take(id wire.SlotID, slot *wire.Slot, side leg.Side) int {
	tag := leg.Tag(id, slot.Generation, leg.PortOf(slot, side))
	fd, ok := x.fds[tag]
	if !ok {
		return -1
	}
	delete(x.fds, tag)
	return fd
}

// session makes a session of a slot, with what is to be done with it in the first turn of its loop; why it does not go on, or "". Without a session the
// slot is to be freed.
func (x *recovery) session(w *worker, id wire.SlotID, slot *wire.Slot) (pl plan, why string) {
	state := State(slot.State)
	if state == stateFree || state >= stateOver {
		return pl, EndedBefore
	}
	client := x.take(id, slot, leg.Client)
	if client < 0 && !slot.Flags.Has(wire.ClientGone) {
		return pl, EndedNoDescriptor
	}
	token, ok := x.listeners.TokenAt(slot.Place, slot.Held, addrPort(slot.Remote).Addr())
	if !ok {
		x.giveBack(id, slot, client)
		return pl, EndedNoListener
	}
	s := w.placeAt(slot.Session / uint64(len(x.p.workers)))
	if s == nil {
		x.giveBack(id, slot, client)
		return pl, EndedUnexplained
	}
	*s = session{w: w, slotID: id, index: s.index, gen: uint32(slot.Session / uint64(len(x.p.workers)) >> 24), client: leg.New(slot, leg.Client),
		backend: leg.New(slot, leg.Backend)}
	s.unset(askedAgain | shakingBackend | typing | unkept)
	s.hold(token)
	s.enter(state)
	w.sessions++
	if token.Admitted() {
		s.tally().live.Add(1)
	}
	pl = plan{s: s}
	if why = x.legs(&pl, client); why == "" {
		why = x.state(&pl)
	}
	if why == "" && pl.work != nil && slot.Crashes > 0 {
		why, pl.reason = EndedQuarantined, ReasonQuarantined
	}
	if why != "" && pl.reason == reasonNone {
		pl.reason, pl.text = ReasonCrash, pleaseReconnect
	}
	pl.cut = why == EndedUnexplained
	return pl, why
}

// giveBack leaves a descriptor to closeStrangers.
func (x *recovery) giveBack(id wire.SlotID, slot *wire.Slot, fd int) {
	if fd >= 0 {
		x.fds[leg.Tag(id, slot.Generation, leg.PortOf(slot, leg.Client))] = fd
	}
}

// placeAt is the free place in the table that a session's number names; nil if it is taken.
func (w *worker) placeAt(number uint64) *session {
	index := uint32(number) & loop.MaxSlot
	w.room(int(index))
	s := &w.slabs[index/slabSize][index%slabSize]
	if s.w != nil {
		return nil
	}
	return s
}

// legs gives the session its descriptors and brings its counts in line.
func (x *recovery) legs(pl *plan, client int) (why string) {
	s := pl.s
	w, slot := s.w, s.slot()
	streams, stream := s.hasStream(), -1
	if streams {
		stream = x.take(s.slotID, slot, leg.Backend)
	}
	if err := errors.Join(
		s.client.Resume(w.legs, client, s.key(portClient), leg.State{Gone: client < 0, SaidBye: w.ended(slot.ClientTLS), Kept: slot.ClientTLS != 0}),
		s.backend.Resume(w.legs, stream, s.key(portBackend), leg.State{SaidBye: w.ended(slot.BackendTLS), Kept: slot.BackendTLS != 0 && stream >= 0}),
	); err != nil {
		return EndedNoDescriptor
	}
	if streams {
		b, ok := x.backends[slot.Peer]
		if !ok {
			return EndedNoBackend
		}
		s.setPeer(w.peerOf(b))
		if stream < 0 {
			return EndedNoDescriptor
		}
	}
	return x.reconcile(pl)
}

// ended reports whether close_notify was said on a connection over TLS.
func (w *worker) ended(id wire.TLSID) bool {
	return id != 0 && w.shard.TLS(id).Flags.Has(wire.TLSEnded)
}

// reconcile brings the counts of both sides in line with the kernel's.
func (x *recovery) reconcile(pl *plan) (why string) {
	s := pl.s
	in, ok := s.w.shard.Interrupted()
	working := ok && in.Slot == s.slotID
	if working {
		pl.work = &in
	}
	for i, l := range [...]*leg.Leg{&s.client, &s.backend} {
		if !l.IsOpen() || l == &s.client && s.shakes() {
			continue // what is said in a handshake is not counted
		}
		r, err := l.Reconcile(s.w.legs, working)
		pl.counts[i] = r
		if r.Corrected {
			x.report.Corrected++
		}
		if err != nil {
			x.p.log.Warn("a session cannot go on behind a crash", "session", s.id(), "side", i, "err", err)
			return EndedUnexplained
		}
	}
	return ""
}

// facts of the client's TLS, as far as they are kept.
func (s *session) keptFacts() *backend.TLSFacts {
	id := s.slot().ClientTLS
	if id == 0 {
		return nil
	}
	t := s.w.shard.TLS(id)
	f := &backend.TLSFacts{}
	f.Version, f.Cipher = handshake.Words(t.Version, t.Suite)
	if t.Flags.Has(wire.TLSHasCert) {
		f.CertFP = hex.EncodeToString(t.CertFP[:])
	}
	return f
}

// closeStrangers ends connections that nobody has, and the queues of sockets that do not listen any more.
func (x *recovery) closeStrangers() {
	var tags []uint64
	for tag, fd := range x.fds {
		loop.EndBoth(fd)
		loop.Close(fd)
		tags = append(tags, tag)
	}
	x.report.Strangers = len(tags)
	if len(tags) > 0 && x.p.keeper != nil {
		_ = x.p.keeper.Drop(tags...) // whoever comes finds them once more
	}
	x.fds = nil
}
