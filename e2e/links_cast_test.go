//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// servicesCast is users of the hub with accounts and a channel at services, and what they can do with them.
type servicesCast struct {
	t                  *testing.T
	n                  *linkNet
	k                  *servicesKind
	alice, carol, boss *irc
	round              int
}

const sea = "#sea"

// newServicesCast registers accounts and the channel, and has services set a ban of the network.
func newServicesCast(n *linkNet) *servicesCast {
	n.t.Helper()
	c := &servicesCast{t: n.t, n: n, k: n.services.kind}
	c.boss = c.registered("boss")
	c.boss.says("OPER root rootpw", " 381 ")
	c.boss.says("PRIVMSG "+fmt.Sprintf(c.k.akill, "*.spam.example"), "NOTICE boss ")
	c.alice, c.carol = c.registered("alice"), c.registered("carol")
	c.alice.says("JOIN "+sea, " 366 ")
	c.alice.says("PRIVMSG "+fmt.Sprintf(c.k.registerChannel, sea), "NOTICE alice ")
	c.alice.says("PRIVMSG "+fmt.Sprintf(c.k.lock, sea), " MODE "+sea+" :+p")
	c.alice.says("PRIVMSG "+fmt.Sprintf(c.k.access, sea, "carol"), "NOTICE alice ")
	c.carol.says("JOIN "+sea, " MODE "+sea+" +o :carol")
	c.alice.says("MODE "+sea+" +b *!*@alice.example", " MODE "+sea+" +b")
	eventually(n.t, 15*time.Second, "the ban of services is known", func() bool { return strings.Contains(c.bans(), "*.spam.example") })
	return c
}

// registered is a new user with a new account of the same name.
func (c *servicesCast) registered(nick string) *irc {
	c.t.Helper()
	user := c.n.login(nick)
	user.says("PRIVMSG NickServ :REGISTER secret99 "+nick+"@example.org", " 900 "+nick)
	return user
}

func (c *servicesCast) bans() string { return strings.Join(c.boss.ask("STATS g"), "\n") }

// works tries all that users and services do with each other, across the link.
func (c *servicesCast) works() {
	c.t.Helper()
	c.round++
	c.knows(c.alice)
	c.knows(c.carol)
	c.carol.says("PART "+sea, " PART :"+sea)
	c.carol.says("JOIN "+sea, " MODE "+sea+" +o :carol")
	c.alice.says("PRIVMSG ChanServ :DEOP "+sea+" carol", " MODE "+sea+" -o :carol")
	c.alice.says("PRIVMSG ChanServ :OP "+sea+" carol", " MODE "+sea+" +o :carol")
	c.alice.says("MODE "+sea+" -p", " 742 ")
	text := fmt.Sprintf("round %d", c.round)
	c.carol.skip()
	c.alice.send("PRIVMSG " + fmt.Sprintf(c.k.topic, sea, text))
	c.carol.expect(" TOPIC " + sea + " :" + text)
	if !strings.Contains(c.bans(), "*.spam.example") {
		c.t.Errorf("the ban of services is not in STATS g:\n%s", c.bans())
	}
	c.newcomer()
	c.uplink()
}

// knows is that services and the ircd agree on who has logged in.
func (c *servicesCast) knows(who *irc) {
	c.t.Helper()
	who.says("PRIVMSG "+fmt.Sprintf(c.k.status, who.nick), fmt.Sprintf(c.k.loggedIn, who.nick))
	if whois := strings.Join(who.ask("WHOIS "+who.nick), "\n"); !strings.Contains(whois, " 330 "+who.nick+" "+who.nick+" "+who.nick+" ") {
		c.t.Errorf("%s has no account:\n%s", who.nick, whois)
	}
}

// newcomer registers, is renamed, kicked and killed by services, and comes back by SASL.
func (c *servicesCast) newcomer() {
	c.t.Helper()
	nick, name := fmt.Sprintf("new%d", c.round), fmt.Sprintf("ren%d", c.round)
	user := c.registered(nick)
	user.says("JOIN "+sea, " 366 ")
	user.says("NICK "+name, " NICK :"+name)
	c.alice.send("PRIVMSG ChanServ :KICK " + sea + " " + name + " out")
	user.expect(" KICK " + sea + " " + name)
	user.says("NICK "+nick, " NICK :"+nick)
	c.boss.send("PRIVMSG " + fmt.Sprintf(c.k.kill, nick))
	user.closed(15 * time.Second)
	again := dial(c.t, c.n.port(), "127.0.0.1", "")
	again.nick = nick
	again.send("CAP LS 302\r\nNICK " + nick + "\r\nUSER " + nick + " 0 * :" + nick)
	again.says("CAP REQ :sasl", " ACK ")
	again.says("AUTHENTICATE PLAIN", "AUTHENTICATE ")
	again.says("AUTHENTICATE "+base64.StdEncoding.EncodeToString([]byte("\x00"+nick+"\x00secret99")), " 903 ")
	again.says("CAP END", " 001 ")
	c.knows(again)
	again.says("QUIT :bye", "ERROR :")
}

