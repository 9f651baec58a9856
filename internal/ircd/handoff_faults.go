package ircd

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// FaultAction is what goes wrong.
type FaultAction string

const (
	FaultDrop   FaultAction = "drop"   // the message is not carried out, or not sent
	FaultClose  FaultAction = "close"  // the connection ends in its place
	FaultDelay  FaultAction = "delay"  // it waits for Delay first
	FaultRefuse FaultAction = "refuse" // a request is answered with ERROR instead of being carried out; an answer turns into one
	FaultLie    FaultAction = "lie"    // every count in it is one too high; of a USER the out count, with a sum that fits
	FaultSum    FaultAction = "sum"    // the sum in it is wrong
	FaultDamage FaultAction = "damage" // a record that is sent is changed after its sum was reckoned
	FaultExit   FaultAction = "exit"   // the process dies, without a word
)

// Fault is one way to misbehave at one step of the protocol. At is the verb of the message: "EXPORT" fails before anything was done,
// "END" when all is done and the answer is to be sent. The verbs that are question and answer alike (HELLO, STATUS) are meant in both
// directions. "LIVE" knows drop and close only.
type Fault struct {
	At    string
	Do    FaultAction
	Delay time.Duration
	Times int // how often; 0: always
}

// ParseFault reads "VERB:action", "VERB:delay:5s" or either with "*2" behind it.
func ParseFault(s string) (Fault, error) {
	var f Fault
	s, times, limited := strings.Cut(s, "*")
	if limited {
		if _, err := fmt.Sscanf(times, "%d", &f.Times); err != nil || f.Times <= 0 {
			return Fault{}, fmt.Errorf("fault %q: not a number of times", times)
		}
	}
	parts := strings.Split(s, ":")
	if len(parts) < 2 || parts[0] == "" {
		return Fault{}, fmt.Errorf("fault %q: want VERB:action", s)
	}
	f.At, f.Do = parts[0], FaultAction(parts[1])
	switch f.Do {
	case FaultDrop, FaultClose, FaultRefuse, FaultLie, FaultSum, FaultDamage, FaultExit:
		if len(parts) > 2 {
			return Fault{}, fmt.Errorf("fault %q: too many parts", s)
		}
		return f, nil
	case FaultDelay:
		if len(parts) == 3 {
			var err error
			f.Delay, err = time.ParseDuration(parts[2])
			return f, err
		}
	}
	return Fault{}, fmt.Errorf("fault %q: unknown action", s)
}

// faults is the faults that are set. It has a lock of its own: messages come while the world stands still.
type faults struct {
	mu     sync.Mutex
	list   []Fault
	killed func()
}

func (f *faults) init(cfg HandoffConfig) {
	f.list = append(f.list, cfg.Faults...)
	if f.killed = cfg.Killed; f.killed == nil {
		f.killed = func() { os.Exit(137) }
	}
}

func (f *faults) set(list []Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append([]Fault(nil), list...)
}

// take answers the first fault at a verb that is one of the actions (all, if none is named), and counts it.
func (f *faults) take(verb string, fits func(FaultAction) bool) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.list {
		fault := f.list[i]
		if fault.At != verb || !fits(fault.Do) {
			continue
		}
		if fault.Times == 1 {
			f.list = append(f.list[:i:i], f.list[i+1:]...)
		} else if fault.Times > 1 {
			f.list[i].Times--
		}
		return fault, true
	}
	return Fault{}, false
}

// intercept is protocol.Intercept.
func (f *faults) intercept(d protocol.Direction, m *protocol.Message) protocol.Action {
	fault, ok := f.take(m.Verb, func(a FaultAction) bool { return a != FaultLie || m.Verb != protocol.VerbUser })
	if !ok {
		return protocol.Action{}
	}
	switch fault.Do {
	case FaultDrop:
		return protocol.Action{Drop: true}
	case FaultClose:
		return protocol.Action{Close: true}
	case FaultDelay:
		return protocol.Action{Delay: fault.Delay}
	case FaultExit:
		f.killed()
		return protocol.Action{Close: true}
	case FaultRefuse:
		refuse(d, m)
	case FaultLie:
		lie(m)
	case FaultSum:
		m.Set("sum", "0badc0de")
	case FaultDamage:
		m.Set("x."+software+".damage", "1")
	}
	return protocol.Action{}
}

func refuse(d protocol.Direction, m *protocol.Message) {
	if d == protocol.Received {
		m.Verb = "REFUSED-" + m.Verb // unknown: answered with ERROR
		return
	}
	*m = (&protocol.Error{Code: protocol.CodeInternal, Tx: m.Get("tx"), U: m.Get("u"), Text: "told to refuse"}).Message()
}

// lie makes every count one too high.
func lie(m *protocol.Message) {
	for _, key := range [...]string{"users", "channels", "records", "unmovable", "warns", "conflicts"} {
		if n, err := m.Int(key); err == nil && m.Has(key) {
			m.SetInt(key, n+1)
		}
	}
}

// record lets a USER lie about its byte count, before the sum is reckoned.
func (f *faults) record(m protocol.Message) protocol.Message {
	if m.Verb != protocol.VerbUser || !m.Has("out") {
		return m
	}
	if _, ok := f.take(m.Verb, func(a FaultAction) bool { return a == FaultLie }); ok {
		out, _ := m.Int("out")
		m.SetInt("out", out+1)
	}
	return m
}

// live answers what is wrong with a LIVE line, or "".
func (f *faults) live() FaultAction {
	fault, _ := f.take(protocol.VerbLive, func(a FaultAction) bool { return a == FaultDrop || a == FaultClose })
	return fault.Do
}

// feats is what HELLO announces: all, but with a fault at LIVE an ircd that knows no COMMIT without it.
func (f *faults) feats() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range f.list {
		if fault.At == protocol.VerbLive {
			return []string{"open", "export", "import", "peek", "find", protocol.FeatProof, protocol.FeatMissing, protocol.FeatFence,
				protocol.FeatRemain}
		}
	}
	return nil
}
