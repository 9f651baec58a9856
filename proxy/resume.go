package proxy

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/ircferry/ircferry/proxy/admit"
	"github.com/ircferry/ircferry/proxy/leg"
	"github.com/ircferry/ircferry/proxy/wire"
)

// Inherited is what a Proxy of another process has left to this one: see Cut.
type Inherited struct {
	Carried
	Arena int   // descriptor of the wire arena
	FDs   []int // in the order of Cut.State
}

// Successor is a Proxy that stands still where another one has. Until Start nothing that both processes have is changed, so that the other one can still
// go on; the descriptors are not closed if there is none.
type Successor struct {
	p         *Proxy
	left      [][]wire.SlotID
	recovered *recovery // behind a crash
}

// Resume makes a Proxy of what another one has left. Of o, Loops, MaxSessions and MaxBytes are as they were there; secure is as for SetListeners, by the
// listeners of then.
func Resume(o Options, in Inherited, secure map[string]*tls.Config) (*Successor, error) {
	if in.Format != CarryFormat {
		return nil, fmt.Errorf("go on with sessions: they are in form %d, this program reads %d", in.Format, CarryFormat)
	}
	if err := checkInstance(o.Instance); err != nil {
		return nil, err
	}
	arena, err := wire.Attach(in.Arena, wire.Options{MaxQueue: maxQueue})
	if err != nil {
		return nil, err
	}
	shards := uint64(arena.Shards())
	if err := arena.Adopt(func(s *wire.Slot) int { return int(s.Session % shards) }); err != nil {
		return nil, errors.Join(err, arena.Detach())
	}
	p, err := newProxy(o, arena)
	if err != nil {
		return nil, errors.Join(err, arena.Detach())
	}
	s := &Successor{p: p}
	if err := s.resume(in, secure); err != nil {
		p.metrics.unregister()
		p.giveUp()
		return nil, errors.Join(fmt.Errorf("go on with sessions: %w", err), arena.Detach())
	}
	return s, nil
}

func (x *Successor) resume(in Inherited, secure map[string]*tls.Config) error {
	p := x.p
	if len(in.Loops) != len(p.workers) {
		return fmt.Errorf("%d loops for an arena with %d", len(in.Loops), len(p.workers))
	}
	for _, t := range in.Tallies {
		p.tallyOf(t.Listener).resume(t)
	}
	loops, err := decodeLoops(in.Loops)
	if err != nil {
		return err
	}
	sockets := len(in.FDs)
	for _, st := range loops {
		for _, s := range st.Sessions {
			sockets -= s.descriptors()
		}
	}
	if sockets < 0 {
		return fmt.Errorf("%d descriptors are missing", -sockets)
	}
	listeners, err := p.listeners.Resume(in.Listeners, in.FDs[:sockets], secure)
	if err != nil {
		return err
	}
	fds, sessions := in.FDs[sockets:], 0
	for i, w := range p.workers {
		if fds, err = w.resume(loops[i], fds, listeners); err != nil {
			return fmt.Errorf("loop %d: %w", i, err)
		}
		x.left = append(x.left, loops[i].Left)
		sessions += len(loops[i].Sessions) + len(loops[i].Left)
	}
	if n := p.arena.Stats().Slots; n != sessions {
		return fmt.Errorf("%d sessions for %d slots in use", sessions, n)
	}
	return nil
}

// decodeLoops reads all at the same time: clients wait.
func decodeLoops(texts []json.RawMessage) ([]loopState, error) {
	loops, errs := make([]loopState, len(texts)), make([]error, len(texts))
	var running sync.WaitGroup
	for i := range texts {
		running.Go(func() { errs[i] = json.Unmarshal(texts[i], &loops[i]) })
	}
	running.Wait()
	return loops, errors.Join(errs...)
}

func (st *sessionState) descriptors() (n int) {
	for _, open := range [...]bool{st.ClientFD, st.BackendFD} {
		if open {
			n++
		}
	}
	return n
}

