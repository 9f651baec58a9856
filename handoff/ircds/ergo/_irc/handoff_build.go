// SPDX-License-Identifier: MIT

package irc

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ergochat/ergo/irc/flatip"
	"github.com/ergochat/ergo/irc/modes"
	"github.com/ergochat/ergo/irc/protocol"
)

// handoffBuilder turns records into clients and channels that nobody can see. What it cannot keep exactly it warns of, what cannot be at
// all is a conflict; no key is dropped in silence.
type handoffBuilder struct {
	*handoffImport
	end    *handoffEnd
	server *Server
	config *Config
	coming map[string]int // connections that this import adds, by the limiter's name of the network
	fault  error          // the first value that may be nobody's
}

func newHandoffBuilder(h *handoffEnd) *handoffBuilder {
	return &handoffBuilder{handoffImport: h.staged, end: h, server: h.server, config: h.server.Config(), coming: make(map[string]int)}
}

func (b *handoffBuilder) record(m protocol.Message) {
	switch m.Verb {
	case protocol.VerbChan:
		b.channel(protocol.Chan{Message: m})
	case protocol.VerbList:
		b.list(protocol.List{Message: m})
	case protocol.VerbUser:
		b.user(protocol.User{Message: m})
	case protocol.VerbMemb:
		b.member(protocol.Memb{Message: m})
	}
}

func (b *handoffBuilder) warn(n protocol.Note, code, key, text string) {
	n.Code, n.Key, n.Text = code, key, text
	b.prepared.Warns = append(b.prepared.Warns, n)
}

func (b *handoffBuilder) conflict(n protocol.Note, code, key, text string) {
	n.Code, n.Key, n.Text = code, key, text
	b.prepared.Conflicts = append(b.prepared.Conflicts, n)
}

// private reads JSON of Ergo's own; false where there is none, or none that makes sense. A value that would break a client's line is a
// fault of the whole import.
func (b *handoffBuilder) private(m protocol.Message, note protocol.Note, key string, value any) bool {
	text, ok := m.Lookup(key)
	if !ok {
		return false
	}
	if err := handoffUnmarshal(text, value); err != nil {
		b.warn(note, "bad-value", key, "not what this version writes")
		return false
	}
	if !oneLine(value) && b.fault == nil {
		b.fault = &protocol.Error{Code: protocol.CodeBadRecord, U: note.U, Text: m.Verb + " " + key + ": a value is not one line"}
	}
	return true
}

// unknown warns of every key that is not kept. Modes were looked at already.
func (b *handoffBuilder) unknown(m protocol.Message, note protocol.Note, kept ...string) {
	for _, f := range m.Fields {
		mode := strings.HasPrefix(f.Key, "m.") || strings.HasPrefix(f.Key, handoffOwnMode)
		if mode || slices.Contains(kept, f.Key) || f.Value == "" && !f.Bare {
			continue
		}
		b.warn(note, "unknown-key", f.Key, "not kept")
	}
}

// modes yields the keys of a record that are modes.
func handoffModes(m protocol.Message) (set []protocol.Field) {
	for _, f := range m.Fields {
		if strings.HasPrefix(f.Key, "m.") || strings.HasPrefix(f.Key, handoffOwnMode) {
			set = append(set, f)
		}
	}
	return set
}

func (b *handoffBuilder) channel(r protocol.Chan) {
	note := protocol.Note{C: r.Name()}
	cfname, err := CasefoldChannel(r.Name())
	skeleton, skerr := Skeleton(r.Name())
	if err != nil || skerr != nil || len(cfname) > b.config.Limits.ChannelLen || b.server.channels.IsPurged(r.Name()) {
		b.conflict(note, "channel-invalid", "n", "not a channel name here")
		cfname = r.Name()
	}
	var state handoffChannel
	own := b.private(r.Message, note, handoffKeyChannel, &state)
	if !own {
		state.Created, state.TopicAt = time.Unix(r.TS(), 0).UTC(), time.Unix(r.TopicAt(), 0).UTC()
	}
	c := &handoffNewChannel{record: r, lists: make(map[modes.Mode]map[string]MaskInfo),
		want: NewChannel(b.server, r.Name(), cfname, false, RegisteredChannel{})}
	b.channels = append(b.channels, c)
	b.byName[r.Name()] = c
	b.place(c, note, state, skeleton)
	want := c.want
	want.createdTime, want.metadata, want.settings = state.Created, state.Metadata, state.Settings
	if r.Has("topic") {
		want.topic, want.topicSetBy, want.topicSetTime = r.Topic(), r.TopicBy(), state.TopicAt
	}
	if own {
		want.uuid = state.UUID
	}
	b.registration(c, note, state)
	want.flags.Clear()
	for _, f := range handoffModes(r.Message) {
		b.channelMode(want, note, f)
	}
	b.unknown(r.Message, note, "n", "ts", "topic", "tby", "tat", handoffKeyChannel, handoffKeyHistory)
}

