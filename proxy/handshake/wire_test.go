package handshake

import (
	"bytes"
	"crypto/tls"
	"io"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/proxy/wire"
)

// What comes out of a handshake, and what lay behind it, is what package wire goes on with.
func TestCarriedOnByWire(t *testing.T) {
	server := certtest.SelfSigned(t, certtest.Options{})
	cfg := serverConfig(server, ServerOptions{Tickets: NewTickets()})
	for _, version := range versions {
		c := newClient(server, version)
		for range 2 { // full and resumed
			a, b := pair(t)
			done := serve(b, cfg)
			said := bytes.Repeat([]byte("PRIVMSG #ferry :hello\r\n"), 2000)
			peer := tls.Client(a, c.Config)
			go peer.Write(said)
			e := must(t, done)

			arena, err := wire.New(wire.Options{Slots: 1, Shards: 1})
			if err != nil {
				t.Fatal(err)
			}
			shard := arena.Shard(0)
			id, err := shard.NewTLS(&e.Params)
			if err != nil {
				t.Fatal(err)
			}
			if err := shard.Keep(id, e.rest); err != nil {
				t.Fatal(err)
			}
			got := open(t, shard, id, 0)
			for len(got) < len(said) {
				n, err := e.conn.Read(shard.ReadRoom(id))
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, open(t, shard, id, n)...)
			}
			if !bytes.Equal(got, said) {
				t.Errorf("%s: %d bytes came that are not those that were said", tls.VersionName(version), len(got))
			}
			out, err := shard.Seal(id, said[:20000])
			if err != nil {
				t.Fatal(err)
			}
			go e.conn.Write(bytes.Clone(out))
			back := make([]byte, 20000)
			if _, err := io.ReadFull(peer, back); err != nil || !bytes.Equal(back, said[:20000]) {
				t.Errorf("%s: to the client: %v", tls.VersionName(version), err)
			}
			if err := arena.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func open(t *testing.T, s *wire.Shard, id wire.TLSID, n int) []byte {
	t.Helper()
	o, err := s.Open(id, n, 0)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(o.Plain)
}