// resume makes a loop's sessions and answers the descriptors behind theirs. The loop does not run yet.
func (w *worker) resume(st loopState, fds []int, listeners *admit.Resumed) ([]int, error) {
	w.loop.SetNow(st.Now)
	w.firstGen = st.Gen
	w.table(st)
	for i := range st.Sessions {
		one := &st.Sessions[i]
		n := one.descriptors()
		if len(fds) < n {
			return nil, errors.New("descriptors are missing")
		}
		if err := w.resumeSession(one, fds[:n], listeners); err != nil {
			return nil, fmt.Errorf("session in slot %d: %w", one.Slot, err)
		}
		fds = fds[n:]
	}
	w.freePlaces()
	return fds, nil
}

// freePlaces makes the places of nobody free for new sessions; what they count on from is firstGen.
func (w *worker) freePlaces() {
	for _, slab := range w.slabs {
		for i := slabSize - 1; i >= 0; i-- {
			if s := &slab[i]; s.w == nil {
				w.free = append(w.free, s.index)
			}
		}
	}
}

// table makes room for the sessions at the places that they had.
func (w *worker) table(st loopState) {
	highest := -1
	for i := range st.Sessions {
		highest = max(highest, int(st.Sessions[i].Index))
	}
	w.room(highest)
}

// room makes the table large enough for a place.
func (w *worker) room(highest int) {
	for len(w.slabs)*slabSize <= highest {
		w.addSlab()
	}
}

func (w *worker) resumeSession(st *sessionState, fds []int, listeners *admit.Resumed) error {
	state, err := parseState(st.State)
	if err != nil {
		return err
	}
	slot := w.shard.Slot(st.Slot)
	s := &w.slabs[st.Index/slabSize][st.Index%slabSize]
	if s.w != nil || slot.State != uint8(state) {
		return fmt.Errorf("place %d is taken, or its slot has state %d and not %s", st.Index, slot.State, state)
	}
	*s = session{w: w, slotID: st.Slot, index: st.Index, gen: st.Gen, client: leg.New(slot, leg.Client), backend: leg.New(slot, leg.Backend)}
	if slot.Session != w.number(s) {
		return fmt.Errorf("it is number %d, its slot has %d", w.number(s), slot.Session)
	}
	slot.Remote, slot.Local = toEndpoint(st.Remote), toEndpoint(st.Local)
	token, err := listeners.Token(st.Token, s.remote().Addr())
	if err != nil {
		return err
	}
	s.hold(token)
	s.enter(state)
	w.sessions++
	if token.Admitted() {
		s.tally().live.Add(1)
	}
	if err := s.resumeFacts(st); err != nil {
		return err
	}
	for _, l := range [...]struct {
		open bool
		leg  *leg.Leg
		port uint8
		st   leg.State
	}{{st.ClientFD, &s.client, portClient, st.Client}, {st.BackendFD, &s.backend, portBackend, st.Backend}} {
		fd := -1
		if l.open {
			fd, fds = fds[0], fds[1:]
		}
		if err := l.leg.Resume(w.legs, fd, s.key(l.port), l.st); err != nil {
			return err
		}
	}
	return nil
}