// uplink is that services have had one link only.
func (c *servicesCast) uplink() {
	c.t.Helper()
	if conns := len(c.n.uplink.of(servicesName)); conns != 1 {
		c.t.Errorf("services have had %d connections", conns)
	}
	if links := c.n.services.links(); links != 1 {
		c.t.Errorf("services have linked %d times, by their log", links)
	}
}

// leafCast is users on both sides of a leaf's link.
type leafCast struct {
	t                        *testing.T
	n                        *linkNet
	ann, ben, bob, dan, oper *irc // ann and ben at the hub; bob, dan and oper at the leaf
	round                    int
}

func newLeafCast(n *linkNet) *leafCast {
	n.t.Helper()
	c := &leafCast{t: n.t, n: n, ann: n.login("ann"), ben: n.login("ben"), bob: n.there("bob"), dan: n.there("dan"), oper: n.there("oper")}
	c.oper.says("OPER root rootpw", " 381 ")
	c.met(c.bob, c.ann) // the hub knows who is at the leaf
	c.ann.says("JOIN #deep", " 366 ")
	c.met(c.ann, c.bob)
	c.bob.says("JOIN #deep", " 366 ")
	c.met(c.bob, c.ann)
	c.ann.says("MODE #deep +o bob", " MODE #deep +o :bob")
	c.met(c.ann, c.bob)
	c.bob.says("MODE #deep +b *!*@bob.example", " MODE #deep +b")
	c.ann.says("TOPIC #deep :said ann", " TOPIC #deep ")
	c.bob.send("AWAY :out to sea")
	c.ann.says("JOIN #delay", " 366 ")
	c.ann.says("MODE #delay +D", " MODE #delay :+D")
	c.met(c.ann, c.dan)
	c.dan.says("JOIN #delay", " 366 ")
	c.bob.says("JOIN #delay", " 366 ")
	c.dan.says("PRIVMSG #delay :dan has spoken\r\nPING x", " PONG ")
	c.bob.says("JOIN #leafonly", " 366 ")
	c.oper.ask("GLINE *@*.spam.example 1h :spam")
	c.met(c.dan, c.ann)
	c.met(c.bob, c.ann)
	c.met(c.oper, c.ann)
	return c
}

// met returns when the one's server has heard all that the other's had to say by now.
func (c *leafCast) met(from, to *irc) {
	c.t.Helper()
	token := fmt.Sprintf("token %d", time.Now().UnixNano())
	from.send("PRIVMSG " + to.nick + " :" + token)
	to.sees(token)
}

// works tries what users do across a link, in both directions.
func (c *leafCast) works() {
	c.t.Helper()
	c.round++
	for _, pair := range [][2]*irc{{c.ann, c.bob}, {c.bob, c.ann}} {
		from, to := pair[0], pair[1]
		channel := fmt.Sprintf("#%s%d", from.nick, c.round)
		victim := c.newcomer(to, "v")
		from.says("JOIN "+channel, " 366 ")
		c.met(victim, from) // from then on the server of from knows the newcomer
		c.met(from, victim)
		victim.says("JOIN "+channel, " 366 ")
		c.met(victim, from)
		name := victim.nick + "x"
		from.skip()
		victim.says("NICK "+name, " NICK :"+name)
		from.expect(" NICK :" + name)
		victim.nick = name
		from.send("TOPIC " + channel + " :by " + from.nick)
		victim.expect(" TOPIC " + channel + " :by " + from.nick)
		from.send("KICK " + channel + " " + name + " :out")
		victim.expect(" KICK " + channel + " " + name)
		from.says("NAMES "+channel, " 366 ")
		from.skip()
		c.fight(channel, from, victim)
		killer := c.n.root
		if from == c.bob {
			killer = c.oper
		}
		killer.send("KILL " + name + " :out")
		victim.closed(15 * time.Second)
		from.expect(name + "!")
		from.says("PART "+channel, " PART :")
	}
	c.agree()
}

