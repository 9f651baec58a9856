package replay

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff/protocol"
)

// Export asks what streams have not told, and gives the records. Behind it the streams of the users are mute.
func (p *party) Export(ctx context.Context, r protocol.ExportRequest, emit func(protocol.Message) error) (protocol.End, error) {
	if r.Peek {
		return protocol.End{}, errPeek
	}
	if len(r.Links) > 0 {
		return protocol.End{}, errLinks
	}
	if err := p.alive(); err != nil {
		return protocol.End{}, err
	}
	ins := make(map[string]uint64, len(r.Select))
	for _, s := range r.Select {
		ins[s.U] = s.In
	}
	users, err := p.fenced(ctx, ins)
	if err != nil {
		return protocol.End{}, err
	}
	x := &export{d: dialectOf(p.Info().Software, p.Info().ISupport), users: users, ins: ins}
	if err := x.ask(ctx, p.d.proxy); err != nil {
		return protocol.End{}, err
	}
	end, err := x.emit(emit)
	if err == nil {
		p.ircd.note(r.Tx, func(s *protocol.Status) { s.Source = protocol.SourceFrozen })
	}
	return end, err
}

// fenced lets the ircd run and answer all that the clients have said, and answers who they are.
func (p *party) fenced(ctx context.Context, ins map[string]uint64) ([]backend.UserRecord, error) {
	var questions []backend.Question
	for u := range ins {
		t := token()
		questions = append(questions, backend.Question{U: u, Token: t, Lines: "PING " + t + "\r\n"})
	}
	var users []backend.UserRecord
	untracked := 0
	for _, a := range p.d.proxy.Interview(ctx, questions) {
		switch a.Cause {
		case "":
			users = append(users, a.User)
		case backend.CauseGone, backend.CauseRegistration:
		case backend.CauseUntracked:
			untracked++
		default:
			return nil, fmt.Errorf("the ircd has not answered a PING on stream %s: %s", a.U, a.Cause)
		}
	}
	if untracked > 0 {
		return nil, fmt.Errorf("%d of %d users cannot be made again: they came before their streams were listened to, that is before driver: replay was configured or ircferry was "+
			"killed; with them gone, or come again, it can be done", untracked, len(questions))
	}
	for _, u := range users {
		if u.Overflow {
			return nil, fmt.Errorf("%s cannot be made again: more was said of him than is kept", u.Nick)
		}
	}
	slices.SortFunc(users, func(a, b backend.UserRecord) int { return strings.Compare(a.U, b.U) })
	return users, nil
}

// export is the state of all users and channels of one move.
type export struct {
	d     dialect
	users []backend.UserRecord
	ins   map[string]uint64
	outs  map[string]uint64
	book  *book
	names []string            // channels, in the order of their first members
	askBy map[string][]string // stream id -> channels that are asked for there
}

// share gives each channel to one of its members, operators first, and of them who has the fewest.
func (x *export) share() {
	type one struct {
		name    string
		members []backend.UserRecord
		ops     []backend.UserRecord
	}
	by := make(map[string]*one)
	var order []*one
	for _, u := range x.users {
		for _, c := range u.Channels {
			key := x.d.fold(c.Name)
			if by[key] == nil {
				by[key] = &one{name: c.Name}
				order = append(order, by[key])
			}
			by[key].members = append(by[key].members, u)
			if strings.ContainsAny(c.Status, "qao") {
				by[key].ops = append(by[key].ops, u)
			}
		}
	}
	x.askBy = make(map[string][]string)
	for _, c := range order {
		who := c.members
		if len(c.ops) > 0 {
			who = c.ops
		}
		least := slices.MinFunc(who, func(a, b backend.UserRecord) int { return len(x.askBy[a.U]) - len(x.askBy[b.U]) })
		x.askBy[least.U] = append(x.askBy[least.U], c.name)
		x.names = append(x.names, c.name)
	}
}

