package admin

import (
	"context"
	"sync"
	"time"
)

// EventKind is what an event is about.
type EventKind string

const (
	EventBackend  EventKind = "backend"  // up, down, admin state, serving
	EventMove     EventKind = "move"     // its state or step changed
	EventCommand  EventKind = "command"  // an operator's changing command
	EventListener EventKind = "listener" // accepting or not
	EventCert     EventKind = "cert"     // reloaded, broken, mended, expiring; the object is its file
	EventLink     EventKind = "link"     // a server link: up, held, live, resumed, ended, given_up
	EventDaemon   EventKind = "daemon"   // start, reload, stop
	EventMember   EventKind = "member"   // another proxy of the cluster: joined, restarted, changed, lost, left; unreachable, to who follows all
	EventDropped  EventKind = "dropped"  // so many events before this one are lost to this reader
)

// Event is one line of the events stream.
type Event struct {
	Seq    uint64    `json:"seq"` // counts from 1 at the start of the daemon
	Time   time.Time `json:"time"`
	Kind   EventKind `json:"kind"`
	Object string    `json:"object,omitempty"` // "pool/name", a move's id, a listener's name
	Word   string    `json:"word,omitempty"`   // what happened, a fixed word of the kind
	Text   string    `json:"text,omitempty"`   // for a person
	Count  uint64    `json:"count,omitempty"`  // of kind dropped: how many
	Proxy  string    `json:"proxy,omitempty"`  // whose event it is, to who follows all
}

// Events is a bounded ring of the newest events. Publish never blocks and never waits for a reader: one who does not keep up
// loses the oldest, and is told how many.
type Events struct {
	mu      sync.Mutex
	ring    []Event
	next    uint64        // Seq of the next event
	changed chan struct{} // closed at the next Publish; nil: nobody waits
}

// NewEvents returns a ring of the given size. 1024 events are some hundred KiB and more than a day of a quiet daemon.
func NewEvents(size int) *Events { return &Events{ring: make([]Event, max(size, 1)), next: 1} }

// Publish appends an event and gives it its number and, if it has none, its time. Any goroutine may call it.
func (e *Events) Publish(ev Event) {
	if ev.Time.IsZero() {
		ev.Time = time.Now()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	ev.Seq = e.next
	e.ring[ev.Seq%uint64(len(e.ring))] = ev
	e.next++
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// since returns the events after seq, oldest first and at most max, how many were lost before them, and a channel that is closed when
// there are more.
func (e *Events) since(seq uint64, max int) (events []Event, lost uint64, more <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	if seq >= e.next { // from before a restart of the daemon: numbers began anew
		seq = 0
	}
	oldest := uint64(1)
	if size := uint64(len(e.ring)); e.next > size {
		oldest = e.next - size
	}
	from := seq + 1
	if from < oldest {
		if seq > 0 { // a reader from the start wants what there is, and has lost nothing it knew of
			lost = oldest - from
		}
		from = oldest
	}
	for ; from < e.next && len(events) < max; from++ {
		events = append(events, e.ring[from%uint64(len(e.ring))])
	}
	return events, lost, e.changed
}

// Follow calls yield for every event after seq, in order, until ctx is over or yield says stop. Without follow it ends at
// the newest. Lost events are told by one of kind dropped. It returns ctx.Err() or yield's error.
func (e *Events) Follow(ctx context.Context, seq uint64, follow bool, yield func(Event) error) error {
	const batch = 64 // bounds what one reader holds outside the ring
	for {
		events, lost, more := e.since(seq, batch)
		if lost > 0 {
			d := Event{Seq: events[0].Seq - 1, Time: time.Now(), Kind: EventDropped, Word: "dropped", Count: lost,
				Text: "this reader was too slow"}
			if err := yield(d); err != nil {
				return err
			}
		}
		for _, ev := range events {
			if err := yield(ev); err != nil {
				return err
			}
			seq = ev.Seq
		}
		if len(events) > 0 {
			continue
		}
		if !follow {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
