package replay

import (
	"context"
	"fmt"
	"strings"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// present are the members who are there again.
func (c *channel) present() (all []*place) {
	for _, p := range c.members {
		if p.u.lost == nil {
			all = append(all, p)
		}
	}
	return all
}

// chooseLeaders finds for each channel who joins first: an operator if there was one.
func (b *build) chooseLeaders() {
	for _, c := range b.names {
		c.want.modes = b.d.parse(strings.Fields(c.rec.Get(keyModes)))
		c.want.ts, c.want.topic, c.want.topicBy, c.want.topicAt = c.rec.TS(), c.rec.Topic(), c.rec.TopicBy(), c.rec.TopicAt()
		for _, p := range c.present() {
			if strings.Contains(p.status, "o") || c.leader == nil && strings.ContainsAny(p.status, "qa") {
				c.leader = p.u
				break
			}
		}
		if there := c.present(); c.leader == nil && len(there) > 0 {
			c.leader, c.opless = there[0].u, true
		}
	}
}

// join has a user join channels, with the keys that were theirs: one that the ircd's configuration makes may have its own already.
func (u *user) join(cs []*channel) {
	for _, c := range cs {
		line := "JOIN " + c.name
		if key := c.want.modes['k']; key != "" {
			line += " " + key
		}
		u.jobs = append(u.jobs, line)
	}
}

func (b *build) leadersJoin() {
	for _, c := range b.names {
		if c.leader != nil {
			c.leader.join([]*channel{c})
		}
	}
}

func (b *build) othersJoin() {
	for _, u := range b.order {
		for _, p := range u.places {
			if p.c.leader != u {
				u.join([]*channel{p.c})
			}
		}
	}
}

// statuses: the leader gives what the others had.
func (b *build) statuses() {
	for _, c := range b.names {
		var all []change
		for _, p := range c.present() {
			for _, mode := range []byte(p.status) {
				if p.u != c.leader || mode != 'o' {
					all = append(all, change{true, mode, p.u.s.nick})
				}
			}
		}
		if c.leader != nil {
			c.leader.jobs = append(c.leader.jobs, b.d.lines(c.name, all)...)
		}
	}
}

// by is who can set something in the name of who had set it: that user, if he is an operator there, else the leader.
func (b *build) by(c *channel, setter string) *user {
	nick, _, _ := strings.Cut(setter, "!")
	for _, p := range c.present() {
		if b.d.fold(p.u.nick) == b.d.fold(nick) && strings.Contains(p.status, "o") {
			return p.u
		}
	}
	return c.leader
}

func (b *build) topicsAndLists() {
	for _, c := range b.names {
		if c.leader == nil {
			continue
		}
		if c.want.topic != "" {
			who := b.by(c, c.want.topicBy)
			who.jobs = append(who.jobs, "TOPIC "+c.name+" :"+c.want.topic)
		}
		setters := make(map[*user][]change)
		for _, e := range c.want.lists {
			who := b.by(c, e.by)
			setters[who] = append(setters[who], change{true, e.mode, e.mask})
		}
		for who, all := range setters {
			who.jobs = append(who.jobs, b.d.lines(c.name, all)...)
		}
	}
}

// askModes asks which modes a channel has got by itself.
func (b *build) askModes() {
	for _, c := range b.names {
		if c.leader != nil {
			c.leader.jobs = append(c.leader.jobs, "MODE "+c.name)
		}
	}
}

// modes sets those that are missing and takes away what is too much. Who was not operator gives it up.
func (b *build) modes(now *book) {
	for _, c := range b.names {
		if c.leader == nil {
			continue
		}
		all := b.d.changes(c.want.modes, now.at(c.name).modes)
		if c.opless {
			all = append(all, change{false, 'o', c.leader.s.nick})
		}
		c.leader.jobs = append(c.leader.jobs, b.d.lines(c.name, all)...)
	}
}

// readBack asks all again and warns of each difference.
func (b *build) readBack(ctx context.Context) error {
	for _, u := range b.order {
		if u.lost == nil {
			u.jobs = append(u.jobs, "MODE "+u.s.nick)
		}
	}
	for _, c := range b.names {
		if c.leader != nil {
			c.leader.jobs = append(c.leader.jobs, b.d.questions(c.name)...)
		}
	}
	now := newBook(b.d)
	if err := b.work(ctx, now); err != nil {
		return err
	}
	for _, u := range b.order {
		if u.lost == nil {
			b.compareUser(u, now)
		}
	}
	for _, c := range b.names {
		if c.leader != nil {
			b.compareChannel(c, now.at(c.name))
		}
	}
	return nil
}

func (b *build) compareUser(u *user, now *book) {
	want, have := u.rec.Get(keyModes), now.users[b.d.fold(u.s.nick)]
	if gone, more := without(want, have), without(have, want); gone+more != "" {
		b.warn(protocol.Note{U: u.u, Code: "changed", Key: "modes", Text: fmt.Sprintf("user modes were +%s, are +%s", want, have)})
	}
	if lost := u.rec.List(keyLost); len(lost) > 0 {
		b.warn(protocol.Note{U: u.u, Code: "changed", Key: "account", Text: "is not logged in again by " + strings.Join(lost, ", ") + ": secrets are not kept"})
	} else if a := u.rec.Get("account"); a != "" {
		b.warn(protocol.Note{U: u.u, Code: "changed", Key: "account", Text: "is not logged in to " + a + " again"})
	}
}

// without are the letters of a that b has not.
func without(a, b string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(b, r) {
			return -1
		}
		return r
	}, a)
}