// place finds out what the channel meets here. One that only clients without a connection are on was made of the database as this server
// began: the record is what it was before.
func (b *handoffBuilder) place(c *handoffNewChannel, note protocol.Note, state handoffChannel, skeleton string) {
	here := b.server.channels.Get(c.record.Name())
	other, another := here, here != nil && here.uuid != state.UUID && here.createdTime.Unix() != c.record.TS() &&
		(here.registeredFounder != "" || !deserted(here) || here.IsEmpty())
	if here == nil {
		other, another = b.end.likeness(skeleton)
	}
	switch {
	case b.end.isReserved("c" + c.want.nameCasefolded):
		b.conflict(note, "channel-exists", "n", "the name is reserved")
	case another && b.givesWay(other, c.record):
		b.end.reserve("c" + c.want.nameCasefolded) // nobody makes it once more if it ends before COMMIT
		b.warn(note, "replaced", "n", "a younger channel has the name, or one that looks the same; its members are kicked")
	case another && here == nil:
		b.conflict(note, "channel-exists", "n", "a channel of nearly the same name is here")
	case here == nil:
		b.end.reserve("c" + c.want.nameCasefolded)
	case another:
		b.conflict(note, "channel-exists", "n", "another channel has the name")
	default:
		c.here = here
		if !deserted(here) {
			c.merged = true
			b.warn(note, "merged", "n", "the channel lives here; its topic, modes and lists stay")
		}
	}
}

// deserted reports whether nobody who is connected is on a channel.
func deserted(channel *Channel) bool {
	for member := range channel.members {
		if len(member.sessions) > 0 {
			return false
		}
	}
	return true
}

// registration is kept where this server has it too: a record registers nothing.
func (b *handoffBuilder) registration(c *handoffNewChannel, note protocol.Note, state handoffChannel) {
	if state.Founder == "" {
		if c.here != nil && c.here.registeredFounder != "" { // dropped and registered again since
			c.merged = true
			b.warn(note, "merged", "n", "the channel is registered here; its topic, modes and lists stay")
		}
		return
	}
	if c.here == nil || c.here.registeredFounder == "" || c.here.uuid != state.UUID {
		b.warn(note, "changed", handoffKeyChannel, "not registered here")
		return
	}
	c.want.registeredFounder, c.want.registeredTime, c.want.transferPendingTo = state.Founder, state.Registered, state.Transfer
	if state.Access != nil {
		c.want.accountToUMode = state.Access
	}
}

func (b *handoffBuilder) channelMode(channel *Channel, note protocol.Note, f protocol.Field) {
	mode, ok := handoffModeOf(handoffChannelFlags, f.Key)
	switch {
	case ok:
		channel.flags.SetMode(mode, true)
	case f.Key == "m.key":
		channel.key = f.Value
	case f.Key == "m.limit":
		n, err := strconv.Atoi(f.Value)
		if err != nil || n <= 0 {
			b.warn(note, "bad-value", f.Key, "not a limit")
			return
		}
		channel.userLimit = n
	case f.Key == handoffForward:
		channel.forward = f.Value
	default:
		b.warn(note, "unknown-mode", f.Key, "no such mode here")
	}
}

// finish compiles each list once.
func (b *handoffBuilder) finish() {
	for _, c := range b.channels {
		for mode, masks := range c.lists {
			c.want.lists[mode].SetMasks(masks)
		}
	}
}

func (b *handoffBuilder) list(r protocol.List) {
	note := protocol.Note{C: r.Channel()}
	mode, ok := handoffModeOf(handoffLists, "m."+r.Mode())
	if !ok {
		b.warn(note, "unknown-mode", "m."+r.Mode(), "no such list here")
		return
	}
	at := time.Unix(r.At(), 0).UTC()
	if ns, err := r.Int(handoffKeyTime); err == nil && ns != 0 {
		at = time.Unix(0, ns).UTC()
	}
	mask, err := CanonicalizeMaskWildcard(r.Mask())
	if err != nil {
		b.warn(note, "bad-value", "mask", "not a mask here")
		return
	}
	lists := b.byName[r.Channel()].lists
	if lists[mode] == nil {
		lists[mode] = make(map[string]MaskInfo)
	}
	lists[mode][mask] = MaskInfo{TimeCreated: at, CreatorNickmask: r.By(), CreatorAccount: r.Get(handoffKeyAccount)}
	b.unknown(r.Message, note, "c", "m", "mask", "by", "at", handoffKeyTime, handoffKeyAccount)
}

func (b *handoffBuilder) member(r protocol.Memb) {
	note := protocol.Note{U: r.U(), C: r.Channel()}
	m := handoffNewMember{user: b.byU[r.U()], channel: b.byName[r.Channel()], data: &memberData{joinTime: r.At() * int64(time.Second)}}
	if ns, err := r.Int(handoffKeyTime); err == nil && ns != 0 {
		m.data.joinTime = ns
	}
	for _, letter := range r.Prefixes() {
		if !slices.Contains(modes.ChannelUserModes, modes.Mode(letter)) {
			b.warn(note, "unknown-prefix", "m", "no status "+string(letter)+" here")
			continue
		}
		m.data.modes.SetMode(modes.Mode(letter), true)
	}
	b.members = append(b.members, m)
	b.unknown(r.Message, note, "u", "c", "m", "at", handoffKeyTime)
}

// limit looks whether one more connection from there is too many.
func (b *handoffBuilder) limit(u *handoffNewUser, note protocol.Note) {
	network, status := b.server.connectionLimiter.Status(flatip.FromNetIP(u.session.realIP))
	if b.coming[network]++; !status.Exempt && b.config.Server.IPLimits.Count && status.Count+b.coming[network] > status.MaxCount {
		b.conflict(note, "limit", "ip", "too many clients of one network")
	}
}
