package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/ergochat/irc-go/ircmsg"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// build is an import into a stock ircd: what is to be made again, and the streams on which it is.
type build struct {
	tx   string
	b    *backend.Backend
	info protocol.Hello
	d    dialect

	users    map[string]*user // by stream id
	order    []*user
	channels map[string]*channel
	names    []*channel

	mu     sync.Mutex
	closed bool
	warns  []protocol.Note
}

type user struct {
	u      string
	rec    protocol.User
	client backend.Client
	nick   string
	places []*place

	s    *stream
	lost error // why he is not there
	jobs []string
}

type channel struct {
	name    string
	rec     protocol.Chan
	want    said
	members []*place
	leader  *user // who is operator there when it is made again
	opless  bool  // nobody was operator: the leader gives it up at the end
}

// place is a user on a channel.
type place struct {
	c      *channel
	u      *user
	status string
}

// add takes a record in.
func (b *build) add(rec protocol.Message) error {
	switch rec.Verb {
	case protocol.VerbChan:
		c := &channel{name: rec.Get("n"), rec: protocol.Chan{Message: rec}}
		b.channels[c.name] = c
		b.names = append(b.names, c)
	case protocol.VerbList:
		if c := b.channels[rec.Get("c")]; c != nil {
			l := protocol.List{Message: rec}
			c.want.lists = append(c.want.lists, entry{listMode(l.Mode()), l.Mask(), l.By(), l.At()})
		}
	case protocol.VerbUser:
		u := &user{u: rec.Get("u"), nick: rec.Get("nick"), rec: protocol.User{Message: rec}}
		if err := json.Unmarshal([]byte(rec.Get(keyClient)), &u.client); err != nil {
			return &protocol.Error{Code: protocol.CodeBadRecord, U: u.u, Text: "USER has no " + keyClient}
		}
		b.users[u.u] = u
		b.order = append(b.order, u)
	case protocol.VerbMemb:
		c, u := b.channels[rec.Get("c")], b.users[rec.Get("u")]
		if c == nil {
			c = b.folded(rec.Get("c"))
		}
		if c == nil || u == nil {
			return &protocol.Error{Code: protocol.CodeBadRecord, Text: "MEMB without its CHAN or USER"}
		}
		p := &place{c, u, rec.Get("m")}
		c.members, u.places = append(c.members, p), append(u.places, p)
	}
	return nil
}

// folded finds a channel of which another member's stream has told the name in other letters.
func (b *build) folded(name string) *channel {
	d := dialectOf(b.info.Software, b.info.ISupport)
	for _, c := range b.names {
		if d.fold(c.name) == d.fold(name) {
			return c
		}
	}
	return nil
}

// together is how many users come at once. ngIRCd's listen backlog has room for ten.
func (b *build) together() int {
	if b.info.Software == "ngircd" {
		return 8
	}
	return 256
}

