package proxy

import (
	"context"
	"encoding/hex"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/proxy/handshake"
	"github.com/ircferry/ircferry/proxy/wire"
)

// SessionInfo is a picture of one session.
type SessionInfo struct {
	ID         string         `json:"id"`
	Client     netip.AddrPort `json:"client"`
	Listener   string         `json:"listener"`
	Pool       string         `json:"pool"`
	Backend    string         `json:"backend,omitempty"` // "pool/name", "" while it has none
	State      string         `json:"state"`
	Registered bool           `json:"registered"`
	Since      time.Time      `json:"since"`
	BytesIn    uint64         `json:"bytes_in"`  // from the client
	BytesOut   uint64         `json:"bytes_out"` // to the client
	Held       int            `json:"held"`      // bytes that wait here, both ways
	Nick       string         `json:"nick,omitempty"`
	TLS        string         `json:"tls,omitempty"`    // "TLSv1.3/TLS_AES_128_GCM_SHA256", "" for plaintext
	CertFP     string         `json:"certfp,omitempty"` // SHA-256 of the client's certificate, hex
}

// Counts is how many sessions there are, in several ways of counting.
type Counts struct {
	Sessions  int            `json:"sessions"`
	Listeners map[string]int `json:"listeners"`
	Backends  map[string]int `json:"backends"` // by "pool/name"
	States    map[string]int `json:"states"`
	Waiting   int            `json:"waiting"` // for a backend
	Paused    int            `json:"paused"`  // loops that take no clients for want of descriptors
}

// Sessions answers copies of all sessions that are not closing. Loops that do not answer before ctx is over are left out.
func (p *Proxy) Sessions(ctx context.Context) ([]SessionInfo, error) {
	var mu sync.Mutex
	var all []SessionInfo
	err := p.onAll(ctx, func(w *worker) {
		mine := make([]SessionInfo, 0, w.sessions)
		now := time.Now()
		w.each(func(s *session) {
			if s.state != StateClosing {
				mine = append(mine, s.info(now))
			}
		})
		mu.Lock()
		defer mu.Unlock()
		all = append(all, mine...)
	})
	mu.Lock()
	defer mu.Unlock()
	return all, err
}

func (s *session) info(now time.Time) SessionInfo {
	w, slot := s.w, s.slot()
	i := SessionInfo{
		ID: s.id(), Client: s.remote(), Listener: s.lst().Name(), Pool: s.pool(), State: s.state.String(),
		Registered: s.registered(), Since: now.Add(s.started() - w.loop.Now()), BytesIn: slot.ClientIn, BytesOut: slot.ClientOut,
		Held: slot.ToBackend.Len() + s.unread(),
	}
	if slot.ClientTLS != 0 {
		t := w.shard.TLS(slot.ClientTLS)
		version, suite := handshake.Words(t.Version, t.Suite)
		i.TLS = version + "/" + suite
		if t.Flags.Has(wire.TLSHasCert) {
			i.CertFP = hex.EncodeToString(t.CertFP[:])
		}
	}
	if s.peer != nil {
		i.Backend = s.peer.name
	}
	if s.reg != nil {
		i.Nick = s.reg.nick
		i.Held += s.reg.held()
	}
	return i
}

// Counts reads the loops' own counts, without asking them.
func (p *Proxy) Counts() Counts {
	c := Counts{Listeners: map[string]int{}, Backends: map[string]int{}, States: map[string]int{}}
	for _, t := range p.tallies() {
		c.Listeners[t.listener] = int(t.live.Load())
	}
	for _, w := range p.workers {
		for st := StateHeader; st < stateOver; st++ {
			n := int(w.counts.states[st].Load())
			c.States[st.String()] += n
			c.Sessions += n
		}
		c.Waiting += int(w.counts.states[StateWaiting].Load())
		c.Paused += w.resting()
		w.eachPeer(func(p *peer) { c.Backends[p.name] += int(p.live.Load()) })
	}
	return c
}

// resting is 1 while the loop takes no clients; any goroutine may ask.
func (w *worker) resting() int {
	if w.sockets.Paused() {
		return 1
	}
	return 0
}

// eachPeer may be called from any goroutine.
func (w *worker) eachPeer(f func(*peer)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.peers {
		f(p)
	}
}

// Descriptors answers how many descriptors the process has in use and how many it may have.
func (p *Proxy) Descriptors() (used, limit int) { return descriptors() }

// Descriptors is that without a Proxy.
func Descriptors() (used, limit int) { return descriptors() }

// Loops is how many event loops there are.
func (p *Proxy) Loops() int { return len(p.workers) }

func descriptors() (used, limit int) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err == nil {
		limit = int(min(r.Cur, 1<<30))
	}
	if names, err := os.ReadDir("/proc/self/fd"); err == nil {
		used = len(names) - 1 // the one that reads the directory
	}
	return used, limit
}

// Arena answers how full the wire arena is.
func (p *Proxy) Arena() wire.Stats { return p.arena.Stats() }
