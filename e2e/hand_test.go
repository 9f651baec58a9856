//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
)

// native is an ircd in a process of its own that speaks HANDOFF/1.
type native interface{ handoff() string }

// hand speaks HANDOFF/1 to an ircd by hand, as a coordinator "i".
type hand struct {
	t     *testing.T
	ircd  native
	c     *protocol.Control
	hello protocol.Hello
}

func newHand(t *testing.T, i native) *hand {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), slack)
	defer cancel()
	c, err := protocol.Dial(ctx, i.handoff())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	h := &hand{t: t, ircd: i, c: c}
	if h.hello, err = c.Hello(ctx, protocol.Hello{Name: "i"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hand) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hand) fails(err error, code protocol.Code) {
	h.t.Helper()
	if !protocol.HasCode(err, code) {
		h.t.Errorf("got %v, want %s", err, code)
	}
}

// rawStream is a stream whose bytes are counted on both sides of its first lines.
type rawStream struct {
	net.Conn
	t       *testing.T
	u       string
	r       *bufio.Reader
	in, out uint64 // bytes of IRC, written to the ircd and read from it
}

func (h *hand) dial(first []byte, u string) *rawStream {
	h.t.Helper()
	conn, err := net.DialTimeout("tcp", h.hello.Stream, slack)
	h.ok(err)
	h.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(slack))
	_, err = conn.Write(first)
	h.ok(err)
	return &rawStream{Conn: conn, t: h.t, u: u, r: bufio.NewReader(conn)}
}

// answer reads the ircd's line.
func (s *rawStream) answer(verb string) error {
	_ = s.SetReadDeadline(time.Now().Add(slack))
	line, err := s.r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return protocol.ParseStreamAnswer(bytes.TrimSuffix(line, []byte("\n")), verb, s.u, "")
}

func (s *rawStream) send(text string) {
	s.t.Helper()
	_ = s.SetWriteDeadline(time.Now().Add(slack))
	if _, err := io.WriteString(s.Conn, text); err != nil {
		s.t.Fatal(err)
	}
	s.in += uint64(len(text))
}

// await reads up to a line that contains the text, and answers all that was read; it answers PING.
func (s *rawStream) await(text string) string {
	s.t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(slack))
	var all strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		s.out += uint64(len(line))
		all.WriteString(line)
		if err != nil {
			s.t.Fatalf("%s waits for %q: %v after\n%s", s.u, text, err, all.String())
		}
		if token, ok := strings.CutPrefix(line, "PING "); ok {
			s.send("PONG " + token)
		}
		if strings.Contains(line, text) {
			return all.String()
		}
	}
}

func (s *rawStream) ask(line string) string {
	s.t.Helper()
	s.send(line + "\r\nPING fence\r\n")
	return s.await("fence")
}

// open brings a client in and registers it.
func (h *hand) open(u, nick string, change func(*protocol.Open)) *rawStream {
	h.t.Helper()
	o := protocol.Open{SKey: h.hello.SKey, U: u, Remote: netip.MustParseAddrPort("198.51.100.7:4000"), Local: netip.MustParseAddrPort("192.0.2.1:6667")}
	if change != nil {
		change(&o)
	}
	s := h.dial(protocol.AppendOpen(nil, o), u)
	h.ok(s.answer(protocol.VerbOpened))
	s.send("NICK " + nick + "\r\nUSER " + nick + " 0 * :" + nick + "\r\n")
	s.await(" 001 ")
	s.ask("PING x")
	return s
}

func (h *hand) attach(tx, tok, u string) *rawStream {
	h.t.Helper()
	s := h.dial(protocol.AppendAttach(nil, protocol.Attach{SKey: h.hello.SKey, Tx: tx, U: u, Tok: tok}), u)
	h.ok(s.answer(protocol.VerbAttached))
	return s
}

// prepare imports records up to PREPARED.
func (h *hand) prepare(records ...protocol.Message) (tx string, p protocol.Prepared) {
	h.t.Helper()
	return h.prepareKicking("", records...)
}

func (h *hand) prepareKicking(kick string, records ...protocol.Message) (tx string, p protocol.Prepared) {
	h.t.Helper()
	tx = protocol.NewSecret()
	h.ok(h.c.Import(h.t.Context(), tx, tx, time.Minute, kick))
	for _, r := range records {
		h.ok(h.c.Record(h.t.Context(), r))
	}
	p, err := h.c.Prepare(h.t.Context(), tx)
	h.ok(err)
	return tx, p
}

func (h *hand) export(streams ...*rawStream) (tx string, users map[string]protocol.User, records []protocol.Message) {
	h.t.Helper()
	tx, users = protocol.NewSecret(), map[string]protocol.User{}
	req := protocol.ExportRequest{Tx: tx, Freeze: 5 * time.Second}
	for _, s := range streams {
		req.Select = append(req.Select, protocol.Selection{U: s.u, In: s.in})
	}
	_, err := h.c.Export(h.t.Context(), req, func(m protocol.Message) error {
		if m.Verb == protocol.VerbUser {
			users[m.Get("u")] = protocol.User{Message: m}
			m = protocol.User{Message: m}.Strip().Message
		}
		records = append(records, m)
		return nil
	})
	h.ok(err)
	return tx, users, records
}
