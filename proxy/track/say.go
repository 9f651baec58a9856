package track

import (
	"slices"
	"strings"

	"github.com/ergochat/irc-go/ircmsg"
)

// say takes a line of the client that matters. It is believed where no answer of the ircd tells more.
func (r *Record) say(line string) {
	m, err := ircmsg.ParseLine(line)
	if err != nil {
		return
	}
	switch m.Command {
	case "USER":
		if !r.Registered() && len(m.Params) >= 4 {
			r.user, r.real = r.cut(m.Params[0], maxNick), r.cut(m.Params[3], maxText)
		}
	case "AWAY":
		if text := param(m, 0); text != "" || r.more != nil {
			r.extra().asked = r.cut(text, maxText)
		}
	case "PASS":
		r.flags |= usedPass
	case "MONITOR":
		r.changes(Monitor, param(m, 0), strings.Split(param(m, 1), ","))
	case "WATCH":
		r.signed(Watch, m.Params)
	case "SILENCE":
		r.signed(Silence, m.Params)
	case "ACCEPT":
		for _, p := range m.Params {
			for who := range strings.SplitSeq(p, ",") {
				if nick, off := strings.CutPrefix(who, "-"); nick != "" && nick != "*" {
					r.list(Accept, nick, !off)
				}
			}
		}
	}
}

// changes is a command whose first parameter says what to do with its second.
func (r *Record) changes(which List, how string, targets []string) {
	switch {
	case strings.EqualFold(how, "C"):
		if r.more != nil {
			r.more.lists[which] = nil
		}
	case how == "+" || how == "-":
		for _, t := range targets {
			r.list(which, t, how == "+")
		}
	}
}

// signed is a command whose parameters each begin with + or -.
func (r *Record) signed(which List, params []string) {
	for _, p := range params {
		switch {
		case strings.EqualFold(p, "C"):
			r.changes(which, "C", nil)
		case len(p) > 1 && (p[0] == '+' || p[0] == '-'):
			r.list(which, p[1:], p[0] == '+')
		}
	}
}

// list puts an entry into a list, or takes it out.
func (r *Record) list(which List, entry string, in bool) {
	if entry == "" || !in && r.more == nil {
		return
	}
	l := &r.extra().lists[which]
	i := slices.IndexFunc(*l, func(e string) bool { return r.net.same(e, entry) })
	switch {
	case !in && i >= 0:
		*l = slices.Delete(*l, i, i+1)
	case !in || i >= 0:
	case len(*l) >= maxList:
		r.flags |= overflow
	default:
		*l = append(*l, r.cut(entry, maxText))
	}
}