// ask asks each stream its part. Then none of them is read any more.
func (x *export) ask(ctx context.Context, p Proxy) error {
	x.share()
	x.book, x.outs = newBook(x.d), make(map[string]uint64, len(x.users))
	questions := make([]backend.Question, len(x.users))
	for i, u := range x.users {
		lines := []string{"MODE " + u.Nick}
		for _, c := range x.askBy[u.U] {
			lines = append(lines, x.d.questions(c)...)
		}
		t := token()
		questions[i] = backend.Question{U: u.U, Token: t, Lines: strings.Join(append(lines, "PING "+t), "\r\n") + "\r\n", Answers: answers, Last: true}
	}
	for _, a := range p.Interview(ctx, questions) {
		switch a.Cause {
		case "":
		case backend.CauseGone:
			x.users = slices.DeleteFunc(x.users, func(u backend.UserRecord) bool { return u.U == a.U })
			continue
		default:
			return fmt.Errorf("the ircd has not answered what was asked on stream %s: %s", a.U, a.Cause)
		}
		x.outs[a.U] = a.Out
		for _, line := range a.Lines {
			x.book.hearLine(line)
		}
		for i := range x.users {
			if x.users[i].U == a.U {
				x.users[i] = a.User
			}
		}
	}
	return nil
}

// emit gives the records in the order of HANDOFF/1.
func (x *export) emit(emit func(protocol.Message) error) (end protocol.End, err error) {
	give := func(m protocol.Message) {
		if err == nil {
			end.Records++
			err = emit(m)
		}
	}
	for _, name := range x.names {
		end.Channels++
		c := x.book.at(name)
		give(chanRecord(name, c))
		for _, e := range c.lists {
			give(protocol.NewList(name, listName(e.mode), e.mask, e.by, e.at).Message)
		}
	}
	for _, u := range x.users {
		end.Users++
		rec, merr := userRecord(u, x.book.users[x.d.fold(u.Nick)], x.ins[u.U], x.outs[u.U])
		if merr != nil {
			return end, merr
		}
		give(rec)
	}
	for _, u := range x.users {
		for _, c := range u.Channels {
			give(protocol.NewMemb(u.U, c.Name, c.Status).Message)
		}
	}
	return end, err
}

// What stock ircds have and HANDOFF/1 has no key for.
const (
	keyModes  = "x.replay.modes"  // of a CHAN: "+kl key 30"; of a USER: "iw"
	keyClient = "x.replay.client" // who the client is, as it was told to the ircd
	keyWatch  = "x.replay.watch"
	keyLost   = "x.replay.lost" // what he has logged in with and nobody has kept
	keyUnread = "x.replay.unread"
)

func chanRecord(name string, c *said) protocol.Message {
	m := protocol.NewChan(name, c.ts).Message
	if c.topic != "" {
		m.Set("topic", c.topic)
		m.Set("tby", c.topicBy)
		m.SetInt("tat", c.topicAt)
	}
	m.Set(keyModes, c.modes.String())
	if c.refused {
		m.SetBare(keyUnread)
	}
	return m
}

func userRecord(u backend.UserRecord, modes string, in, out uint64) (protocol.Message, error) {
	m := protocol.NewUser(u.U, u.Nick).Message
	set := func(key, value string) {
		if value != "" {
			m.Set(key, value)
		}
	}
	client, err := json.Marshal(u.Client)
	if err != nil {
		return m, fmt.Errorf("write record of %s: %w", u.U, err)
	}
	set("ident", u.User)
	set("real", u.Realname)
	set("away", u.Away)
	set("account", u.Account)
	set(keyModes, modes)
	m.Set(keyClient, string(client))
	for key, list := range map[string][]string{"caps": u.Caps, "monitor": u.Monitor, "silence": u.Silence, "accept": u.Accept, keyWatch: u.Watch, keyLost: u.Secrets} {
		if len(list) > 0 {
			m.SetList(key, list)
		}
	}
	m.Set("in", fmt.Sprint(in))
	m.Set("out", fmt.Sprint(out))
	return m, nil
}
