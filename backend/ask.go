package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// caller is who a check by irc is for the ircd.
type caller struct {
	as       netip.Addr // the address that the identity claims for it
	register bool       // it becomes a user, looks at what the ircd shows of it, and quits
}

// testNet is TEST-NET-1 (RFC 5737): addresses that no client has. Checks come from them in turn, so that no ircd counts them against the proxy's
// address, or takes one of them for a clone or a flood.
func testNet(n uint8) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1 + n%254}) }

func anyCaller() caller { return caller{as: testNet(uint8(rand.IntN(254))), register: true} }

// opinion is what an ircd thinks of a check.
type opinion struct {
	caps   []string
	asked  bool   // whether it was asked to register the check
	doubt  string // that it does not believe who the check is; "": nothing speaks for that
	unsure string // why it is not known whether it does
}

// Bounds of what an ircd can make us read. A welcome may have a long MOTD.
const (
	maxAnswerLine  = 8 << 10
	maxAnswerLines = 64
	maxWelcome     = 4096
)

// inquiry is the dialogue of a check by irc.
type inquiry struct {
	conn    net.Conn
	in      *bufio.Reader
	who     caller
	conf    config.Backend
	nick    string
	nicks   int
	op      opinion
	notice  string // the last line that decides nothing
	refusal []string
	wrong   string // 464, which ends nothing by itself

	software string // as 004 names it
}

// askIRC says CAP LS, and if the caller wants it registers a user, and reads on to a verdict: an error is the ircd's refusal, with its words, or
// that it has none. Then it says QUIT and lets the ircd close, so that nothing is left behind there.
func askIRC(ctx context.Context, conn net.Conn, pl plan, who caller) (opinion, error) {
	defer tie(ctx, conn)()
	q, err := ask(ctx, conn, pl, who)
	if err == nil {
		q.leave()
	}
	return q.op, err
}

// ask is askIRC up to the verdict: who was registered still is.
func ask(ctx context.Context, conn net.Conn, pl plan, who caller) (*inquiry, error) {
	q := &inquiry{conn: conn, in: bufio.NewReaderSize(conn, maxAnswerLine), who: who, conf: pl.conf, nick: newNick()}
	hello, err := pl.introduction(conn, who)
	if err != nil {
		return q, err
	}
	hello = append(hello, "CAP LS 302\r\n"...)
	if who.register {
		q.op.asked = true
		hello = fmt.Appendf(hello, "NICK %s\r\nUSER ferry 0 * :ircferry check\r\nCAP END\r\n", q.nick)
	}
	if _, err := conn.Write(hello); err != nil {
		return q, fmt.Errorf("write CAP LS: %w", err)
	}
	conn.SetReadDeadline(nearly(ctx))
	err = q.verdict()
	end, _ := ctx.Deadline()
	conn.SetReadDeadline(end)
	return q, err
}

// newNick is short enough for every ircd, and of nobody.
func newNick() string { return fmt.Sprintf("ferry%04d", rand.IntN(10_000)) }

// nearly leaves a tenth of what is left of ctx for the way out.
func nearly(ctx context.Context) time.Time {
	end, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	return end.Add(-time.Until(end) / 10)
}

// introduction is what says who the client is, ahead of its first line.
func (pl plan) introduction(conn net.Conn, who caller) ([]byte, error) {
	c := Client{Addr: netip.AddrPortFrom(who.as, 40000), Local: addrPort(conn.RemoteAddr())}
	switch {
	case pl.conf.Identity == config.IdentityWebIRC && pl.conf.WebIRCAfter != "":
		return webirc(pl, "~ferry", c), nil
	case pl.conf.Identity == config.IdentityWebIRC:
		return webirc(pl, gateway, c), nil
	case who.register:
		return proxyHeader(pl.conf, c)
	}
	return checkHeader(pl.conf, conn)
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	return netip.AddrPort{}
}

// verdict reads until it is known whether the ircd takes us.
func (q *inquiry) verdict() error {
	answered := false
	for range maxAnswerLines {
		line, err := q.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && len(q.refusal) > 0:
			return q.refused(nil)
		case errors.Is(err, os.ErrDeadlineExceeded) && answered: // busy with names and idents, which it looks up for a user only
			q.op.unsure = "it did not register the check in time"
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && q.notice != "":
			q.op.unsure = "it has only said " + q.notice
			return nil // it lives, and reads us when it has looked up what it wants to know
		case err != nil:
			return q.refused(err)
		case line.refuses():
			q.refusal = append(q.refusal, line.words())
			if line.verb == "ERROR" {
				return q.refused(nil)
			}
		case line.verb == "CAP":
			q.op.caps = append(q.op.caps, capsOf(line)...)
			more := line.param(2) == "*"
			answered = answered || !more
			if !q.who.register && !more {
				return q.light()
			}
		case line.verb == "001":
			q.nick = line.param(0)
			return q.look(line)
		case line.verb == "464":
			q.wrong = line.words()
		case q.who.register && (line.verb == "432" || line.verb == "433" || line.verb == "436" || line.verb == "437"):
			if q.nicks++; q.nicks > 3 {
				q.op.unsure = "it took no nick: " + line.words()
				return nil
			}
			q.nick = newNick()
			q.say("NICK " + q.nick)
		case line.numeric() && line.verb != "020": // RPL_HELLO: please wait
			answered = true
			if !q.who.register {
				return q.light()
			}
		case line.verb == "NOTICE":
			q.notice = line.words()
		}
	}
	return q.refused(errors.New("too many lines"))
}

