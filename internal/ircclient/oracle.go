package ircclient

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Oracle knows which numbered messages were sent and who must get them, and counts what did not come true. A Flow numbers what
// one client says to one target; a Receiver follows the flows that it must hear.
type Oracle struct {
	mu        sync.Mutex
	flows     []*Flow
	receivers []*Receiver

	delivered, duplicated, reordered, unexpected, disconnects atomic.Int64
	samples                                                   chan string
}

// Counts is what an Oracle knows at a moment. Lost is final only once nothing is under way any more.
type Counts struct {
	Sent        int // messages
	Expected    int // deliveries of them
	Delivered   int // of those expected, each counted once
	Lost        int
	Duplicated  int
	Reordered   int // delivered after a later one of the same flow
	Unexpected  int // lines that are no message of a flow that the receiver must hear
	Disconnects int // receivers whose connection ended without Leave
}

// Clean reports whether nothing went wrong.
func (c Counts) Clean() bool {
	return c.Lost == 0 && c.Duplicated == 0 && c.Reordered == 0 && c.Unexpected == 0 && c.Disconnects == 0
}

func (c Counts) String() string {
	return fmt.Sprintf("sent %d, expected %d, delivered %d, lost %d, duplicated %d, reordered %d, unexpected %d, disconnects %d",
		c.Sent, c.Expected, c.Delivered, c.Lost, c.Duplicated, c.Reordered, c.Unexpected, c.Disconnects)
}

// maxSamples is how many unexpected lines are kept for a person to look at.
const maxSamples = 32

// NewOracle answers one that knows of no flow yet.
func NewOracle() *Oracle { return &Oracle{samples: make(chan string, maxSamples)} }

// Flow is the messages of one sender to one target. Next may be called from one goroutine at a time.
type Flow struct {
	id             int
	sender, target string
	sent           atomic.Uint32
}

// Flow declares messages from a nick to a target (a channel or a nick).
func (o *Oracle) Flow(sender, target string) *Flow {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := &Flow{id: len(o.flows), sender: sender, target: target}
	o.flows = append(o.flows, f)
	return f
}

// Next counts one message as sent and answers its text; pad makes it longer. The text has a checksum: a damaged one is
// unexpected.
func (f *Flow) Next(pad string) string {
	return flowText(f.id, f.sent.Add(1), pad)
}

// Line answers the whole PRIVMSG of Next.
func (f *Flow) Line(pad string) string { return "PRIVMSG " + f.target + " :" + f.Next(pad) }

// Sent answers how many messages were made.
func (f *Flow) Sent() int { return int(f.sent.Load()) }

func flowText(id int, seq uint32, pad string) string {
	text := fmt.Sprintf("flow %d %d %s", id, seq, pad)
	return text + " " + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(text))), 36)
}

// parseFlowText answers ok only for text that Next has made.
func parseFlowText(text string) (id int, seq uint32, ok bool) {
	rest, found := strings.CutPrefix(text, "flow ")
	end := strings.LastIndexByte(text, ' ')
	if !found || end < len("flow ") {
		return 0, 0, false
	}
	first, rest, _ := strings.Cut(rest, " ")
	second, _, _ := strings.Cut(rest, " ")
	id, err := strconv.Atoi(first)
	n, err2 := strconv.ParseUint(second, 10, 32)
	sum, err3 := strconv.ParseUint(text[end+1:], 36, 32)
	if err != nil || err2 != nil || err3 != nil || uint32(sum) != crc32.ChecksumIEEE([]byte(text[:end])) {
		return 0, 0, false
	}
	return id, uint32(n), true
}

// Receiver is one client's ear. Line is called from one goroutine at a time, the others from any.
type Receiver struct {
	o    *Oracle
	name string

	mu     sync.Mutex
	tracks map[int]*track
	left   bool
	allow  func(Line) bool
	last   time.Time
	gap    time.Duration
}

// track is how far one receiver has heard one flow.
type track struct {
	flow    *Flow
	first   uint32 // the first number that must be heard
	next    uint32 // the number after the highest that was heard
	missing map[uint32]struct{}
	heard   uint32
}

