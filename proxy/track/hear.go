package track

import (
	"slices"
	"strings"

	"github.com/ergochat/irc-go/ircmsg"
)

// hear takes a line of the ircd that matters.
func (r *Record) hear(line string) {
	m, err := ircmsg.ParseLine(line)
	if err != nil {
		return
	}
	if f := heard[m.Command]; f != nil {
		f(r, m)
	}
}

// heard are the lines that change a record; those in heardMatters.
var heard = map[string]func(*Record, ircmsg.Message){
	"001": (*Record).welcome,
	"005": func(r *Record, m ircmsg.Message) {
		for _, w := range m.Params[min(1, len(m.Params)):] {
			r.net.isupport(w)
		}
	},
	"221": func(r *Record, m ircmsg.Message) { r.modes = 0; r.userModes(param(m, 1)) },
	"305": func(r *Record, _ ircmsg.Message) { r.away = "" },
	"306": func(r *Record, _ ircmsg.Message) {
		if r.more != nil {
			r.away = r.more.asked
		}
	},
	"329": func(r *Record, m ircmsg.Message) {
		if c := r.net.channel(param(m, 1)); c != nil {
			c.TS = seconds(param(m, 2))
		}
	},
	"331": func(r *Record, m ircmsg.Message) { r.topic(param(m, 1), "", "", 0) },
	"332": func(r *Record, m ircmsg.Message) {
		if c := r.net.channel(param(m, 1)); c != nil && c.Topic != param(m, 2) {
			c.Topic = r.cut(param(m, 2), maxText*2)
		}
	},
	"333": func(r *Record, m ircmsg.Message) {
		if c := r.net.channel(param(m, 1)); c != nil {
			c.TopicBy, c.TopicAt = r.cut(param(m, 2), maxNick*2), seconds(param(m, 3))
		}
	},
	"353":     (*Record).names,
	"381":     func(r *Record, _ ircmsg.Message) { r.flags |= usedOper },
	"734":     (*Record).monitorFull,
	"900":     func(r *Record, m ircmsg.Message) { r.account = r.cut(param(m, 2), maxNick) },
	"901":     func(r *Record, _ ircmsg.Message) { r.account = "" },
	"903":     func(r *Record, _ ircmsg.Message) { r.flags |= usedSASL },
	"ACCOUNT": (*Record).accounted,
	"CAP":     (*Record).capability,
	"JOIN":    (*Record).joined,
	"KICK": func(r *Record, m ircmsg.Message) {
		if r.net.same(param(m, 1), r.nick) {
			r.leave(param(m, 0))
		}
	},
	"MODE": (*Record).mode,
	"NICK": func(r *Record, m ircmsg.Message) { r.nick = r.cut(param(m, 0), maxNick) },
	"PART": func(r *Record, m ircmsg.Message) {
		for name := range strings.SplitSeq(param(m, 0), ",") {
			r.leave(name)
		}
	},
	"TOPIC": func(r *Record, m ircmsg.Message) { r.topic(param(m, 0), param(m, 1), m.Source, 0) },
}

func param(m ircmsg.Message, n int) string {
	if n < len(m.Params) {
		return m.Params[n]
	}
	return ""
}

// welcome is the begin of a life on an ircd: what was before it is another one's.
func (r *Record) welcome(m ircmsg.Message) {
	r.Drop()
	r.nick, r.modes, r.away = r.cut(param(m, 0), maxNick), 0, ""
	r.flags |= registered
}

func (r *Record) joined(m ircmsg.Message) {
	for name := range strings.SplitSeq(param(m, 0), ",") {
		r.join(name)
	}
	if account := param(m, 1); len(m.Params) >= 3 { // extended-join
		if account == "*" {
			account = ""
		}
		r.account = r.cut(account, maxNick)
	}
}

func (r *Record) accounted(m ircmsg.Message) {
	r.account = ""
	if a := param(m, 0); a != "*" {
		r.account = r.cut(a, maxNick)
	}
}

// topic: at is 0 if the line does not tell when.
func (r *Record) topic(channel, text, by string, at int64) {
	if c := r.net.channel(channel); c != nil {
		c.Topic, c.TopicBy, c.TopicAt = r.cut(text, maxText*2), r.cut(by, maxNick*2), at
	}
}

// names takes the own status out of a line of NAMES. Without multi-prefix it shows the highest one only.
func (r *Record) names(m ircmsg.Message) {
	i := r.at(param(m, 2))
	if i < 0 {
		return
	}
	for who := range strings.FieldsSeq(param(m, 3)) {
		nick := strings.TrimLeft(who, r.net.symbols)
		symbols := who[:len(who)-len(nick)]
		nick, _, _ = strings.Cut(nick, "!")
		if !r.net.same(nick, r.nick) {
			continue
		}
		var status uint8
		for _, s := range []byte(symbols) {
			status |= 1 << strings.IndexByte(r.net.symbols, s)
		}
		if len(symbols) == 1 && !strings.Contains(" "+r.caps+" ", " multi-prefix ") {
			status |= r.channels[i].status &^ (status - 1) // those below it stay as they are known
		}
		r.channels[i].status = status
	}
}

func (r *Record) mode(m ircmsg.Message) {
	target := param(m, 0)
	if r.net.same(target, r.nick) {
		r.userModes(param(m, 1))
		return
	}
	i := r.at(target)
	if i < 0 || len(m.Params) < 3 {
		return
	}
	set, args := true, m.Params[2:]
	for _, c := range []byte(m.Params[1]) {
		switch {
		case c == '+' || c == '-':
			set = c == '+'
			continue
		case !r.net.takesParam(c, set):
			continue
		case len(args) == 0:
			return
		}
		if p := strings.IndexByte(r.net.prefixes, c); p >= 0 && r.net.same(args[0], r.nick) {
			if r.channels[i].status &^= 1 << p; set {
				r.channels[i].status |= 1 << p
			}
		}
		args = args[1:]
	}
}

func (r *Record) userModes(change string) {
	set := true
	for _, c := range []byte(change) {
		switch {
		case c == '+' || c == '-':
			set = c == '+'
		case set:
			r.modes |= bit(c)
		default:
			r.modes &^= bit(c)
		}
	}
}

func (r *Record) capability(m ircmsg.Message) {
	sub := strings.ToUpper(param(m, 1))
	if sub != "ACK" && sub != "DEL" && sub != "LIST" {
		return
	}
	caps := r.Caps()
	if sub == "LIST" {
		caps = nil // one that comes in several lines keeps the last only: 510 bytes of capabilities in force
	}
	for w := range strings.FieldsSeq(param(m, len(m.Params)-1)) {
		name, off := strings.CutPrefix(w, "-")
		caps = slices.DeleteFunc(caps, func(c string) bool { return c == name })
		if !off && sub != "DEL" {
			caps = append(caps, name)
		}
	}
	slices.Sort(caps)
	r.caps = r.net.intern(r.cut(strings.Join(caps, " "), 4*maxText))
}

// monitorFull: 734 names the targets that found no place.
func (r *Record) monitorFull(m ircmsg.Message) {
	for nick := range strings.SplitSeq(param(m, 2), ",") {
		r.list(Monitor, nick, false)
	}
}
