package backend

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// greet is the check tcp: the connect was good. An ircd that wants to see a PROXY header first gets it, so that it has nothing to complain of,
// and QUIT behind it: InspIRCd keeps a connection that ends right behind its header as an unknown one, until its registration timeout,
// and counts it.
func greet(ctx context.Context, conn net.Conn, conf config.Backend) error {
	header, err := checkHeader(conf, conn)
	if err != nil || header == nil {
		return err
	}
	defer tie(ctx, conn)()
	if _, err := conn.Write(append(header, "QUIT\r\n"...)); err != nil {
		return fmt.Errorf("write PROXY header: %w", err)
	}
	goodbye(conn)
	return nil
}

// goodbyeTime is how long an ircd may take to close when it was told QUIT.
const goodbyeTime = 200 * time.Millisecond

// goodbye lets the ircd close. One that does not do so in time is reset, which it cannot overlook.
func goodbye(conn net.Conn) {
	conn.SetReadDeadline(time.Now().Add(goodbyeTime))
	if _, err := io.Copy(io.Discard, io.LimitReader(conn, maxAnswerLine)); err != nil {
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		if t, ok := conn.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
	}
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
