package ircd

import (
	"crypto/subtle"
	"fmt"
)

func cmdOper(c *Client, in *input) {
	s := c.srv
	if s.cfg.Oper.Name == "" || s.cfg.Oper.Name != in.param(0) {
		c.numeric(errNoOperHost, "No O-lines for your host")
		return
	}
	if subtle.ConstantTimeCompare([]byte(s.cfg.Oper.Password), []byte(in.param(1))) != 1 {
		c.numeric(errPasswdMismatch, "Password incorrect")
		return
	}
	if c.oper != "" {
		return
	}
	s.countUser(c, -1)
	c.oper = in.param(0)
	s.countUser(c, 1)
	var done signed
	c.setFlag(&done, 'o', true)
	c.send(newMessage(c, "MODE", c.nick, done.String()))
	c.numeric(rplYoureOper, "You are now an IRC operator")
}

// needOper answers 481 to everybody else.
func (c *Client) needOper() bool {
	if c.oper == "" {
		c.numeric(errNoPrivileges, "Permission Denied - You do not have the required operator privileges")
		return false
	}
	return true
}

func cmdKill(c *Client, in *input) {
	if !c.needOper() {
		return
	}
	victim := c.srv.find(in.param(0))
	if victim == nil {
		c.numeric(errNoSuchNick, in.param(0), "No such nick")
		return
	}
	reason := in.param(1)
	if reason == "" {
		reason = c.nick
	}
	reason = cut(reason, kickLen)
	c.srv.notify('k', fmt.Sprintf("%s killed %s: %s", c.nick, victim.nick, reason))
	victim.send(newMessage(c, "KILL", victim.nick, reason))
	victim.quit(fmt.Sprintf("Killed (%s (%s))", c.nick, reason))
}

func cmdWallops(c *Client, in *input) {
	if !c.needOper() {
		return
	}
	m := newMessage(c, "WALLOPS", in.param(0))
	for other := range c.srv.clients {
		if other.registered && other.modes.has('w') {
			other.send(m)
		}
	}
}
