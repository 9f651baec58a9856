package ircd

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cmdPass takes any password: nobody is known here.
func cmdPass(c *Client, _ *input) {
	if c.registered {
		c.numeric(errAlreadyRegistred, "You may not reregister")
	}
}

func cmdUser(c *Client, in *input) {
	if c.registered || c.ident != "" {
		c.numeric(errAlreadyRegistred, "You may not reregister")
		return
	}
	ident := strings.Map(func(r rune) rune {
		if r > ' ' && r < 127 && r != '@' && r != '!' && r != ':' {
			return r
		}
		return -1
	}, in.param(0))
	c.ident = cut("~"+ident, identLen)
	c.realname = cut(in.param(3), realLen)
	c.register()
}

// register ends the registration once all of it is there.
func (c *Client) register() {
	if c.registered || c.negotiating || c.nick == "" || c.ident == "" || c.gone {
		return
	}
	s := c.srv
	if reason, banned := s.ban(c); banned {
		c.numeric(errYoureBanned, "You are banned from this server: "+reason)
		c.quit("Banned: " + reason)
		return
	}
	now := time.Now()
	c.id = s.nextID()
	c.signon, c.nickTS, c.spoke, c.heard = now.Unix(), now.Unix(), now.Unix(), now
	s.insertClient(c)
	c.welcome()
	s.notify('c', fmt.Sprintf("Client connecting: %s (%s@%s) [%s]", c.nick, c.ident, c.realHost, hostOf(c.ip)))
	s.tellWatchers(c.nick, true)
}

// ban answers the server ban that fits c, if any.
func (s *Server) ban(c *Client) (reason string, banned bool) {
	for _, b := range s.cfg.Bans {
		if c.fits(fullMask(b.Mask)) {
			return b.Reason, true
		}
	}
	return "", false
}

func (c *Client) welcome() {
	s := c.srv
	c.numeric(rplWelcome, fmt.Sprintf("Welcome to the %s IRC Network %s", s.cfg.Network, c.prefix()))
	c.numeric(rplYourHost, fmt.Sprintf("Your host is %s, running version %s", s.cfg.Name, s.cfg.Version))
	c.numeric(rplCreated, "This server was created "+s.started.UTC().Format("15:04:05 Jan 2 2006"))
	c.numeric(rplMyInfo, s.cfg.Name, s.cfg.Version, userModeLetters, chanModeLetters, "Ibeklov")
	c.sendISupport()
	cmdLusers(c, nil)
	cmdMotd(c, nil)
}

// isupport is the tokens of 005.
func (s *Server) isupport() []string {
	l := s.cfg.Limits
	return []string{
		"AWAYLEN=" + strconv.Itoa(awayLen),
		"CASEMAPPING=" + caseMapping,
		"CHANLIMIT=#:" + strconv.Itoa(l.Channels),
		"CHANMODES=" + chanModesISupport,
		"CHANNELLEN=" + strconv.Itoa(channelLen),
		"CHANTYPES=#",
		"EXCEPTS=e",
		"INVEX=I",
		"KEYLEN=" + strconv.Itoa(keyLen),
		"KICKLEN=" + strconv.Itoa(kickLen),
		"LINELEN=" + strconv.Itoa(maxBody),
		"MAXLIST=beI:" + strconv.Itoa(l.ListEntries),
		"MODES=" + strconv.Itoa(maxModes),
		"MONITOR=" + strconv.Itoa(l.Monitor),
		"NETWORK=" + s.cfg.Network,
		"NICKLEN=" + strconv.Itoa(nickLen),
		"PREFIX=(ov)@+",
		"STATUSMSG=@+",
		"TOPICLEN=" + strconv.Itoa(topicLen),
		"USERLEN=" + strconv.Itoa(identLen),
	}
}

func (c *Client) sendISupport() {
	const perLine = 13
	tokens := c.srv.isupport()
	for len(tokens) > 0 {
		n := min(perLine, len(tokens))
		c.numeric(rplISupport, append(append([]string(nil), tokens[:n]...), "are supported by this server")...)
		tokens = tokens[n:]
	}
}
