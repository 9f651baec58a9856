package ircd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Client is one user, from the first byte to the last. All of it is guarded by Server.mu.
//
//	dormant -> live         built from records, then insertClient
//	unregistered -> live    NICK, USER and CAP END were said: register
//	any -> gone             quit (announced) or removeClient (in silence)
//
// Times are unix seconds unless said otherwise.
type Client struct {
	srv  *Server
	conn *conn  // nil while dormant
	u    string // stream id of the coordinator, "" for who came by a client port
	id   string // sid and six characters, unique in the network

	nick     string // "": none yet
	nickTS   int64
	ident    string
	realHost string
	dispHost string
	ip       netip.Addr
	port     uint16
	local    netip.AddrPort // the listener that was reached
	realname string
	signon   int64
	spoke    int64 // when the last PRIVMSG was sent; idle counts from here
	away     string
	awayAt   int64
	account  string
	certfp   string
	tls      string
	oper     string // account name of an operator, "" for others
	snomask  string // letters of the server notices wanted
	modes    userModes

	caps        capSet
	capVersion  int  // of CAP LS, 0 or 302
	negotiating bool // CAP LS or REQ was said and END was not
	registered  bool
	gone        bool

	members []*Member         // in the order of joining
	invited []string          // folded channel names
	monitor map[string]string // folded nick to the nick as given

	born    time.Time // for the registration time
	heard   time.Time // last input, for the ping timeout
	pinged  time.Time // when PING was sent and not answered; zero: no question open
	credit  time.Time // flood: the time up to which the lines so far are paid for
	skipEOL bool      // an endless line is being dropped up to its end
	mark    uint64    // see peers
}

// prefix is the client as source of a message.
func (c *Client) prefix() string { return c.nick + "!" + c.ident + "@" + c.dispHost }

// shown is the nick for numerics.
func (c *Client) shown() string {
	if c.nick == "" {
		return "*"
	}
	return c.nick
}

// cloak is the displayed host of a client with user mode x.
func (c *Client) cloak() string {
	sum := sha256.Sum256([]byte(c.srv.cfg.Network + " " + c.realHost))
	return hex.EncodeToString(sum[:6]) + ".cloaked"
}

// nextID answers an unused user id: the sid, then six digits to the base 26.
func (s *Server) nextID() string {
	for {
		s.lastID++
		var b [6]byte
		n := s.lastID
		for i := len(b) - 1; i >= 0; i-- {
			b[i] = 'A' + byte(n%26)
			n /= 26
		}
		if id := s.cfg.SID + string(b[:]); s.ids[id] == nil { // users who were moved in keep theirs
			return id
		}
	}
}

// find answers a registered user.
func (s *Server) find(nick string) *Client {
	if c := s.nicks[fold(nick)]; c != nil && c.registered {
		return c
	}
	return nil
}

// nickFree reports whether c may take a nick.
func (s *Server) nickFree(c *Client, nick string) bool {
	f := fold(nick)
	if _, taken := s.reserved[f]; taken {
		return false
	}
	other := s.nicks[f]
	return other == nil || other == c
}

// insertClient makes a dormant client, whose fields are all set, live and registered, and tells nobody. Its nick must be free.
func (s *Server) insertClient(c *Client) {
	c.srv = s
	c.registered = true
	if c.heard.IsZero() {
		c.heard = time.Now()
	}
	s.clients[c] = struct{}{}
	s.nicks[fold(c.nick)] = c
	s.ids[c.id] = c
	for _, nick := range c.monitor {
		s.watch(c, nick)
	}
	s.countUser(c, 1)
}

// removeClient takes a client out of everything and tells nobody. Its connection stays as it is.
func (s *Server) removeClient(c *Client) {
	if c.gone {
		return
	}
	c.gone = true
	for len(c.members) > 0 {
		s.partQuietly(c.members[len(c.members)-1])
	}
	for _, nick := range c.monitor {
		s.unwatch(c, nick)
	}
	delete(s.clients, c)
	delete(s.throttled, c)
	if s.nicks[fold(c.nick)] == c {
		delete(s.nicks, fold(c.nick))
	}
	if c.registered {
		delete(s.ids, c.id)
		s.countUser(c, -1)
	}
}

// countUser keeps what LUSERS tells.
func (s *Server) countUser(c *Client, n int) {
	users := int(s.stats.users.Add(int64(n)))
	s.maxUsers = max(s.maxUsers, users)
	if c.modes.has('i') {
		s.invisible += n
	}
	if n < 0 || c.oper == "" {
		delete(s.opers, c)
	} else {
		s.opers[c] = struct{}{}
	}
}

// quit ends a client before everybody's eyes, and closes its connection after an ERROR line.
func (c *Client) quit(reason string) {
	if c.gone {
		return
	}
	s := c.srv
	if c.registered {
		m := newMessage(c, "QUIT", reason)
		for _, peer := range c.peers() {
			peer.send(m)
		}
		s.notify('q', fmt.Sprintf("Client exiting: %s (%s@%s) [%s]", c.nick, c.ident, c.realHost, reason))
		s.tellWatchers(c.nick, false)
	}
	s.removeClient(c)
	if c.conn != nil {
		c.conn.queue([]byte(fmt.Sprintf("ERROR :Closing link: (%s@%s) [%s]\r\n", orStar(c.ident), c.realHost, reason)), noLimit)
		c.conn.finish()
	}
}

// endClients closes everybody without telling the others: the server goes down.
func (s *Server) endClients(reason string) {
	for c := range s.clients {
		if c.conn == nil {
			continue
		}
		c.conn.queue([]byte(fmt.Sprintf("ERROR :Closing link: (%s@%s) [%s]\r\n", orStar(c.ident), c.realHost, reason)), noLimit)
		c.conn.finish()
	}
}

// hangup is the loop's word that the peer is gone.
func (c *Client) hangup(_ *conn, err error) {
	if err == io.EOF {
		c.quit("Connection closed")
		return
	}
	c.quit("Read error: " + err.Error())
}

// peers answers everybody else who is in a channel with c, each once.
func (c *Client) peers() []*Client {
	c.srv.mark++
	c.mark = c.srv.mark
	var found []*Client
	for _, own := range c.members {
		for _, m := range own.channel.members {
			if m.client.mark != c.mark {
				m.client.mark = c.mark
				found = append(found, m.client)
			}
		}
	}
	return found
}

// shares reports whether two users are in a channel together.
func (c *Client) shares(other *Client) bool {
	for _, m := range c.members {
		if other.member(m.channel) != nil {
			return true
		}
	}
	return false
}

// member answers the membership of c in ch, or nil.
func (c *Client) member(ch *Channel) *Member {
	for _, m := range c.members {
		if m.channel == ch {
			return m
		}
	}
	return nil
}

func orStar(s string) string {
	if s == "" {
		return "*"
	}
	return s
}
