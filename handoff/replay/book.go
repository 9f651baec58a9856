package replay

import (
	"strconv"
	"strings"

	"github.com/ergochat/irc-go/ircmsg"
)

// book is what an ircd has answered about its channels and users: at EXPORT, and once more when they have been made again.
type book struct {
	d        dialect
	channels map[string]*said
	users    map[string]string // folded nick -> letters of user modes
}

// said is what the ircd says of a channel.
type said struct {
	modes   settings
	ts      int64
	topic   string
	topicBy string
	topicAt int64
	lists   []entry // in the order in which they were set
	refused bool    // a list could not be read
}

// entry is one of a list mode.
type entry struct {
	mode     byte
	mask, by string
	at       int64
}

func newBook(d dialect) *book {
	return &book{d: d, channels: make(map[string]*said), users: make(map[string]string)}
}

// questions about a channel.
func (d dialect) questions(channel string) []string {
	lines := []string{"MODE " + channel, "TOPIC " + channel}
	for _, mode := range []byte(d.lists) {
		lines = append(lines, "MODE "+channel+" "+string(mode))
	}
	return lines
}

// answers are the numerics that answer questions, and MODE of oneself; with those of a refusal.
var answers = map[string]bool{
	"221": true, "324": true, "329": true, "331": true, "332": true, "333": true, "346": true, "347": true, "348": true, "349": true, "367": true, "368": true, "728": true, "729": true,
	"263": true, "401": true, "403": true, "442": true, "461": true, "472": true, "477": true, "482": true, "502": true,
}

func (b *book) at(name string) *said {
	key := b.d.fold(name)
	c := b.channels[key]
	if c == nil {
		c = &said{modes: settings{}}
		b.channels[key] = c
	}
	return c
}

// hear takes an answer in.
func (b *book) hear(m ircmsg.Message) {
	p := func(n int) string {
		if n < len(m.Params) {
			return m.Params[n]
		}
		return ""
	}
	switch m.Command {
	case "221":
		b.users[b.d.fold(p(0))] = strings.TrimPrefix(p(1), "+")
	case "324":
		b.at(p(1)).modes = b.d.parse(strings.Fields(strings.Join(m.Params[min(2, len(m.Params)):], " ")))
	case "329":
		b.at(p(1)).ts = seconds(p(2))
	case "332":
		b.at(p(1)).topic = p(2)
	case "333":
		c := b.at(p(1))
		c.topicBy, c.topicAt = p(2), seconds(p(3))
	case "482":
		b.at(p(1)).refused = true
	case "728": // me #c q mask by at
		b.entry(p(1), entry{'q', p(3), p(4), seconds(p(5))})
	default:
		for _, l := range listNames {
			if l.numeric == m.Command {
				b.entry(p(1), entry{l.mode, p(2), p(3), seconds(p(4))})
			}
		}
	}
}

func (b *book) entry(channel string, e entry) {
	c := b.at(channel)
	if b.d.newest {
		c.lists = append([]entry{e}, c.lists...)
		return
	}
	c.lists = append(c.lists, e)
}

func (b *book) hearLine(line string) {
	if m, err := ircmsg.ParseLine(line); err == nil {
		b.hear(m)
	}
}

func seconds(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