// resumeFacts is what of a session hangs on no descriptor.
func (s *session) resumeFacts(st *sessionState) error {
	s.slot().Started = int64(st.Started)
	for _, f := range [...]struct {
		on   bool
		flag flag
	}{{st.Dismissed, dismissed}, {st.MidLine, midLine}, {st.Securing, securing}, {st.Pace != nil, pacing}, {st.Opening != nil, opensHere}} {
		if f.on {
			s.set(f.flag)
		}
	}
	s.slot().Owed, s.slot().ErrorAt = st.Owed, st.ErrorAt
	if st.Reason != "" {
		r, err := parseReason(st.Reason)
		if err != nil {
			return err
		}
		s.endsFor(r)
	}
	s.endsOfTLS(whyTLS(st.TLSWhy))
	if st.Opening != nil {
		s.reg = s.w.resumeOpening(st.Opening)
	}
	if st.Pace != nil {
		s.move().pace = *st.Pace
	}
	if s.held() != (st.Move != nil) {
		return fmt.Errorf("it is %s, and what its move has to do with it is told: %v", s.state, st.Move != nil)
	}
	if st.Move != nil {
		s.resumeHeld(st.Move)
	}
	if st.Last != "" {
		s.slot().Last = s.w.p.names.mark(st.Last)
	}
	s.resumeHeard(st.Heard, cmp.Or(st.At, st.Last))
	if st.At != "" {
		b, ok := s.w.p.backends.Backend(st.At)
		if !ok {
			return fmt.Errorf("its backend %s is not in the configuration", st.At)
		}
		s.setPeer(s.w.peerOf(b))
	}
	if st.Until > 0 {
		s.until(st.Until)
	}
	return nil
}

// Proxy is it, to be asked for what it has. Its loops do not turn before Start.
func (x *Successor) Proxy() *Proxy { return x.p }

// Start takes over: all that was the other process's is this one's from here on.
func (x *Successor) Start() {
	if x.recovered != nil {
		x.p.arena.Scrub()
	} else {
		x.p.arena.Settle()
	}
	if x.p.keeper != nil {
		x.p.protect()
	}
	for i, w := range x.p.workers {
		w.loop.Post(func() {
			w.freeLeft(x.left[i])
			if x.recovered != nil {
				w.carryOut(x.recovered.plans[i])
			} else {
				w.takeUp()
			}
		})
	}
	x.p.start()
}

// carryOut is the first turn of a loop behind a crash. The staging buffers are those of the process before until its work is done.
func (w *worker) carryOut(plans []plan) {
	for _, first := range [...]bool{true, false} {
		for i := range plans {
			if pl := &plans[i]; (pl.work != nil) == first {
				w.loop.Guard(pl.s.key(portClient), pl.carryOut)
			}
		}
	}
}

// freeLeft frees the slots of sessions that did not come along, and has the keeper close what it has of them.
func (w *worker) freeLeft(left []wire.SlotID) {
	for _, id := range left {
		if k := w.legs.Keeper; k != nil {
			gen := w.shard.Slot(id).Generation
			_ = k.Drop(leg.Tag(id, gen, 0), leg.Tag(id, gen, 1), leg.Tag(id, gen, 2)) // whoever comes finds them without a session, and closes them
		}
		w.shard.DropWorkOf(id)
		w.shard.FreeSlot(id)
	}
}

// takeUp is the first turn of a loop that goes on with another's sessions.
func (w *worker) takeUp() {
	w.each(func(s *session) {
		s.takeUp()
		s.countAnew()
	})
}

// countAnew notes where the kernel's counts are, for a session that came from a process without a keeper.
func (s *session) countAnew() {
	if base := &s.slot().Base; base.BackendOut == 0 && s.backend.IsOpen() || base.ClientOut == 0 && s.slot().ClientTLS != 0 {
		s.client.Begin(s.w.legs, 0)
		s.backend.Begin(s.w.legs, 0)
	}
}

// takeUp goes on where the session was. What the descriptors have to say comes as events.
func (s *session) takeUp() {
	s.unset(askedAgain | shakingBackend) // of the process before
	switch s.state {
	case StateHandshake:
		early := s.reg.early
		s.reg.early = nil
		if len(early) > 0 {
			s.phase().fromClient(s, early)
		}
	case StateWaiting:
		s.begin()
	default:
		s.flushClient()
		s.flushBackend()
	}
	if !s.over() && (s.client.Deaf() || s.client.More() || s.backend.Deaf() || s.backend.More()) {
		s.client.LookAgain()
		s.backend.LookAgain()
		s.again()
	}
}
