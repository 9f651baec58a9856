package ircd

// What WARN and CONFLICT say for people.

// maxLost bounds how much of what a channel loses is named.
const maxLost = 1 << 10

// lost names something of a record's channel that the living one has not. Values may be secrets: only those of lists are named.
func (b *builder) lost(sc *stagedChannel, what string) {
	switch text := &b.prepared.Warns[sc.merged].Text; {
	case !sc.loses:
		sc.loses = true
		*text += "; lost: " + what
	case len(*text)+len(what) <= maxLost:
		*text += ", " + what
	case !sc.losesMore:
		sc.losesMore = true
		*text += ", and more"
	}
}

// compare names what the record's channel had, beside lists.
func (b *builder) compare(sc *stagedChannel, was *Channel) {
	live := sc.channel
	if was.topic != "" && was.topic != live.topic {
		b.lost(sc, "topic")
	}
	for _, mode := range chanModeTable {
		switch {
		case mode.kind == modeKey && was.key != "" && was.key != live.key,
			mode.kind == modeLimit && was.limit > 0 && was.limit != live.limit,
			mode.kind == modeFlag && was.flags.has(mode.letter) && !live.flags.has(mode.letter):
			b.lost(sc, "m."+mode.name)
		}
	}
}

// holder says who has a nick.
func (s *Server) holder(nick string) string {
	switch c := s.nicks[fold(nick)]; {
	case c == nil:
		return "the nick is reserved by an import"
	case !c.registered:
		return "a client from " + c.realHost + " has asked for the nick and is not registered yet"
	case c.u == "":
		return c.nick + "!" + c.ident + "@" + c.dispHost + " has the nick, and came past the proxy"
	default:
		return c.nick + "!" + c.ident + "@" + c.dispHost + " has the nick, as session " + c.u
	}
}
