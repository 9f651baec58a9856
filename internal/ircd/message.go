package ircd

import (
	"math"
	"strings"
	"time"

	"github.com/ergochat/irc-go/ircmsg"
)

// noLimit is the send queue limit of a connection's last words.
const noLimit = math.MaxInt

// maxBody is the length of a line without tags, CR LF included (RFC 1459 section 2.3); maxTags is that of the tags with @ and
// space (IRCv3 message-tags).
const (
	maxBody = 512
	maxTags = 8191
)

// message is one line on its way to many clients. What differs between them is the tags, by capability; each form is made once.
type message struct {
	body    string // without tags, with CR LF
	tags    string // client-only tags as they came, without @
	account string
	at      time.Time
	forms   [tagForms][]byte
}

// newMessage is a line from c.
func newMessage(from *Client, command string, params ...string) *message {
	return &message{body: line(from.prefix(), command, params...), account: from.account, at: time.Now()}
}

// newServerMessage is a line from the server.
func newServerMessage(s *Server, command string, params ...string) *message {
	return &message{body: line(s.cfg.Name, command, params...), at: time.Now()}
}

// line builds a line up to maxBody. The last parameter gets a colon if it needs one.
func line(source, command string, params ...string) string {
	var b strings.Builder
	b.Grow(128)
	if source != "" {
		b.WriteByte(':')
		b.WriteString(source)
		b.WriteByte(' ')
	}
	b.WriteString(command)
	for i, p := range params {
		b.WriteByte(' ')
		if i == len(params)-1 && needsColon(p, command) {
			b.WriteByte(':')
		}
		b.WriteString(p)
	}
	if b.Len() > maxBody-2 {
		short := ircmsg.TruncateUTF8Safe(b.String(), maxBody-2)
		return short + "\r\n"
	}
	b.WriteString("\r\n")
	return b.String()
}

// needsColon also answers true where all servers write a colon: before chat text, reasons and the text of numerics.
func needsColon(p, command string) bool {
	if p == "" || p[0] == ':' || strings.IndexByte(p, ' ') >= 0 {
		return true
	}
	if isDigit(command[0]) {
		return !bareNumerics[command]
	}
	switch command {
	case "MODE", "INVITE", "TAGMSG":
		return false
	case "PART":
		return p[0] != '#'
	}
	return true
}

// bareNumerics end in a value and not in text.
var bareNumerics = map[string]bool{
	rplMyInfo: true, rplUmodeIs: true, rplChannelModeIs: true, rplCreationTime: true, rplTopicWhoTime: true,
	rplInviting: true, rplInviteList: true, rplBanList: true, rplExceptList: true, rplInvexList: true,
}

// form is the tags that a client's capabilities ask for.
type form uint8

const (
	formTime form = 1 << iota
	formTags
	formAccount
	tagForms = 8
)

func (c *Client) form() form {
	var f form
	if c.caps.has(capServerTime) {
		f |= formTime
	}
	if c.caps.has(capMessageTags) {
		f |= formTags
	}
	if c.caps.has(capAccountTag) {
		f |= formAccount
	}
	return f
}

// bytes answers the line with the tags of f. The result is shared and must not be changed.
func (m *message) bytes(f form) []byte {
	if b := m.forms[f]; b != nil {
		return b
	}
	var tags []string
	if f&formTime != 0 {
		tags = append(tags, "time="+m.at.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	if f&formAccount != 0 && m.account != "" {
		tags = append(tags, "account="+ircmsg.EscapeTagValue(m.account))
	}
	if f&formTags != 0 && m.tags != "" {
		tags = append(tags, m.tags)
	}
	b := m.body
	if len(tags) > 0 {
		b = "@" + strings.Join(tags, ";") + " " + b
	}
	m.forms[f] = []byte(b)
	return m.forms[f]
}

// send queues a message; settle writes it.
func (c *Client) send(m *message) {
	if c.conn != nil && !c.gone {
		c.conn.queue(m.bytes(c.form()), c.srv.cfg.Limits.SendQ)
	}
}

// numeric answers c: the server as source, c's nick first.
func (c *Client) numeric(code string, params ...string) {
	c.send(newServerMessage(c.srv, code, append([]string{c.shown()}, params...)...))
}

// reply is a line from the server to c that is no numeric.
func (c *Client) reply(command string, params ...string) {
	c.send(newServerMessage(c.srv, command, params...))
}

// notify sends a server notice to the operators who want that letter.
func (s *Server) notify(letter byte, text string) {
	var m *message
	for c := range s.opers {
		if strings.IndexByte(c.snomask, letter) >= 0 {
			if m == nil {
				m = newServerMessage(s, "NOTICE", "*", "*** "+text)
			}
			c.send(m)
		}
	}
}

// clientTags picks the client-only tags (+name) out of the tags of a line; all others are the server's to set.
func clientTags(tags string) string {
	if !strings.Contains(tags, "+") {
		return ""
	}
	var kept []string
	for tag := range strings.SplitSeq(tags, ";") {
		if strings.HasPrefix(tag, "+") {
			kept = append(kept, tag)
		}
	}
	return strings.Join(kept, ";")
}