// newcomer registers at somebody's server.
func (c *leafCast) newcomer(beside *irc, prefix string) *irc {
	c.t.Helper()
	nick := fmt.Sprintf("%s%s%d", prefix, beside.nick, c.round)
	if beside == c.bob {
		return c.n.there(nick)
	}
	return c.n.login(nick)
}

// fight has two operators of a channel on both sides change the same modes at the same time; both servers are of one mind in the end.
func (c *leafCast) fight(channel string, one, other *irc) {
	c.t.Helper()
	other.says("JOIN "+channel, " 366 ")
	c.met(other, one)
	one.says("MODE "+channel+" +o "+other.nick, " MODE "+channel+" +o ")
	c.met(one, other)
	for n := range 20 {
		sign, against := "+", "-"
		if n%2 == 1 {
			sign, against = "-", "+"
		}
		one.send("MODE " + channel + " " + sign + "m" + against + "i")
		other.send("MODE " + channel + " " + against + "s" + sign + "c")
	}
	one.send("MODE " + channel + " -" + "o " + other.nick)
	c.met(one, other)
	c.met(other, one)
	c.met(one, other)
	for _, question := range []string{"MODE " + channel, "NAMES " + channel} {
		if here, there := c.answer(one, question), c.answer(other, question); !slices.Equal(here, there) {
			c.t.Errorf("%s is\n%q at %s's server and\n%q at %s's", question, here, one.nick, there, other.nick)
		}
	}
}

// answer is what a user is told, without who says it to whom, sorted.
func (c *leafCast) answer(who *irc, question string) (answer []string) {
	c.t.Helper()
	for _, line := range who.ask(question) {
		words := strings.Fields(line)
		if len(words) < 4 || words[2] != who.nick {
			continue
		}
		text := strings.Join(append([]string{words[1]}, words[3:]...), " ")
		switch words[1] {
		case "353":
			head, names, _ := strings.Cut(text, " :")
			sorted := strings.Fields(names)
			slices.Sort(sorted)
			text = head + " :" + strings.Join(sorted, " ")
		case "324":
			sorted := []byte(words[4])
			slices.Sort(sorted)
			words[4] = string(sorted)
			text = strings.Join(words[3:], " ")
		case "317", "671", "365": // idle times, ends
			continue
		}
		answer = append(answer, text)
	}
	slices.Sort(answer)
	return answer
}

// agree compares what both servers say of what they share. When a list's entry was set is told in no dialect before 1206: each server says when it has heard.
func (c *leafCast) agree() {
	c.t.Helper()
	for _, question := range []string{"MODE #deep", "MODE #deep b", "NAMES #deep", "TOPIC #deep"} {
		here, there := c.answer(c.ann, question), c.answer(c.bob, question)
		if c.n.v.major == 3 {
			here, there = withoutTimes(here), withoutTimes(there)
		}
		if !slices.Equal(here, there) {
			c.t.Errorf("%s is\n%q at the hub and\n%q at the leaf", question, here, there)
		}
	}
}

// withoutTimes is answers without when a ban was set.
func withoutTimes(answer []string) (rest []string) {
	for _, line := range answer {
		if at := strings.LastIndex(line, " :"); at > 0 && strings.HasPrefix(line, "367 ") {
			line = line[:at]
		}
		rest = append(rest, line)
	}
	return rest
}

// state is what a user at the hub and one at the leaf can ask for that no move may change.
func (c *leafCast) state() map[string][]string {
	c.t.Helper()
	all := make(map[string][]string)
	for _, who := range []*irc{c.ann, c.bob} {
		for _, question := range []string{"WHOIS ann", "WHOIS bob", "WHOIS dan", "WHOIS oper", "NAMES #deep", "NAMES #delay", "MODE #deep", "MODE #deep b", "MODE #delay", "TOPIC #deep",
			"LINKS", "LIST #deep", "MODE #leafonly", "WHO #deep"} {
			all[who.nick+"> "+question] = c.answer(who, question)
		}
	}
	for _, who := range []*irc{c.n.root, c.oper} {
		var lines []string
		for _, line := range who.ask("STATS g") {
			if strings.Contains(line, "*.spam.example") {
				lines = append(lines, "a ban of the network")
			}
		}
		all[who.nick+"> STATS g"] = lines
	}
	return all
}

// sameState tells of each question whose answer is another now.
func sameState(t *testing.T, before, after map[string][]string) {
	t.Helper()
	for question, was := range before {
		if !slices.Equal(was, after[question]) {
			t.Errorf("%s\nwas %q\nis  %q", question, was, after[question])
		}
	}
}
