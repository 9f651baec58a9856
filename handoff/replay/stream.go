package replay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/ergochat/irc-go/ircmsg"

	"github.com/ircferry/ircferry/backend"
)

// stream is a connection of ours to a stock ircd, on which a user comes up. Only one goroutine uses it at a time.
type stream struct {
	conn net.Conn
	in   *bufio.Reader
	b    *backend.Backend
	who  backend.Client

	nick    string
	refusal string // what the ircd has said why it ends the stream
}

// maxReply is the longest line of an ircd that is read: tags and text.
const maxReply = 16 << 10

// open connects, and says who the client is if that comes first.
func open(ctx context.Context, b *backend.Backend, who backend.Client, user string) (*stream, error) {
	opening, err := b.Open(who)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{KeepAlive: -1}
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(ctx, "tcp", opening.Addr.String())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", b.FullName(), err)
	}
	s := &stream{conn: conn, in: bufio.NewReaderSize(conn, maxReply), b: b, who: who}
	preface := opening.Preface
	if opening.HoldForUser {
		preface = b.WebIRC(who, user)
	}
	if len(preface) > 0 {
		if _, err := conn.Write(preface); err != nil {
			conn.Close()
			return nil, fmt.Errorf("introduce a client to %s: %w", b.FullName(), err)
		}
	}
	return s, nil
}

func (s *stream) close() { s.conn.Close() }

// say writes lines. An error shows at the next read.
func (s *stream) say(lines ...string) {
	_, _ = s.conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
}

// until is the context's end, for the connection.
func (s *stream) until(ctx context.Context) func() bool {
	s.conn.SetDeadline(time.Time{})
	return context.AfterFunc(ctx, func() { s.conn.SetDeadline(time.Unix(1, 0)) })
}

// next reads a message and answers it if it is a PING.
func (s *stream) next() (ircmsg.Message, error) {
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			if s.refusal != "" && !errors.Is(err, os.ErrDeadlineExceeded) {
				return ircmsg.Message{}, &refused{s.refusal}
			}
			return ircmsg.Message{}, err
		}
		m, err := ircmsg.ParseLine(string(line))
		if err != nil {
			continue
		}
		switch m.Command {
		case "PING":
			if len(m.Params) > 0 {
				s.say("PONG :" + m.Params[len(m.Params)-1])
			}
			continue
		case "ERROR", "465", "466", "463":
			s.refusal = m.Command + " " + m.Params[max(0, len(m.Params)-1)]
		case "NICK":
			if m.Nick() == s.nick && len(m.Params) > 0 {
				s.nick = m.Params[0]
			}
		}
		return m, nil
	}
}

// refused is why an ircd does not take a user.
type refused struct{ words string }

func (e *refused) Error() string { return "the ircd says " + e.words }

// errNick says that somebody has the nick.
var errNick = errors.New("the nick is in use")

// person is who registers.
type person struct {
	nick, user, real string
	caps             []string
}

// An ircd that has not stopped, as behind a hold that was cancelled, has the user's ghost for a moment. Who has the nick for longer is somebody else.
const (
	nickRetry = 250 * time.Millisecond
	nickTries = 12
)

// register comes up as a person and reads on to the end of the welcome; see is told of each line of it.
func (s *stream) register(ctx context.Context, p person, see func(ircmsg.Message)) error {
	defer s.until(ctx)()
	var lines []string
	if len(p.caps) > 0 {
		lines = append(lines, "CAP LS 302")
	}
	for names := range chunks(p.caps, " ", 400) {
		lines = append(lines, "CAP REQ :"+names)
	}
	lines = append(lines, "NICK "+p.nick, "USER "+p.user+" 0 * :"+p.real)
	if len(p.caps) > 0 {
		lines = append(lines, "CAP END")
	}
	s.say(lines...)
	for tries := 0; ; {
		m, err := s.next()
		if err != nil {
			return fmt.Errorf("register: %w", err)
		}
		if see != nil {
			see(m)
		}
		switch m.Command {
		case "001":
			if len(m.Params) > 0 {
				s.nick = m.Params[0]
			}
			return s.fence(ctx, see)
		case "433", "436", "437":
			if tries++; tries > nickTries || !pause(ctx, nickRetry) {
				return fmt.Errorf("register: %w", errNick)
			}
			s.say("NICK " + p.nick)
		case "432":
			return fmt.Errorf("register: %w", &refused{"432 " + m.Params[len(m.Params)-1]})
		}
	}
}

// fence reads up to the answer to a PING; see is told of each line before it.
func (s *stream) fence(ctx context.Context, see func(ircmsg.Message)) error {
	defer s.until(ctx)()
	token := token()
	s.say("PING " + token)
	for {
		m, err := s.next()
		if err != nil {
			return err
		}
		if m.Command == "PONG" && len(m.Params) > 0 && m.Params[len(m.Params)-1] == token {
			return nil
		}
		if see != nil {
			see(m)
		}
	}
}

// rest is what was read and not looked at.
func (s *stream) rest() []byte {
	p, _ := s.in.Peek(s.in.Buffered())
	return append([]byte(nil), p...)
}

// pause lets d pass; false: ctx was over first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// chunks joins words to texts of at most most bytes.
func chunks(words []string, by string, most int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		var text string
		for _, w := range words {
			switch {
			case text == "":
				text = w
			case len(text)+len(by)+len(w) > most:
				if !yield(text) {
					return
				}
				text = w
			default:
				text += by + w
			}
		}
		if text != "" {
			yield(text)
		}
	}
}
