package replay

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Proxy is what a replay asks of the proxy, beside what every move does.
type Proxy interface {
	On(ctx context.Context, backendName string) ([]backend.SessionRef, error)
	// Interview asks on the streams of frozen sessions; see backend.Question.
	Interview(ctx context.Context, questions []backend.Question) []backend.Answered
	// Adopt gives held sessions the streams that were made for them. It takes them over, whatever the answer.
	Adopt(ctx context.Context, streams []backend.Adopted) []backend.Moved
}

// Driver connects to backends with driver: replay, and leaves the others to another one. It may be used from any goroutine.
type Driver struct {
	others handoff.Driver
	proxy  Proxy
	log    *slog.Logger

	mu    sync.Mutex
	ircds map[string]*ircd // by "pool/name"
}

var _ handoff.Driver = (*Driver)(nil)

// New is a driver; others is the one for all other backends.
func New(others handoff.Driver, p Proxy, log *slog.Logger) *Driver {
	return &Driver{others: others, proxy: p, log: log, ircds: make(map[string]*ircd)}
}

// Connect begins a conversation. For a stock ircd that is a user of ours there, the lookout, which all conversations share: its stream ends with the
// ircd's process.
func (d *Driver) Connect(ctx context.Context, b *backend.Backend) (handoff.Party, error) {
	if !b.Replays() {
		return d.others.Connect(ctx, b)
	}
	i := d.ircd(b)
	out, err := i.visit(ctx, d.proxy)
	if err != nil {
		return nil, err
	}
	return &party{d: d, ircd: i, b: b, out: out}, nil
}

func (d *Driver) ircd(b *backend.Backend) *ircd {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.ircds[b.FullName()]
	if i == nil {
		i = &ircd{txs: make(map[string]protocol.Status)}
		d.ircds[b.FullName()] = i
	}
	i.b = b // a reload may have made another
	return i
}

// ircd is one stock ircd over the lives of its processes.
type ircd struct {
	mu      sync.Mutex
	b       *backend.Backend
	out     *lookout                   // nil: nobody is there
	known   protocol.Hello             // what the last lookout that was welcomed has heard; no name: nothing
	talks   int                        // conversations with any of its processes
	holding bool                       // its users are in our hands, up to the last conversation's end: who comes back is not asked how many are there
	txs     map[string]protocol.Status // of the last moves
	order   []string
	build   *build // the import that is open
}

// keptTxs is how many transactions are remembered for STATUS.
const keptTxs = 16

func (i *ircd) status(tx string) protocol.Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s, ok := i.txs[tx]; ok {
		return s
	}
	return protocol.Status{Source: protocol.SourceUnknown, Dest: protocol.DestUnknown}
}

func (i *ircd) note(tx string, change func(*protocol.Status)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s, ok := i.txs[tx]
	if !ok {
		s = protocol.Status{Source: protocol.SourceUnknown, Dest: protocol.DestUnknown}
		if i.order = append(i.order, tx); len(i.order) > keptTxs {
			delete(i.txs, i.order[0])
			i.order = i.order[1:]
		}
	}
	change(&s)
	i.txs[tx] = s
}

// token is a word that nobody else says.
func token() string { return "ferry-" + rand.Text()[:16] }
