package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// fakeIrcd is an ircd as a coordinator sees it, as strict as HANDOFF.md: who is live in it, which streams it has, what it knows of
// transactions, and how it misbehaves.
type fakeIrcd struct {
	mu      sync.Mutex
	name    string
	epoch   int
	dead    bool
	hidden  bool // lives, and cannot be connected to: its listener is closed for a moment, a firewall refuses
	live    map[string]bool
	open_   map[*fakeStream]bool // its ends of streams
	source  map[string]protocol.SourceState
	dest    map[string]protocol.DestState
	done    map[string]protocol.Committed
	imports *fakeImport
	export  *fakeExport

	// fault is asked before each verb: an error is the answer; before and after say whether the verb was carried out.
	fault    func(verb string) fault
	out      map[string]uint64 // lies about out= by user
	notes    protocol.Prepared // given at PREPARE
	came     int               // unmovable users since HELLO, told at END
	extra    string            // a user whom nobody selected, exported all the same
	deaf     bool              // does not notice the end of a conversation
	quit     string            // of the last RELEASE
	kicks    []string          // of each IMPORT
	sea      []string          // exported as members of #sea
	taken    string            // the user or channel that PREPARE tells a conflict of, if it came
	banned   map[string]bool   // users whose ATTACH is refused
	missed   []string          // who quit for lack of a stream
	hello    protocol.Hello
	older    bool     // knows no feat but those of the first HANDOFF/1
	server   string   // its name in the network; "": name
	caps     string   // linkcaps
	blocks   []string // links that its configuration knows; none: it has no feat links
	servers  map[string]*fakeServer
	aborted  []string               // transactions of all ABORTs
	untold   string                 // link of which EXPORT tells nothing
	stay     []string               // ids that LINK tells
	recorded func(protocol.Message) // told of each record of an import
	blames   map[string]int
	talks    int  // conversations that nobody has closed
	known    bool // the kernel knows its process
	holders  int  // of it, who have not let it go
}

// fakeStream is a stream between the proxy and an ircd; each end can be closed.
type fakeStream struct {
	u      string
	ircd   *fakeIrcd
	epoch  int
	theirs bool // the ircd's end is open
	ours   bool
}

type fakeImport struct {
	tx, tok string
	by      *fakeParty
	until   time.Time
	links   bool
	linked  []string // names of LINK records
	users   []string
	clash   []protocol.Note
	streams map[string]*fakeStream
}

type fakeExport struct {
	tx    string
	by    *fakeParty
	until time.Time
	sel   []string
	links []protocol.LinkSelection
}

// fault is how one question goes wrong.
type fault struct {
	err    error         // the answer, nil: the true one
	doIt   bool          // carry the verb out although err is answered: a lost answer
	kill   bool          // the process ends after it
	stall  bool          // no answer until the asker gives up
	slow   time.Duration // the answer comes after that
	revive bool          // after kill: a new process is there at once
}

var errLost = errors.New("connection reset") // stands for every broken connection

func newFakeIrcd(name string, users ...string) *fakeIrcd {
	i := &fakeIrcd{name: name, banned: map[string]bool{}, blames: map[string]int{}}
	i.start()
	for _, u := range users {
		i.live[u] = true
	}
	return i
}

// start is a new process: nothing of the old one is left.
func (i *fakeIrcd) start() {
	i.epoch++
	i.dead = false
	i.live, i.out, i.open_ = map[string]bool{}, map[string]uint64{}, map[*fakeStream]bool{}
	i.source, i.dest = map[string]protocol.SourceState{}, map[string]protocol.DestState{}
	i.imports, i.export, i.done = nil, nil, map[string]protocol.Committed{}
	i.servers = map[string]*fakeServer{}
}

// open is a stream that is there from the beginning.
func (i *fakeIrcd) open(u string) *fakeStream {
	s := &fakeStream{u: u, ircd: i, epoch: i.epoch, theirs: true, ours: true}
	i.open_[s] = true
	return s
}

// endedLocked: the ircd, or its process, has closed it.
func (s *fakeStream) ended() bool {
	s.ircd.mu.Lock()
	defer s.ircd.mu.Unlock()
	return s.endedLocked()
}

func (s *fakeStream) endedLocked() bool { return !s.theirs || s.ircd.dead || s.ircd.epoch != s.epoch }

// closed is our end's close: an ordinary quit for who is live on it.
func (s *fakeStream) close() {
	if s == nil || !s.ours {
		return
	}
	s.ours = false
	s.ircd.mu.Lock()
	defer s.ircd.mu.Unlock()
	if !s.endedLocked() && s.ircd.open_[s] {
		s.theirs = false
		delete(s.ircd.open_, s)
		delete(s.ircd.live, s.u)
	}
}

