package ircd

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// builder turns records into dormant clients and channels. What it cannot keep exactly it warns of, what cannot be at all is a
// conflict; no key is dropped in silence.
type builder struct {
	*staged
	srv *Server
}

func (b *builder) record(m protocol.Message) {
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

func (b *builder) warn(n protocol.Note) { b.prepared.Warns = append(b.prepared.Warns, n) }

func (b *builder) conflict(n protocol.Note) { b.prepared.Conflicts = append(b.prepared.Conflicts, n) }

// reserve keeps a name for the commit.
func (b *builder) reserve(name string) {
	b.srv.reserved[name] = "handoff"
	b.reserved = append(b.reserved, name)
}

func (b *builder) channel(r protocol.Chan) {
	name := r.Name()
	ch := &Channel{name: name, ts: r.TS(), topic: r.Topic(), topicBy: r.TopicBy(), topicAt: r.TopicAt()}
	sc := &stagedChannel{channel: ch}
	live := b.srv.channel(name)
	_, taken := b.srv.reserved[fold(name)]
	switch {
	case !validChannel(name):
		b.conflict(protocol.Note{C: name, Code: "channel-invalid", Key: "n", Text: "not a channel name here"})
	case taken:
		b.conflict(protocol.Note{C: name, Code: "channel-exists", Key: "n", Text: "the name is taken"})
	case live == nil:
		b.reserve(fold(name))
	case b.kick != "" && ch.ts > 0 && live.ts > ch.ts: // made since the record's was: its members go at the commit, and nobody new comes
		b.reserve(fold(name))
		b.warn(protocol.Note{C: name, Code: "replaced", Key: "n", Text: "a younger channel has the name; its members are kicked"})
	case live.ts != ch.ts:
		b.conflict(protocol.Note{C: name, Code: "channel-exists", Key: "n", Text: "another channel has the name"})
	default: // users come back to where they were taken from: what is there is newer than the record
		sc.channel, sc.live, sc.merged = live, true, len(b.prepared.Warns)
		b.warn(protocol.Note{C: name, Code: "merged", Key: "n", Text: "the channel lives here; its topic, modes and lists stay"})
	}
	b.channels = append(b.channels, sc)
	b.byName[name] = sc
	for mode, param := range r.Modes() {
		b.channelMode(ch, mode, param)
	}
	if sc.live {
		b.compare(sc, ch)
	}
	b.unknown(r.Message, protocol.Note{C: name}, "n", "ts", "topic", "tby", "tat")
}

func (b *builder) channelMode(ch *Channel, name, param string) {
	mode := findChanModeName(name)
	note := protocol.Note{C: ch.name, Code: "unknown-mode", Key: "m." + name, Text: "no such mode here"}
	switch {
	case mode == nil:
		b.warn(note)
	case mode.kind == modeFlag:
		ch.flags.set(mode.letter)
	case mode.kind == modeKey:
		ch.key = param
	case mode.kind == modeLimit:
		n, err := strconv.Atoi(param)
		if err != nil || n <= 0 {
			note.Code, note.Text = "bad-value", "not a limit"
			b.warn(note)
			return
		}
		ch.limit = n
	default:
		b.warn(note)
	}
}

func findChanModeName(name string) *chanMode {
	for i := range chanModeTable {
		if chanModeTable[i].name == name {
			return &chanModeTable[i]
		}
	}
	return nil
}

func (b *builder) list(r protocol.List) {
	sc := b.byName[r.Channel()]
	mode := findChanModeName(r.Mode())
	if mode == nil || mode.kind != modeList {
		b.warn(protocol.Note{C: r.Channel(), Code: "unknown-mode", Key: "m." + r.Mode(), Text: "no such list here"})
		return
	}
	b.unknown(r.Message, protocol.Note{C: r.Channel()}, "c", "m", "mask", "by", "at")
	if sc.live {
		if !slices.ContainsFunc(sc.channel.lists[mode.letter], func(e listEntry) bool { return fold(e.mask) == fold(r.Mask()) }) {
			b.lost(sc, mode.name+" "+r.Mask())
		}
		return
	}
	if sc.channel.lists == nil {
		sc.channel.lists = make(map[byte][]listEntry)
	}
	sc.channel.lists[mode.letter] = append(sc.channel.lists[mode.letter], listEntry{mask: r.Mask(), by: r.By(), at: r.At()})
}

func (b *builder) member(r protocol.Memb) {
	m := stagedMember{user: b.byU[r.U()], channel: b.byName[r.Channel()], at: r.At()}
	for i := range len(r.Prefixes()) {
		bit := memberMode(r.Prefixes()[i])
		if bit == 0 {
			b.warn(protocol.Note{U: r.U(), C: r.Channel(), Code: "unknown-prefix", Key: "m", Text: "no status " + r.Prefixes()[i:i+1] + " here"})
		}
		m.modes |= bit
	}
	m.order, _ = r.Int(keyOrder)
	b.members = append(b.members, m)
	b.unknown(r.Message, protocol.Note{U: r.U(), C: r.Channel()}, "u", "c", "m", "at", keyOrder)
}

// userKeys are the keys of USER that are kept here; class, silence and accept are known to the standard and not to us.
var userKeys = []string{"u", "id", "nick", "nts", "ident", "rhost", "dhost", "ip", "port", "real", "signon", "idle", "away", "awayat",
	"account", "certfp", "tls", "oper", "snomask", "caps", "capver", "monitor", "invites",
	keyLocal, keySpoke, keyFlood, keySkipEOL}

func (b *builder) user(r protocol.User) {
	c := &Client{srv: b.srv, registered: true}
	u := &stagedUser{client: c, idle: r.Idle()}
	b.users = append(b.users, u)
	b.byU[r.U()] = u
	b.identity(c, r)
	b.session(c, r)
	for mode := range r.Modes() {
		b.userMode(c, mode)
	}
	b.private(u, r)
	b.unknown(r.Message, protocol.Note{U: r.U()}, userKeys...)
	b.mayCome(c)
}

// identity is who the user is.
func (b *builder) identity(c *Client, r protocol.User) {
	c.u, c.id, c.nick, c.ident = r.U(), r.Get("id"), r.Nick(), r.Get("ident")
	c.nickTS, _ = r.Int("nts")
	c.realHost, c.dispHost, c.realname = r.Get("rhost"), r.Get("dhost"), r.Get("real")
	c.signon = r.Signon()
	c.account, c.certfp, c.tls = r.Account(), r.Get("certfp"), r.Get("tls")
	port, _ := r.Int("port")
	c.port = uint16(port)
	var err error
	if c.ip, err = netip.ParseAddr(r.Get("ip")); err != nil {
		b.conflict(protocol.Note{U: c.u, Code: "bad-value", Key: "ip", Text: "not an address"})
	}
	if c.realHost == "" {
		c.realHost = hostOf(c.ip)
	}
	if c.dispHost == "" {
		c.dispHost = c.realHost
	}
}

// session is what the user has asked for.
func (b *builder) session(c *Client, r protocol.User) {
	c.away = r.Get("away")
	c.awayAt, _ = r.Int("awayat")
	if c.oper = r.Get("oper"); c.oper != "" {
		c.modes.set('o')
		if c.oper != b.srv.cfg.Oper.Name {
			b.warn(protocol.Note{U: c.u, Code: "unknown-oper", Key: "oper", Text: "no such operator here; the rights are kept"})
		}
	}
	if c.snomask = r.Get("snomask"); c.snomask != "" {
		c.modes.set('s')
	}
	for _, name := range r.List("caps") {
		name, _, _ = strings.Cut(name, "=")
		bit := capByName(name)
		if bit == 0 {
			b.warn(protocol.Note{U: c.u, Code: "unknown-cap", Key: "caps", Text: name})
		}
		c.caps |= bit
	}
	capver, _ := r.Int("capver")
	c.capVersion = int(capver)
	for _, nick := range r.List("monitor") {
		if c.monitor == nil {
			c.monitor = make(map[string]string)
		}
		c.monitor[fold(nick)] = nick
	}
	for _, name := range r.List("invites") {
		c.invited = append(c.invited, fold(name))
	}
}

func (b *builder) userMode(c *Client, name string) {
	for _, mode := range userModeTable {
		if mode.name == name && mode.letter != 'o' && mode.letter != 's' {
			c.modes.set(mode.letter)
			return
		}
	}
	b.warn(protocol.Note{U: c.u, Code: "unknown-mode", Key: "m." + name, Text: "no such mode here"})
}

func (b *builder) private(u *stagedUser, r protocol.User) {
	u.client.local, _ = netip.ParseAddrPort(r.Get(keyLocal))
	u.spoke, _ = r.Int(keySpoke)
	flood, _ := r.Int(keyFlood)
	u.flood = time.Duration(flood) * time.Millisecond
	u.client.skipEOL = r.Has(keySkipEOL)
}

// unknown warns of every key that is not kept. m. keys were looked at already.
func (b *builder) unknown(m protocol.Message, note protocol.Note, kept ...string) {
	for _, f := range m.Fields {
		if strings.HasPrefix(f.Key, "m.") || contains(kept, f.Key) || f.Value == "" && !f.Bare {
			continue
		}
		note.Code, note.Key, note.Text = "unknown-key", f.Key, "not kept"
		b.warn(note)
	}
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

// mayCome looks for what stands against a user, and reserves its nick.
func (b *builder) mayCome(c *Client) {
	conflict := func(code, key, text string) { b.conflict(protocol.Note{U: c.u, Code: code, Key: key, Text: text}) }
	_, reserved := b.srv.reserved[fold(c.nick)]
	switch {
	case !validNick(c.nick):
		conflict("nick-invalid", "nick", "not a nick here")
	case reserved || b.srv.nicks[fold(c.nick)] != nil:
		conflict("nick-in-use", "nick", b.srv.holder(c.nick))
	default:
		b.reserve(fold(c.nick))
	}
	if reason, banned := b.srv.ban(c); banned {
		conflict("banned", "rhost", reason)
	}
}

// limits looks at the numbers.
func (b *builder) limits() {
	if n := b.srv.cfg.Limits.Clients; n > 0 && len(b.srv.clients)+len(b.users) > n {
		b.conflict(protocol.Note{Code: "limit", Text: "room for " + strconv.Itoa(n) + " clients in all"})
	}
}