// light is the verdict of a check that does not register.
func (q *inquiry) light() error {
	if len(q.refusal) > 0 {
		return q.refused(nil)
	}
	if q.wrong != "" && q.conf.Identity == config.IdentityWebIRC {
		q.op.doubt = "it answers WEBIRC with " + q.wrong
	}
	return nil
}

// refused is the error with the ircd's words, or for one that wants to know more of a user than a check can tell, nil.
func (q *inquiry) refused(err error) error {
	words := strings.Join(q.refusal, ", ")
	if len(q.refusal) == 0 {
		if err == nil || q.notice == "" {
			return fmt.Errorf("read answer to CAP LS: %w", err)
		}
		return fmt.Errorf("%w to CAP LS: after %s: %w", errAnswer, q.notice, err)
	}
	if q.who.register && (q.wrong != "" && q.conf.Identity != config.IdentityWebIRC || wantsLogin(words)) {
		q.op.unsure = "it wants to know more of a user than a check can tell: " + words
		return nil
	}
	if q.who.register {
		return fmt.Errorf("%w to a new user from %s: %s (if it lets in certain users only, write check: {register: 0})", errAnswer, q.who.as, words)
	}
	return fmt.Errorf("%w to CAP LS: %s", errAnswer, words)
}

// wantsLogin reports whether a refusal is about a password or an account of the user's.
func wantsLogin(words string) bool {
	if aboutWebIRC(words) {
		return false
	}
	words = strings.ToLower(words)
	return slices.ContainsFunc([]string{"password", "sasl", "account", "identif", "log in", "login", "certificate"}, func(w string) bool {
		return strings.Contains(words, w)
	})
}

// aboutWebIRC reports whether a refusal is of the gateway, that is us.
func aboutWebIRC(words string) bool {
	words = strings.ToLower(words)
	return strings.Contains(words, "webirc") || strings.Contains(words, "cgi:irc") || strings.Contains(words, "cgiirc")
}

// look asks the ircd what it shows of the user that we are now.
func (q *inquiry) look(welcome said) error {
	if q.conf.Identity == "" || q.conf.Identity == config.IdentityNone {
		return nil
	}
	q.say("USERHOST " + q.nick + "\r\nWHOIS " + q.nick)
	shown := welcome.last()
	for range maxWelcome {
		line, err := q.next()
		if err != nil {
			break
		}
		switch line.verb {
		case "302", "311", "338", "378", "396":
			shown += " " + strings.Join(line.params[min(1, len(line.params)):], " ")
		}
		if line.verb == "318" || line.verb == "401" || line.verb == "ERROR" {
			break
		}
	}
	q.compare(shown)
	return nil
}

// compare looks for the claimed address, and for that of our own end, in what the ircd shows.
func (q *inquiry) compare(shown string) {
	ours := addrPort(q.conn.LocalAddr()).Addr().Unmap()
	all := addressesIn(shown)
	switch {
	case slices.Contains(all, q.who.as):
	case slices.Contains(all, ours), ours.IsLoopback() && strings.Contains(shown, "@localhost"):
		q.op.doubt = fmt.Sprintf("it shows our own address for a client that was said to come from %s (identity %s)", q.who.as, q.conf.Identity)
		if q.wrong != "" {
			q.op.doubt += ", after " + q.wrong
		}
	default:
		q.op.unsure = "it shows no address of a user"
	}
}

// next reads a line and answers it if it is a PING.
func (q *inquiry) next() (said, error) {
	for {
		line, err := q.in.ReadSlice('\n')
		if err != nil {
			return said{}, err
		}
		s := parseSaid(string(line))
		if s.verb == "004" {
			q.software = s.param(2)
		}
		if s.verb != "PING" {
			return s, nil
		}
		q.say("PONG :" + s.last())
	}
}

func (q *inquiry) say(line string) { io.WriteString(q.conn, line+"\r\n") }

// leave says QUIT and reads what there still is until the ircd closes.
func (q *inquiry) leave() {
	q.say("QUIT")
	for range maxWelcome {
		line, err := q.next()
		if err != nil {
			return
		}
		if line.verb == "CAP" {
			q.op.caps = append(q.op.caps, capsOf(line)...)
		}
	}
}

// capsOf reads the names in "CAP * LS [*] :name=value name".
func capsOf(s said) []string {
	if len(s.params) < 3 || s.verb != "CAP" || !strings.EqualFold(s.param(1), "LS") {
		return nil
	}
	var names []string
	for w := range strings.FieldsSeq(s.last()) {
		name, _, _ := strings.Cut(w, "=")
		names = append(names, name)
	}
	return names
}

// printable cuts a line of an ircd for a log: at most 120 bytes, nothing that a terminal would obey.
func printable(line []byte) string {
	text := strings.TrimSpace(string(line))
	text = text[:min(len(text), 120)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, text)
}
