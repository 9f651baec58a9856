package ircd

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxModes is how many changes with a parameter one MODE line may have.
const maxModes = 20

func cmdMode(c *Client, in *input) {
	if !strings.HasPrefix(in.param(0), "#") {
		c.userMode(in)
		return
	}
	ch := c.srv.channel(in.param(0))
	switch {
	case ch == nil:
		c.numeric(errNoSuchChannel, in.param(0), "No such channel")
	case len(in.Params) == 1:
		c.numeric(rplChannelModeIs, append([]string{ch.name}, ch.modeString(c)...)...)
		c.numeric(rplCreationTime, ch.name, strconv.FormatInt(ch.ts, 10))
	default:
		e := modeEdit{client: c, channel: ch, params: in.Params[2:]}
		e.run(in.param(1))
	}
}

// modeEdit is one MODE command for a channel.
type modeEdit struct {
	client  *Client
	channel *Channel
	params  []string // not yet used
	used    int
	denied  bool // 482 was said
	done    []modeChange
}

// modeChange is one change that was made.
type modeChange struct {
	on     bool
	letter byte
	param  string
}

func (e *modeEdit) run(change string) {
	on := true
	for i := range len(change) {
		switch letter := change[i]; letter {
		case '+', '-':
			on = letter == '+'
		default:
			e.one(on, letter)
		}
	}
	e.announce()
}

// one makes one change, if it is known, allowed and changes anything.
func (e *modeEdit) one(on bool, letter byte) {
	mode := findChanMode(letter)
	if mode == nil {
		e.client.numeric(errUnknownMode, string(letter), "is not a recognised channel mode.")
		return
	}
	param, has := e.take(on, mode)
	if mode.kind == modeList && !has {
		e.client.showList(e.channel, letter)
		return
	}
	if !e.allowed() {
		return
	}
	switch mode.kind {
	case modeFlag:
		e.flag(on, letter)
	case modeKey:
		e.key(on, param)
	case modeLimit:
		e.limit(on, param)
	case modeList:
		e.list(on, letter, param)
	case modePrefix:
		e.status(on, letter, param)
	}
}

// take answers the next parameter if the mode has one here.
func (e *modeEdit) take(on bool, mode *chanMode) (string, bool) {
	if mode.kind == modeFlag || mode.kind == modeLimit && !on || len(e.params) == 0 || e.used == maxModes {
		return "", false
	}
	param := e.params[0]
	e.params = e.params[1:]
	e.used++
	return param, param != ""
}

func (e *modeEdit) allowed() bool {
	m := e.client.member(e.channel)
	if m != nil && m.modes&memberOp != 0 {
		return true
	}
	if !e.denied {
		e.denied = true
		e.client.numeric(errChanOpNeeded, e.channel.name, "You're not a channel operator")
	}
	return false
}

func (e *modeEdit) did(on bool, letter byte, param string) {
	e.done = append(e.done, modeChange{on, letter, param})
}

func (e *modeEdit) flag(on bool, letter byte) {
	if e.channel.flags.has(letter) == on {
		return
	}
	if on {
		e.channel.flags.set(letter)
	} else {
		e.channel.flags.unset(letter)
	}
	e.did(on, letter, "")
}

func (e *modeEdit) key(on bool, param string) {
	switch {
	case !on && e.channel.key != "":
		e.did(false, 'k', e.channel.key)
		e.channel.key = ""
	case on && param == "":
		e.client.numeric(errNeedMoreParams, "MODE", "Not enough parameters")
	case on && (strings.ContainsAny(param, " ,") || param[0] == ':'):
		e.client.numeric(errInvalidModeParam, e.channel.name, "k", "*", "Invalid key")
	case on:
		e.channel.key = cut(param, keyLen)
		e.did(true, 'k', e.channel.key)
	}
}

func (e *modeEdit) limit(on bool, param string) {
	if !on {
		if e.channel.limit > 0 {
			e.channel.limit = 0
			e.did(false, 'l', "")
		}
		return
	}
	n, err := strconv.Atoi(param)
	if err != nil || n <= 0 {
		e.client.numeric(errInvalidModeParam, e.channel.name, "l", orStar(param), "Invalid limit")
		return
	}
	if n != e.channel.limit {
		e.channel.limit = n
		e.did(true, 'l', strconv.Itoa(n))
	}
}

func (e *modeEdit) list(on bool, letter byte, param string) {
	mask, list := fullMask(param), e.channel.lists[letter]
	i := slices.IndexFunc(list, func(have listEntry) bool { return fold(have.mask) == fold(mask) })
	switch {
	case on && i < 0 && len(list) >= e.client.srv.cfg.Limits.ListEntries:
		e.client.numeric(errBanListFull, e.channel.name, mask, "Channel list is full")
		return
	case on && i < 0:
		list = append(list, listEntry{mask: mask, by: e.client.nick, at: time.Now().Unix()})
	case !on && i >= 0:
		mask = list[i].mask
		list = slices.Delete(list, i, i+1)
	default:
		return
	}
	if e.channel.lists == nil {
		e.channel.lists = make(map[byte][]listEntry)
	}
	e.channel.lists[letter] = list
	e.did(on, letter, mask)
}

func (e *modeEdit) status(on bool, letter byte, nick string) {
	if nick == "" {
		e.client.numeric(errNeedMoreParams, "MODE", "Not enough parameters")
		return
	}
	target := e.client.srv.find(nick)
	if target == nil {
		e.client.numeric(errNoSuchNick, nick, "No such nick")
		return
	}
	m := target.member(e.channel)
	if m == nil {
		e.client.numeric(errUserNotInChannel, target.nick, e.channel.name, "They are not on that channel")
		return
	}
	if bit := memberMode(letter); (m.modes&bit != 0) != on {
		m.modes ^= bit
		e.did(on, letter, target.nick)
	}
}

// announce tells the channel, in as many lines as it takes: masks are long.
func (e *modeEdit) announce() {
	const room = maxBody - 200 // prefix, MODE, channel
	for len(e.done) > 0 {
		var text signed
		var params []string
		n, size := 0, 0
		for n < len(e.done) && (n == 0 || size < room-len(e.done[n].param)) {
			change := e.done[n]
			text.add(change.on, change.letter)
			if change.param != "" {
				params = append(params, change.param)
				size += len(change.param) + 1
			}
			size += 2
			n++
		}
		e.done = e.done[n:]
		e.channel.broadcast(newMessage(e.client, "MODE", append([]string{e.channel.name, text.String()}, params...)...), nil)
	}
}

// listNumerics is how lists are shown: entry, end, and what it is called.
var listNumerics = map[byte][3]string{
	'b': {rplBanList, rplEndOfBanList, "End of channel ban list"},
	'e': {rplExceptList, rplEndOfExcept, "End of channel exception list"},
	'I': {rplInvexList, rplEndOfInvex, "End of channel invite exception list"},
}

func (c *Client) showList(ch *Channel, letter byte) {
	n := listNumerics[letter]
	for _, entry := range ch.lists[letter] {
		c.numeric(n[0], ch.name, entry.mask, entry.by, strconv.FormatInt(entry.at, 10))
	}
	c.numeric(n[1], ch.name, n[2])
}
