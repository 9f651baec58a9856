package backend

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// greet is the check tcp: the connect was good, and what the ircd wants to see first is written, so that it has nothing to complain of.
func greet(ctx context.Context, conn net.Conn, conf config.Backend) error {
	header, err := checkHeader(conf, conn)
	if err != nil || header == nil {
		return err
	}
	defer tie(ctx, conn)()
	if _, err := conn.Write(header); err != nil {
		return fmt.Errorf("write PROXY header: %w", err)
	}
	return nil
}

// checkHeader is the PROXY header before a check. In version 2 it says LOCAL. Version 1 has only UNKNOWN for that, which ircds refuse
// (Ergo 2.x irc/utils/proxy.go ParseProxyLineV1 wants all six words; armon/go-proxyproto wants TCP4 or TCP6), and then every check
// would fail: so there we are a client like others, with the addresses of the check's own connection.
func checkHeader(conf config.Backend, conn net.Conn) ([]byte, error) {
	var self Client
	us, ok1 := conn.LocalAddr().(*net.TCPAddr)
	ircd, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	if conf.Identity == config.IdentityProxyV1 && ok1 && ok2 {
		self.Addr, self.Local = us.AddrPort(), ircd.AddrPort()
	}
	return proxyHeader(conf, self)
}

// tie ends what is under way on conn when ctx does.
func tie(ctx context.Context, conn net.Conn) (untie func()) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// Bounds of an answer to CAP LS: a stranger's, so bounded. Real ones are a few lines.
const (
	maxAnswerLine  = 8 << 10
	maxAnswerLines = 64
)

// askIRC is the check irc: it says CAP LS and waits for the first line; any but ERROR is good. Then it says QUIT and lets the ircd
// close, so that no reset stands in its log. It returns the capabilities that the ircd offers, as far as they are told.
func askIRC(ctx context.Context, conn net.Conn, conf config.Backend) (caps []string, err error) {
	defer tie(ctx, conn)()
	header, err := checkHeader(conf, conn)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(header, "CAP LS 302\r\n"...)); err != nil {
		return nil, fmt.Errorf("write CAP LS: %w", err)
	}
	in := bufio.NewReaderSize(conn, maxAnswerLine)
	first, err := in.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("read answer to CAP LS: %w", err)
	}
	if isError(first) {
		return nil, fmt.Errorf("%w to CAP LS: %s", errAnswer, printable(first))
	}
	line := string(first)
	if _, err := io.WriteString(conn, "QUIT\r\n"); err != nil {
		return nil, nil // it lives, it said a line
	}
	for range maxAnswerLines {
		caps = append(caps, capsOf(line)...)
		next, err := in.ReadSlice('\n')
		if err != nil {
			break
		}
		line = string(next)
	}
	return caps, nil
}

// isError reports whether a line is ERROR, with a source before it or not.
func isError(line []byte) bool {
	fields := bytes.Fields(line)
	if len(fields) > 1 && fields[0][0] == ':' {
		fields = fields[1:]
	}
	return len(fields) > 0 && bytes.EqualFold(fields[0], []byte("ERROR"))
}

// capsOf reads the names in ":server CAP * LS [*] :name=value name".
func capsOf(line string) []string {
	head, list, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " :")
	if words := strings.Fields(head); !ok || len(words) < 4 || words[1] != "CAP" || words[3] != "LS" {
		return nil
	}
	var names []string
	for _, w := range strings.Fields(list) {
		name, _, _ := strings.Cut(w, "=")
		names = append(names, name)
	}
	return names
}

// printable cuts a line of an ircd for a log: at most 120 bytes, nothing that a terminal would obey.
func printable(line []byte) string {
	line = bytes.TrimSpace(line)
	line = line[:min(len(line), 120)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, string(line))
}
