package ircd

import (
	"fmt"
	"strconv"
)

func cmdPing(c *Client, in *input) {
	if len(in.Params) == 0 {
		c.numeric(errNoOrigin, "No origin specified")
		return
	}
	c.reply("PONG", c.srv.cfg.Name, in.param(0))
}

// cmdPong needs to do nothing: any input answers our PING.
func cmdPong(*Client, *input) {}

func cmdMotd(c *Client, _ *input) {
	s := c.srv
	c.numeric(rplMOTDStart, "- "+s.cfg.Name+" Message of the day -")
	for _, text := range s.cfg.MOTD {
		c.numeric(rplMOTD, "- "+text)
	}
	c.numeric(rplEndOfMOTD, "End of /MOTD command.")
}

func cmdVersion(c *Client, _ *input) {
	c.numeric(rplVersion, c.srv.cfg.Version+".", c.srv.cfg.Name, "")
	c.sendISupport()
}

func cmdLusers(c *Client, _ *input) {
	s := c.srv
	users := s.Users()
	n := strconv.Itoa
	c.numeric(rplLuserClient, fmt.Sprintf("There are %d users and %d invisible on 1 servers", users-s.invisible, s.invisible))
	c.numeric(rplLuserOp, n(len(s.opers)), "operator(s) online")
	if unknown := len(s.clients) - users; unknown > 0 {
		c.numeric(rplLuserUnknown, n(unknown), "unknown connections")
	}
	c.numeric(rplLuserChannels, n(len(s.channels)), "channels formed")
	c.numeric(rplLuserMe, fmt.Sprintf("I have %d clients and 0 servers", users))
	c.numeric(rplLocalUsers, n(users), n(s.maxUsers), fmt.Sprintf("Current local users %d, max %d", users, s.maxUsers))
	c.numeric(rplGlobalUsers, n(users), n(s.maxUsers), fmt.Sprintf("Current global users %d, max %d", users, s.maxUsers))
}