func (b *build) compareChannel(c *channel, now *said) {
	changed := func(key, format string, args ...any) {
		b.warn(protocol.Note{C: c.name, Code: "changed", Key: key, Text: fmt.Sprintf(format, args...)})
	}
	if want, have := c.want.modes.String(), now.modes.String(); want != have {
		changed("modes", "the modes were %s, are %s", hideKey(c.want.modes), hideKey(now.modes))
	}
	if c.want.ts != now.ts && c.want.ts != 0 {
		changed("ts", "the time of its making was %d, is %d", c.want.ts, now.ts)
	}
	switch {
	case c.want.topic != now.topic:
		changed("topic", "the topic is another one")
	case c.want.topic == "":
	default:
		if c.want.topicBy != now.topicBy {
			changed("tby", "the topic was set by %s, now by %s", c.want.topicBy, now.topicBy)
		}
		if c.want.topicAt != now.topicAt {
			changed("tat", "the topic's time was %d, is %d", c.want.topicAt, now.topicAt)
		}
	}
	b.compareLists(c, now, changed)
	if c.rec.Has(keyUnread) {
		changed("lists", "not all of its lists could be read")
	}
}

func (b *build) compareLists(c *channel, now *said, changed func(string, string, ...any)) {
	have := make(map[[2]string]entry, len(now.lists))
	for _, e := range now.lists {
		have[[2]string{string(e.mode), e.mask}] = e
	}
	for _, e := range c.want.lists {
		key := [2]string{string(e.mode), e.mask}
		is, ok := have[key]
		delete(have, key)
		switch {
		case !ok:
			changed("list", "+%c %s is not there", e.mode, e.mask)
		case is.by != e.by || is.at != e.at:
			changed("list", "+%c %s was set by %s at %d, now by %s at %d", e.mode, e.mask, e.by, e.at, is.by, is.at)
		}
	}
	for key := range have {
		changed("list", "+%s %s was not there", key[0], key[1])
	}
}

// hideKey is settings without what nobody but the members may read.
func hideKey(s settings) string {
	shown := settings{}
	for c, param := range s {
		if c == 'k' {
			param = "*"
		}
		shown[c] = param
	}
	return shown.String()
}
