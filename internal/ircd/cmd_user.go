package ircd

import (
	"strings"
	"time"
)

func cmdNick(c *Client, in *input) {
	nick, s := in.param(0), c.srv
	switch {
	case nick == "":
		c.numeric(errNoNicknameGiven, "No nickname given")
	case !validNick(nick):
		c.numeric(errErroneusNickname, nick, "Erroneous Nickname")
	case !s.nickFree(c, nick):
		c.numeric(errNicknameInUse, nick, "Nickname is already in use.")
	case c.registered:
		c.rename(nick)
	default:
		s.moveNick(c, nick)
		c.register()
	}
}

// moveNick gives c a nick that is free.
func (s *Server) moveNick(c *Client, nick string) {
	if c.nick != "" {
		delete(s.nicks, fold(c.nick))
	}
	c.nick = nick
	s.nicks[fold(nick)] = c
}

// rename is a NICK that others see.
func (c *Client) rename(nick string) {
	if nick == c.nick {
		return
	}
	m := newMessage(c, "NICK", nick)
	for _, peer := range c.peers() {
		peer.send(m)
	}
	c.send(m)
	old := c.nick
	c.srv.moveNick(c, nick)
	if fold(old) != fold(nick) {
		c.nickTS = time.Now().Unix()
		c.srv.tellWatchers(old, false)
		c.srv.tellWatchers(nick, true)
	}
}

func cmdQuit(c *Client, in *input) {
	if reason := in.param(0); reason != "" {
		c.quit("Quit: " + cut(reason, kickLen))
		return
	}
	c.quit("Client exited")
}

func cmdAway(c *Client, in *input) {
	if in.param(0) == "" {
		if c.away != "" {
			c.away, c.awayAt = "", 0
			c.tellAway()
		}
		c.numeric(rplUnaway, "You are no longer marked as being away")
		return
	}
	c.away, c.awayAt = cut(in.param(0), awayLen), time.Now().Unix()
	c.tellAway()
	c.numeric(rplNowAway, "You have been marked as being away")
}

// tellAway is IRCv3 away-notify.
func (c *Client) tellAway() {
	m := c.awayMessage()
	for _, peer := range c.peers() {
		if peer.caps.has(capAwayNotify) {
			peer.send(m)
		}
	}
}

func (c *Client) awayMessage() *message {
	if c.away == "" {
		return newMessage(c, "AWAY")
	}
	return newMessage(c, "AWAY", c.away)
}

// userMode is MODE with a nick.
func (c *Client) userMode(in *input) {
	if fold(in.param(0)) != fold(c.nick) {
		if c.srv.find(in.param(0)) == nil {
			c.numeric(errNoSuchNick, in.param(0), "No such nick")
		} else {
			c.numeric(errUsersDontMatch, "Can't change mode for other users")
		}
		return
	}
	if len(in.Params) == 1 {
		c.numeric(rplUmodeIs, "+"+c.modes.String())
		if c.modes.has('s') {
			c.numeric(rplSnomask, "+"+c.snomask, "Server notice mask")
		}
		return
	}
	c.changeUserModes(in.param(1), in.param(2))
}

func (c *Client) changeUserModes(change, param string) {
	var done signed
	on, unknown := true, false
	for i := range len(change) {
		letter := change[i]
		switch letter {
		case '+', '-':
			on = letter == '+'
		case 'i', 'w', 'x':
			c.setFlag(&done, letter, on)
		case 'o':
			if !on && c.oper != "" {
				c.deoper(&done)
			}
		case 's':
			c.setSnomask(&done, on, param)
		default:
			unknown = true
		}
	}
	if unknown {
		c.numeric(errUModeUnknownFlag, "Unknown MODE flag")
	}
	if done.any() {
		c.send(newMessage(c, "MODE", c.nick, done.String()))
	}
}

// setFlag sets or unsets a user mode and notes what changed.
func (c *Client) setFlag(done *signed, letter byte, on bool) {
	if c.modes.has(letter) == on {
		return
	}
	c.srv.countUser(c, -1)
	if on {
		c.modes.set(letter)
	} else {
		c.modes.unset(letter)
	}
	c.srv.countUser(c, 1)
	done.add(on, letter)
	if letter == 'x' {
		c.changeHost(on)
	}
}

func (c *Client) changeHost(cloaked bool) {
	c.dispHost = c.realHost
	if cloaked {
		c.dispHost = c.cloak()
	}
	c.numeric(rplHostHidden, c.dispHost, "is now your displayed host")
}

func (c *Client) deoper(done *signed) {
	c.srv.countUser(c, -1)
	c.oper, c.snomask = "", ""
	c.srv.countUser(c, 1)
	c.setFlag(done, 'o', false)
	c.setFlag(done, 's', false)
}

// setSnomask is mode s with its letters; without any, all.
func (c *Client) setSnomask(done *signed, on bool, param string) {
	if c.oper == "" {
		c.numeric(errNoPrivileges, "Permission Denied - You do not have the required operator privileges")
		return
	}
	if !on {
		c.snomask = ""
		c.setFlag(done, 's', false)
		return
	}
	c.snomask = ""
	for _, letter := range snomaskLetters {
		if param == "" || strings.ContainsRune(param, letter) {
			c.snomask += string(letter)
		}
	}
	c.setFlag(done, 's', true)
	c.numeric(rplSnomask, "+"+c.snomask, "Server notice mask")
}

// signed collects mode letters as they are shown: one sign for all that follow.
type signed struct {
	b    []byte
	sign byte
}

func (s *signed) add(on bool, letter byte) {
	sign := byte('-')
	if on {
		sign = '+'
	}
	if s.sign != sign {
		s.b = append(s.b, sign)
		s.sign = sign
	}
	s.b = append(s.b, letter)
}

func (s *signed) any() bool      { return len(s.b) > 0 }
func (s *signed) String() string { return string(s.b) }
