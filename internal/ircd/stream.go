package ircd

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Stream is what is known of a connection that comes in by another way than a client port of its own.
type Stream struct {
	U             string // stream id of the coordinator
	Remote, Local netip.AddrPort
	TLS           string // version and suite, "": plaintext
	CertFP        string
}

// acceptClient is the client ports' accepted function.
func (s *Server) acceptClient(fd int, remote, local netip.AddrPort) {
	if s.closing {
		closeFD(fd)
		return
	}
	if _, err := s.adopt(fd, Stream{Remote: remote, Local: local}); err != nil {
		s.log.Warn("client refused", "err", err)
	}
}

// AddStream adopts a connection as a new client with the given addresses, as if it had come in by a client port; rest is what
// was read of it already. nc is taken in any case: it is of no use to the caller afterwards.
func (s *Server) AddStream(nc net.Conn, rest []byte, st Stream) error {
	fd, err := takeSocket(nc)
	if err != nil {
		return err
	}
	s.do(func() {
		if s.closing {
			closeFD(fd)
			err = net.ErrClosed
			return
		}
		s.prepareSocket(fd)
		var c *Client
		if c, err = s.adopt(fd, st); err == nil {
			c.conn.feed(rest)
		}
	})
	return err
}

// adopt makes a new unregistered client of a socket. It owns fd.
func (s *Server) adopt(fd int, st Stream) (*Client, error) {
	c := s.newClient(st)
	var err error
	if c.conn, err = s.newConn(fd, c); err != nil {
		return nil, err
	}
	s.admit(c)
	return c, nil
}

// admit makes a client that has its connection live as an unregistered one, or sends it away if the server is full.
func (s *Server) admit(c *Client) {
	s.clients[c] = struct{}{}
	if n := s.cfg.Limits.Clients; n > 0 && len(s.clients) > n {
		c.quit("Server is full")
	}
}

// newClient builds an unregistered client without connection.
func (s *Server) newClient(st Stream) *Client {
	now := time.Now()
	host := hostOf(st.Remote.Addr())
	return &Client{
		srv: s, u: st.U,
		ip: st.Remote.Addr(), port: st.Remote.Port(), local: st.Local,
		realHost: host, dispHost: host,
		tls: st.TLS, certfp: st.CertFP,
		born: now, heard: now, spoke: now.Unix(),
	}
}

// hostOf answers an address as a host: one that begins with a colon would end a parameter list.
func hostOf(ip netip.Addr) string {
	host := ip.String()
	if host[0] == ':' {
		return "0" + host
	}
	return host
}

// feed is input that was read by somebody else.
func (c *conn) feed(b []byte) {
	if len(b) == 0 || c.state != connOpen {
		return
	}
	if c.recvq == nil {
		c.recvq = c.srv.takeBuffer()
	}
	c.recvq = append(c.recvq, b...)
	c.in += uint64(len(b))
	c.owner.input(c)
}

func closeFD(fd int) { syscall.Close(fd) }