// timersLocked ends what has had its time.
func (i *fakeIrcd) timersLocked() {
	now := time.Now()
	if e := i.export; e != nil && !now.Before(e.until) {
		i.resumeLocked()
	}
	if im := i.imports; im != nil && !now.Before(im.until) {
		i.abortLocked()
	}
}

func (i *fakeIrcd) resumeLocked() {
	i.source[i.export.tx] = protocol.SourceResumed
	i.export = nil
}

func (i *fakeIrcd) abortLocked() {
	im := i.imports
	i.dest[im.tx] = protocol.DestAborted
	for _, s := range im.streams {
		s.theirs = false
	}
	i.imports = nil
}

// attach is ATTACH.
func (i *fakeIrcd) attach(u string, to backend.AttachTo) (*fakeStream, backend.Cause) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.timersLocked()
	im := i.imports
	switch {
	case i.dead:
		return nil, backend.CauseTimeout
	case im == nil || im.tx != to.Tx || im.tok != to.Tok || i.banned[u]:
		return nil, backend.CauseAttach
	case im.streams[u] != nil && im.streams[u].ours && im.streams[u].theirs:
		return nil, backend.CauseAttach
	}
	s := &fakeStream{u: u, ircd: i, epoch: i.epoch, theirs: true, ours: true}
	im.streams[u] = s
	return s, ""
}

func (i *fakeIrcd) Connect(ctx context.Context, b *backend.Backend) (Party, error) {
	i.mu.Lock()
	if i.dead || i.hidden {
		i.mu.Unlock()
		return nil, fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	}
	p := &fakeParty{i: i, epoch: i.epoch, info: i.helloLocked()}
	i.mu.Unlock()
	if err := p.do(ctx, "CONNECT", func() error { return nil }); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.talks++
	return p, nil
}

func (i *fakeIrcd) helloLocked() protocol.Hello {
	h := i.hello
	h.Name, h.Epoch, h.Stream, h.Users = i.name, fmt.Sprint(i.name, i.epoch), cmp.Or(i.hello.Stream, "127.0.0.1:1"), len(i.live)
	if h.Feat = []string{"open", "export", "import", "peek", "find"}; !i.older {
		h.Feat = append(h.Feat, protocol.FeatProof, protocol.FeatMissing, protocol.FeatQuiet, protocol.FeatFence, protocol.FeatRemain)
	}
	i.tellLinksLocked(&h)
	return h
}

// fakeParty is one conversation; the end of it resumes what it froze.
type fakeParty struct {
	i      *fakeIrcd
	epoch  int
	info   protocol.Hello
	broken bool
	closed bool
}

func (p *fakeParty) Info() protocol.Hello { return p.info }

// Process is one that never is seen to end, unless it is known: the evidence of the streams has to do.
func (p *fakeParty) Process() Process {
	p.i.mu.Lock()
	defer p.i.mu.Unlock()
	p.i.holders++
	return &fakeProcess{i: p.i, epoch: p.epoch}
}

type fakeProcess struct {
	i     *fakeIrcd
	epoch int
}

func (p *fakeProcess) Ended() bool {
	p.i.mu.Lock()
	defer p.i.mu.Unlock()
	return p.i.known && (p.i.dead || p.i.epoch != p.epoch)
}

func (p *fakeProcess) Release() {
	p.i.mu.Lock()
	defer p.i.mu.Unlock()
	p.i.holders--
}

// do asks one question, with its fault.
func (p *fakeParty) do(ctx context.Context, verb string, f func() error) error {
	p.i.mu.Lock()
	if p.i.dead || p.epoch != p.i.epoch || p.broken {
		p.i.mu.Unlock()
		return errLost
	}
	p.i.timersLocked()
	var x fault
	if p.i.fault != nil {
		x = p.i.fault(verb)
	}
	if x.slow > 0 {
		p.i.mu.Unlock()
		if !wait(ctx, x.slow) {
			p.broken = true
			return fmt.Errorf("%w: %w", errLost, ctx.Err())
		}
		p.i.mu.Lock()
		p.i.timersLocked()
	}
	var err error
	if (x.err == nil && !x.stall) || x.doIt {
		err = f()
	}
	if x.err != nil {
		err = x.err
	}
	if x.kill {
		p.i.dead = true
		if x.revive {
			p.i.start()
		}
	}
	if x.stall {
		p.broken = true
	}
	if errors.Is(err, errLost) {
		p.breakOffLocked()
	}
	p.i.mu.Unlock()
	if x.stall {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", errLost, ctx.Err())
	}
	return err
}

func (p *fakeParty) breakOffLocked() {
	p.broken = true
	if e := p.i.export; e != nil && e.by == p {
		p.i.resumeLocked()
	}
}

func (p *fakeParty) Close() error {
	p.i.mu.Lock()
	defer p.i.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.i.talks--
	}
	if p.epoch == p.i.epoch && !p.i.deaf {
		p.breakOffLocked()
	}
	return nil
}
