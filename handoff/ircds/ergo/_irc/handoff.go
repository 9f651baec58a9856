// SPDX-License-Identifier: MIT

package irc

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"gopkg.in/yaml.v2"

	"github.com/ergochat/ergo/irc/protocol"
)

// handoffConfig is the block `handoff:` of ircd.yaml, which a stock Ergo leaves unread. Without control there is no handoff.
type handoffConfig struct {
	Control string // unix:/path, or tcp:host:port of a loopback address
	Mode    string // of the unix socket, octal; "": 0600
	Stream  string // host:port for streams; "": a free port of 127.0.0.1
	Pass    string // secret that a coordinator must tell; "": none
}

// handoffEnd is Ergo's end of HANDOFF/1, one for a process: it implements protocol.Ircd. What it does to clients and channels it does
// while the world stands still; mu guards its own maps.
type handoffEnd struct {
	server *Server
	proto  *protocol.Server

	mu       sync.Mutex
	streams  map[string]*handoffConn // by stream id
	reserved map[string]bool         // casefolded nicks, skeletons and channels of a prepared import, with a letter in front

	selected []*handoffConn // between Freeze and Resume or Release
	staged   *handoffImport // between Begin and Commit or Abort
}

// handoff is nil until handoffStart has found the block in ircd.yaml. It is set before the first stream and never changed again.
var handoff *handoffEnd

// handoffStart opens the listeners; Run calls it, and what it answers when Run ends. A configuration that cannot be carried out ends the
// process, as Ergo's own does.
func (server *Server) handoffStart() (stop func()) {
	h, listeners, err := newHandoffEnd(server)
	if err != nil {
		server.logger.Error("server", "Could not start handoff", err.Error())
		os.Exit(1)
	}
	if h == nil {
		return func() {}
	}
	handoff = h
	var serving sync.WaitGroup
	serving.Go(func() { h.proto.ListenControl(listeners[0]) })
	serving.Go(func() { h.proto.ListenStream(listeners[1]) })
	server.logger.Info("listeners", fmt.Sprintf("handoff on %s, streams on %s", listeners[0].Addr(), listeners[1].Addr()))
	return func() {
		theWorld.enter() // the signal that ends us waits for a world that stands still
		theWorld.leave()
		for _, l := range listeners {
			l.Close()
		}
		serving.Wait()
		h.proto.Close()
	}
}

func newHandoffEnd(server *Server) (*handoffEnd, [2]net.Listener, error) {
	var listeners [2]net.Listener
	var file struct{ Handoff handoffConfig }
	data, err := os.ReadFile(server.configFilename)
	if err == nil {
		err = yaml.Unmarshal(data, &file)
	}
	cfg := file.Handoff
	if err != nil || cfg.Control == "" {
		return nil, listeners, err
	}
	if cfg.Stream == "" {
		cfg.Stream = "127.0.0.1:0"
	}
	if listeners[0], err = listenHandoff(cfg); err != nil {
		return nil, listeners, fmt.Errorf("listen for handoff control on %s: %w", cfg.Control, err)
	}
	if listeners[1], err = net.Listen("tcp", cfg.Stream); err != nil {
		listeners[0].Close()
		return nil, listeners, fmt.Errorf("listen for handoff streams on %s: %w", cfg.Stream, err)
	}
	h := &handoffEnd{server: server, streams: make(map[string]*handoffConn), reserved: make(map[string]bool)}
	h.proto = protocol.NewServer(h, protocol.Config{Pass: cfg.Pass, Stream: listeners[1].Addr().String()})
	return h, listeners, nil
}

// listenHandoff opens control, also where a killed process has left its socket behind.
func listenHandoff(cfg handoffConfig) (net.Listener, error) {
	network, addr, _ := strings.Cut(cfg.Control, ":")
	switch network {
	case "tcp":
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return nil, errors.New("control in plaintext is for loopback addresses only")
		}
		return net.Listen("tcp", addr)
	case "unix":
	default:
		return nil, errors.New("want unix:/path or tcp:host:port")
	}
	mode := uint64(0o600)
	if cfg.Mode != "" {
		var err error
		if mode, err = strconv.ParseUint(cfg.Mode, 8, 9); err != nil {
			return nil, fmt.Errorf("mode %q: not octal", cfg.Mode)
		}
	}
	if conn, err := net.Dial("unix", addr); err == nil {
		conn.Close()
		return nil, syscall.EADDRINUSE
	}
	os.Remove(addr)
	old := syscall.Umask(0o177) // never open to others, not for a moment
	l, err := net.Listen("unix", addr)
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(addr, os.FileMode(mode))
}

// handoffDo carries a function out in the world: for timers, signals and the HTTP API, which are nobody's goroutine.
func handoffDo(f func()) {
	theWorld.enter()
	defer theWorld.leave()
	f()
}

// handoffHandler carries the requests of the HTTP API out in the world.
func handoffHandler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handoffDo(func() { h.ServeHTTP(w, r) })
	})
}

// Names of a prepared import are nobody's: Ergo asks before it gives one.
func handoffReservedNick(cfnick, skeleton string) bool {
	return handoff.isReserved("n"+cfnick) || handoff.isReserved("s"+skeleton)
}

func handoffReservedChannel(cfname string) bool { return handoff.isReserved("c" + cfname) }

func (h *handoffEnd) isReserved(name string) bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reserved[name]
}
