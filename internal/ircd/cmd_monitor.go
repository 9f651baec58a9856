package ircd

import (
	"slices"
	"strconv"
	"strings"
)

// cmdMonitor is IRCv3 MONITOR.
func cmdMonitor(c *Client, in *input) {
	switch in.param(0) {
	case "+":
		c.monitorAdd(in.param(1))
	case "-":
		for nick := range strings.SplitSeq(in.param(1), ",") {
			c.monitorDel(nick)
		}
	case "C", "c":
		for _, nick := range c.monitored() {
			c.monitorDel(nick)
		}
	case "L", "l":
		c.sendNicks(rplMonList, c.monitored())
		c.numeric(rplEndOfMonList, "End of MONITOR list")
	case "S", "s":
		c.monitorStatus(c.monitored())
	}
}

func (c *Client) monitorAdd(list string) {
	limit, nicks := c.srv.cfg.Limits.Monitor, strings.Split(list, ",")
	var added []string
	for i, nick := range nicks {
		if !validNick(nick) || c.monitor[fold(nick)] != "" {
			continue
		}
		if len(c.monitor) >= limit {
			c.numeric(errMonListFull, strconv.Itoa(limit), strings.Join(nicks[i:], ","), "Monitor list is full.")
			break
		}
		if c.monitor == nil {
			c.monitor = make(map[string]string)
		}
		c.monitor[fold(nick)] = nick
		c.srv.watch(c, nick)
		added = append(added, nick)
	}
	c.monitorStatus(added)
}

func (c *Client) monitorDel(nick string) {
	if c.monitor[fold(nick)] == "" {
		return
	}
	delete(c.monitor, fold(nick))
	c.srv.unwatch(c, nick)
}

// monitored answers the list in a fixed order.
func (c *Client) monitored() []string {
	var nicks []string
	for _, nick := range c.monitor {
		nicks = append(nicks, nick)
	}
	slices.Sort(nicks)
	return nicks
}

func (c *Client) monitorStatus(nicks []string) {
	var on, off []string
	for _, nick := range nicks {
		if o := c.srv.find(nick); o != nil {
			on = append(on, o.prefix())
		} else {
			off = append(off, nick)
		}
	}
	c.sendNicks(rplMonOnline, on)
	c.sendNicks(rplMonOffline, off)
}

// sendNicks sends a list joined by commas in as many lines as it takes.
func (c *Client) sendNicks(code string, nicks []string) {
	c.inChunks(nicks, func(part string) { c.numeric(code, strings.ReplaceAll(part, " ", ",")) })
}

// watch and unwatch keep the index of who wants to know of a nick.
func (s *Server) watch(c *Client, nick string) {
	s.watchers[fold(nick)] = append(s.watchers[fold(nick)], c)
}

func (s *Server) unwatch(c *Client, nick string) {
	if rest := remove(s.watchers[fold(nick)], c); rest != nil {
		s.watchers[fold(nick)] = rest
	} else {
		delete(s.watchers, fold(nick))
	}
}

// tellWatchers says that a nick came or went.
func (s *Server) tellWatchers(nick string, online bool) {
	for _, w := range s.watchers[fold(nick)] {
		if online {
			w.numeric(rplMonOnline, s.nicks[fold(nick)].prefix())
		} else {
			w.numeric(rplMonOffline, nick)
		}
	}
}
