package ircd

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Channel is guarded by Server.mu. Times are unix seconds. An empty channel does not exist.
type Channel struct {
	name    string
	ts      int64 // creation
	topic   string
	topicBy string
	topicAt int64
	flags   letters              // i m n s t
	key     string               // "": no k
	limit   int                  // 0: no l
	lists   map[byte][]listEntry // by letter: b e I
	members []*Member            // in the order of joining
}

// listEntry is one entry of a list mode.
type listEntry struct {
	mask string
	by   string
	at   int64
}

// Member is one user in one channel.
type Member struct {
	client  *Client
	channel *Channel
	modes   memberModes
	joined  int64
}

func (s *Server) channel(name string) *Channel { return s.channels[fold(name)] }

// insertChannel makes a channel, whose fields are all set, live. It tells nobody.
func (s *Server) insertChannel(ch *Channel) {
	s.channels[fold(ch.name)] = ch
	s.stats.channels.Add(1)
}

// joinQuietly puts a client into a live or coming channel and tells nobody.
func (s *Server) joinQuietly(c *Client, ch *Channel, modes memberModes, joined int64) *Member {
	m := &Member{client: c, channel: ch, modes: modes, joined: joined}
	c.members = append(c.members, m)
	ch.members = append(ch.members, m)
	return m
}

// partQuietly takes a member out and tells nobody. The last one takes the channel along.
func (s *Server) partQuietly(m *Member) {
	m.client.members = remove(m.client.members, m)
	m.channel.members = remove(m.channel.members, m)
	if len(m.channel.members) == 0 {
		s.removeChannel(m.channel)
	}
}

func (s *Server) removeChannel(ch *Channel) {
	if f := fold(ch.name); s.channels[f] == ch {
		delete(s.channels, f)
		s.stats.channels.Add(-1)
	}
}

func remove[T comparable](list []T, item T) []T {
	i := slices.Index(list, item)
	if i < 0 {
		return list
	}
	list = slices.Delete(list, i, i+1)
	if len(list) == 0 {
		return nil
	}
	return list
}

// broadcast sends to all members but except, which may be nil.
func (ch *Channel) broadcast(m *message, except *Client) {
	for _, member := range ch.members {
		if member.client != except {
			member.client.send(m)
		}
	}
}

// listed reports whether an entry of the list fits c.
func (ch *Channel) listed(letter byte, c *Client) bool {
	return slices.ContainsFunc(ch.lists[letter], func(e listEntry) bool { return c.fits(e.mask) })
}

// fits compares a mask with the displayed host, the real one and the address.
func (c *Client) fits(mask string) bool {
	who := c.nick + "!" + c.ident + "@"
	return match(mask, who+c.dispHost) || match(mask, who+c.realHost) || match(mask, who+hostOf(c.ip))
}

// banned is b without e.
func (ch *Channel) banned(c *Client) bool { return ch.listed('b', c) && !ch.listed('e', c) }

// maySpeak is what PRIVMSG, NOTICE and TAGMSG to ch need.
func (ch *Channel) maySpeak(c *Client) bool {
	m := c.member(ch)
	switch {
	case m == nil:
		return !ch.flags.has('n') && !ch.flags.has('m') && !ch.banned(c)
	case m.modes != 0:
		return true
	default:
		return !ch.flags.has('m') && !ch.banned(c)
	}
}

// visible reports whether c may know of the channel.
func (ch *Channel) visible(c *Client) bool {
	return !ch.flags.has('s') || c.member(ch) != nil || c.oper != ""
}

// modeString is what MODE answers: the key only to members.
func (ch *Channel) modeString(c *Client) []string {
	modes, params := "+"+ch.flags.String(), []string(nil)
	if ch.key != "" {
		modes += "k"
		if c.member(ch) != nil {
			params = append(params, ch.key)
		} else {
			params = append(params, "*")
		}
	}
	if ch.limit > 0 {
		modes += "l"
		params = append(params, strconv.Itoa(ch.limit))
	}
	return append([]string{modes}, params...)
}

// sendTopic answers a JOIN or TOPIC.
func (ch *Channel) sendTopic(c *Client) {
	if ch.topic == "" {
		return
	}
	c.numeric(rplTopic, ch.name, ch.topic)
	c.numeric(rplTopicWhoTime, ch.name, ch.topicBy, strconv.FormatInt(ch.topicAt, 10))
}

// sendNames answers a JOIN or NAMES, in the order of joining.
func (ch *Channel) sendNames(c *Client) {
	kind, inside := "=", c.member(ch) != nil
	if ch.flags.has('s') {
		kind = "@"
	}
	var names []string
	for _, m := range ch.members {
		if !inside && m.client.modes.has('i') && c.oper == "" {
			continue
		}
		names = append(names, m.modes.prefixes(c.caps.has(capMultiPrefix))+m.client.nick)
	}
	c.inChunks(names, func(part string) { c.numeric(rplNamReply, kind, ch.name, part) })
	c.numeric(rplEndOfNames, ch.name, "End of /NAMES list.")
}

// inChunks joins words by spaces into parts that fit a line.
func (c *Client) inChunks(words []string, send func(part string)) {
	const room = maxBody - 150 // server name, numeric, nick, channel
	var b strings.Builder
	for _, w := range words {
		if b.Len() > 0 && b.Len()+1+len(w) > room {
			send(b.String())
			b.Reset()
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w)
	}
	if b.Len() > 0 {
		send(b.String())
	}
}

// newChannel founds a channel.
func (s *Server) newChannel(name string) *Channel {
	ch := &Channel{name: name, ts: time.Now().Unix()}
	ch.flags.set('n')
	ch.flags.set('t')
	s.insertChannel(ch)
	return ch
}
