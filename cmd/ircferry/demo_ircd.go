package main

import (
	"github.com/ircferry/ircferry/internal/ircd"
)

// demoServer is one embedded ircd with its handoff listener.
type demoServer struct {
	srv *ircd.Server
}

func startDemoServer(name, socket string) (*demoServer, error) {
	srv, err := ircd.New(ircd.Config{
		Name: name + ".demo.ircferry", SID: "00" + name, Network: "FerryDemo", SocketBuffer: streamBuffer,
		MOTD: []string{"This is ircd " + name + " of the ircferry demo.", "The other clients talk in #ferry0 to #ferry19."},
	})
	if err != nil {
		return nil, err
	}
	if _, err := srv.StartHandoff(ircd.HandoffConfig{Control: "unix:" + socket}); err != nil {
		srv.Close()
		return nil, err
	}
	srv.Start()
	return &demoServer{srv}, nil
}

func (s *demoServer) close() error { return s.srv.Close() }
