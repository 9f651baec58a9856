package replay

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ergochat/irc-go/ircmsg"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// lookout is a user of ours at a stock ircd: it tells what the ircd says of itself, and by its end that the process has ended.
type lookout struct {
	epoch string
	ended chan struct{}
	quit  context.CancelFunc
	users int // conversations
}

func (l *lookout) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// visit is the lookout of the process that is there, once more.
func (i *ircd) visit(ctx context.Context, p Proxy) (*lookout, error) {
	i.mu.Lock()
	out, holding := i.out, i.holding && i.known.Name != ""
	if out != nil && !out.over() {
		out.users++
		i.talks++
		i.mu.Unlock()
		return out, nil
	}
	i.mu.Unlock()
	s, err := open(ctx, i.b, backend.Client{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 40000)}, "ferry")
	if err != nil {
		return nil, err
	}
	alive, quit := context.WithCancel(context.Background())
	out = &lookout{epoch: token(), ended: make(chan struct{}), quit: quit, users: 1}
	heard := make(chan error, 1)
	go i.watch(alive, out, s, heard)
	if !holding {
		select {
		case err = <-heard:
		case <-ctx.Done():
			err = fmt.Errorf("register at %s: %w", i.b.FullName(), ctx.Err())
		}
		if err == nil {
			err = i.count(ctx, p)
		}
		if err != nil {
			quit()
			return nil, err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.out = out
	i.talks++
	return out, nil
}

// leave ends a conversation, and the lookout with the last.
func (i *ircd) leave(out *lookout) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.talks--; i.talks == 0 {
		i.holding = false
	}
	if out.users--; out.users == 0 {
		out.quit()
		if i.out == out {
			i.out = nil
		}
	}
}

// watch registers the lookout and stays until the ircd ends its stream.
func (i *ircd) watch(ctx context.Context, out *lookout, s *stream, heard chan<- error) {
	defer close(out.ended)
	defer s.close()
	stop := context.AfterFunc(ctx, func() {
		s.conn.SetDeadline(time.Now().Add(leaveTime))
		s.say("QUIT")
	})
	defer stop()
	var h protocol.Hello
	err := s.register(ctx, person{nick: lookoutNick(), user: "ferry", real: "ircferry lookout"}, func(m ircmsg.Message) { learn(&h, m) })
	if err == nil {
		i.mu.Lock()
		i.known = h
		i.mu.Unlock()
	}
	heard <- err
	for err == nil {
		_, err = s.next()
	}
}

// leaveTime is how long an ircd may take to end a stream behind QUIT.
const leaveTime = 200 * time.Millisecond

// lookoutNick is short enough for every ircd.
func lookoutNick() string { return "ferry" + strings.ToLower(token()[6:10]) }

// learn takes in what an ircd says of itself in its welcome.
func learn(h *protocol.Hello, m ircmsg.Message) {
	last := ""
	if len(m.Params) > 0 {
		last = m.Params[len(m.Params)-1]
	}
	switch m.Command {
	case "001":
		h.Name = m.Source
	case "004":
		if len(m.Params) > 2 {
			h.Software, h.Version, _ = strings.Cut(m.Params[2], "-")
		}
	case "005":
		for _, w := range m.Params[min(1, len(m.Params)):] {
			if !strings.Contains(w, " ") {
				h.ISupport = append(h.ISupport, w)
			}
		}
	case "254":
		if len(m.Params) > 1 {
			h.Channels, _ = strconv.Atoi(m.Params[1])
		}
	case "255":
		if n := numbers(last); len(n) > 1 {
			h.Users, h.Links = n[0]-1, n[len(n)-1] // without the lookout
		}
	}
}

// numbers are those in a text: "I have 2 users, 0 services and 0 servers".
func numbers(text string) (all []int) {
	for w := range strings.FieldsSeq(text) {
		if n, err := strconv.Atoi(strings.Trim(w, ",.")); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// count finds out how many of the ircd's users did not come through here.
func (i *ircd) count(ctx context.Context, p Proxy) error {
	refs, err := p.On(ctx, i.b.FullName())
	if err != nil {
		return err
	}
	ours := 0
	for _, r := range refs {
		if r.Registered {
			ours++
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.known.Unmovable = max(0, i.known.Users-ours)
	return nil
}

// hello is what the coordinator is told.
func (i *ircd) hello(out *lookout) protocol.Hello {
	i.mu.Lock()
	defer i.mu.Unlock()
	h := i.known
	h.V, h.Epoch = "1", out.epoch
	h.Feat = []string{"export", "import", protocol.FeatMissing, protocol.FeatQuiet}
	return h
}