// each runs f for users beside each other, and notes whose stream ended in it. It ends with the first error that is nobody's alone.
func (b *build) each(ctx context.Context, users []*user, f func(context.Context, *user) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	room := make(chan struct{}, b.together())
	var wg sync.WaitGroup
	for _, u := range users {
		if u.lost != nil {
			continue
		}
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			if ctx.Err() != nil {
				return
			}
			err := f(ctx, u)
			var no *refused
			switch {
			case err == nil:
			case errors.As(err, &no), errors.Is(err, errNick):
				u.lost = err
			default:
				cancel(fmt.Errorf("%s: %w", u.nick, err))
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// run makes all again, step by step; see the package comment.
func (b *build) run(ctx context.Context) (protocol.Prepared, error) {
	b.d = dialectOf(b.info.Software, b.info.ISupport)
	if err := b.each(ctx, b.order, b.comeUp); err != nil {
		return protocol.Prepared{}, err
	}
	b.chooseLeaders()
	for _, step := range []func(){b.leadersJoin, b.othersJoin, b.statuses, b.topicsAndLists} {
		step()
		if err := b.work(ctx, nil); err != nil {
			return protocol.Prepared{}, err
		}
	}
	now := newBook(b.d)
	b.askModes()
	if err := b.work(ctx, now); err != nil {
		return protocol.Prepared{}, err
	}
	b.modes(now)
	if err := b.work(ctx, nil); err != nil {
		return protocol.Prepared{}, err
	}
	if err := b.readBack(ctx); err != nil {
		return protocol.Prepared{}, err
	}
	if err := b.each(ctx, b.order, func(ctx context.Context, u *user) error { return u.s.fence(ctx, nil) }); err != nil {
		return protocol.Prepared{}, err
	}
	return protocol.Prepared{Users: len(b.order), Warns: b.warns, Conflicts: b.conflicts()}, nil
}

// work has each user say what there is for him to say, and reads up to the answers' end. into gets the answers, if it is not nil.
func (b *build) work(ctx context.Context, into *book) error {
	return b.each(ctx, b.order, func(ctx context.Context, u *user) error {
		lines := u.jobs
		u.jobs = nil
		if len(lines) == 0 {
			return nil
		}
		u.s.say(lines...)
		return u.s.fence(ctx, func(m ircmsg.Message) {
			if into != nil && answers[m.Command] {
				b.mu.Lock()
				defer b.mu.Unlock()
				into.hear(m)
			}
		})
	})
}

// comeUp registers a user and gives him what is his alone.
func (b *build) comeUp(ctx context.Context, u *user) error {
	s, err := open(ctx, b.b, u.client, u.rec.Get("ident"))
	if err != nil {
		return err
	}
	b.mu.Lock()
	closed := b.closed
	u.s = s
	b.mu.Unlock()
	if closed {
		s.close()
		return errors.New("the import was aborted")
	}
	now := newBook(b.d)
	if err := s.register(ctx, person{nick: u.nick, user: u.rec.Get("ident"), real: u.rec.Get("real"), caps: u.rec.List("caps")}, nil); err != nil {
		return err
	}
	if s.nick != u.nick {
		b.warn(protocol.Note{U: u.u, Code: "changed", Key: "nick", Text: "was " + u.nick + ", is " + s.nick})
	}
	lines := []string{"MODE " + s.nick}
	if away := u.rec.Get("away"); away != "" {
		lines = append(lines, "AWAY :"+away)
	}
	for targets := range chunks(u.rec.List("monitor"), ",", 400) {
		lines = append(lines, "MONITOR + "+targets)
	}
	for key, verb := range map[string]string{"silence": "SILENCE +", keyWatch: "WATCH +", "accept": "ACCEPT "} {
		for _, entry := range u.rec.List(key) {
			lines = append(lines, verb+entry)
		}
	}
	s.say(lines...)
	if err := s.fence(ctx, now.hear); err != nil {
		return err
	}
	if change := userModes(u.rec.Get(keyModes), now.users[b.d.fold(s.nick)]); change != "" {
		s.say("MODE " + s.nick + " " + change)
		return s.fence(ctx, nil)
	}
	return nil
}

// notOurs are user modes that only the ircd sets: operator, registered, secure, by WEBIRC, and ngIRCd's for who is away.
const notOurs = "oOarzWS"

// userModes is what makes want of have.
func userModes(want, have string) string {
	pick := func(from, without string) (out string) {
		for _, c := range from {
			if !strings.ContainsRune(without+notOurs, c) {
				out += string(c)
			}
		}
		return out
	}
	change := ""
	if on := pick(want, have); on != "" {
		change += "+" + on
	}
	if off := pick(have, want); off != "" {
		change += "-" + off
	}
	return change
}

func (b *build) warn(n protocol.Note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.warns = append(b.warns, n)
}

// conflicts are those who could not be made again.
func (b *build) conflicts() (all []protocol.Note) {
	for _, u := range b.order {
		switch {
		case u.lost == nil:
		case errors.Is(u.lost, errNick):
			all = append(all, protocol.Note{U: u.u, Code: "nick-in-use", Text: u.nick})
		default:
			all = append(all, protocol.Note{U: u.u, Code: "banned", Text: u.lost.Error()})
		}
	}
	return all
}

// close ends all streams.
func (b *build) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, u := range b.order {
		if u.s != nil {
			u.s.close()
		}
	}
}

// give gives the streams to the proxy. Whose session has ended meanwhile quits.
func (b *build) give(ctx context.Context, p Proxy) (done protocol.Committed) {
	streams := make([]backend.Adopted, 0, len(b.order))
	b.mu.Lock()
	for _, u := range b.order {
		streams = append(streams, backend.Adopted{U: u.u, Conn: u.s.conn, Rest: u.s.rest()})
		u.s = nil
	}
	b.mu.Unlock()
	for _, m := range p.Adopt(ctx, streams) {
		if m.Cause == "" {
			done.Users++
			continue
		}
		done.Missing++
		done.Who = append(done.Who, m.U)
	}
	return done
}