// Receiver declares a client that hears; allow says which other lines are in order (nil: none).
func (o *Oracle) Receiver(name string, allow func(Line) bool) *Receiver {
	r := &Receiver{o: o, name: name, tracks: make(map[int]*track), allow: allow}
	o.mu.Lock()
	o.receivers = append(o.receivers, r)
	o.mu.Unlock()
	return r
}

// Hears says that r must hear all further messages of f.
func (r *Receiver) Hears(f *Flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := f.sent.Load() + 1
	r.tracks[f.id] = &track{flow: f, first: first, next: first}
}

// Line takes what the client got.
func (r *Receiver) Line(l Line) {
	id, seq, ok := 0, uint32(0), false
	if l.Command() == "PRIVMSG" {
		id, seq, ok = parseFlowText(l.Param(1))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.measure(l.At)
	t := r.tracks[id]
	if !ok || t == nil || seq < t.first || seq > t.flow.sent.Load() || l.Nick() != t.flow.sender || l.Param(0) != t.flow.target {
		if r.allow == nil || !r.allow(l) {
			r.unexpected(l)
		}
		return
	}
	r.heard(t, seq)
}

func (r *Receiver) heard(t *track, seq uint32) {
	switch {
	case seq >= t.next:
		for n := t.next; n < seq; n++ {
			if t.missing == nil {
				t.missing = make(map[uint32]struct{})
			}
			t.missing[n] = struct{}{}
		}
		t.next = seq + 1
	default:
		if _, late := t.missing[seq]; !late {
			r.o.duplicated.Add(1)
			return
		}
		delete(t.missing, seq)
		r.o.reordered.Add(1)
	}
	t.heard++
	r.o.delivered.Add(1)
}

func (r *Receiver) unexpected(l Line) {
	r.o.unexpected.Add(1)
	select {
	case r.o.samples <- r.name + ": " + l.Text:
	default:
	}
}

// measure keeps the longest time between two lines.
func (r *Receiver) measure(at time.Time) {
	if !r.last.IsZero() {
		r.gap = max(r.gap, at.Sub(r.last))
	}
	r.last = at
}

// Gap answers the longest time between two lines.
func (r *Receiver) Gap() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gap
}

// Leave says that the client goes on purpose: what it has not heard by now is not expected any more, and the end of its
// connection is no disconnect. Messages that it hears all the same are checked as before.
func (r *Receiver) Leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
}

// Closed is for Options.Closed.
func (r *Receiver) Closed(error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.left {
		r.left = true
		r.o.disconnects.Add(1)
	}
}

// expected answers how many messages r must have heard by now.
func (r *Receiver) expected() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tracks {
		switch {
		case r.left: // gaps before the last that was heard are a loss all the same
			n += int(t.next - t.first)
		default:
			n += int(t.flow.sent.Load() + 1 - t.first)
		}
	}
	return n
}

// Counts sums up. Call it when nothing is under way: see Settle.
func (o *Oracle) Counts() Counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := Counts{
		Delivered: int(o.delivered.Load()), Duplicated: int(o.duplicated.Load()), Reordered: int(o.reordered.Load()),
		Unexpected: int(o.unexpected.Load()), Disconnects: int(o.disconnects.Load()),
	}
	for _, f := range o.flows {
		c.Sent += f.Sent()
	}
	for _, r := range o.receivers {
		c.Expected += r.expected()
	}
	c.Lost = c.Expected - c.Delivered
	return c
}

// Samples answers the first unexpected lines, with the receiver's name.
func (o *Oracle) Samples() []string {
	var all []string
	for {
		select {
		case s := <-o.samples:
			all = append(all, s)
		default:
			return all
		}
	}
}

// Settle waits until everything was delivered, or nothing more has come for quiet, and answers the counts. Nobody may send.
func (o *Oracle) Settle(quiet time.Duration) Counts {
	last, since := -1, time.Now()
	for {
		c := o.Counts()
		if c.Lost == 0 {
			return c
		}
		if c.Delivered != last {
			last, since = c.Delivered, time.Now()
		}
		if time.Since(since) > quiet {
			return c
		}
		time.Sleep(5 * time.Millisecond)
	}
}
