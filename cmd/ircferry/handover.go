package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/proxy"
	"github.com/ircferry/ircferry/proxy/link"
	"github.com/ircferry/ircferry/proxy/wire"
)

// What two processes of the daemon say to each other at an upgrade, over a socket pair (internal/fdpass). The old one starts the new one:
//
//	new: hello      what it is and can read
//	old: begin      who we are, and the running configuration
//	new: prepared   it takes the present configuration, and its backends are checked; nothing of ours has changed yet
//	old: (stops)    new clients wait in the listeners' queues, handshakes end, loops and server links stand still
//	old: legacy     descriptors of the arena, of the legacy's text and of the doors; then all the others, in batches
//	new: ready      it has a session for each
//	old: go         from here on the old one touches nothing, unless the new one ends without
//	new: taken      before its loops turn
//	old: left       the service manager knows the new one's process id, and the old one ends
//
// Failed may come in the place of any word of the new one. Who ends before taken has changed nothing.

// protocolVersion is raised when these words change their meaning.
const protocolVersion = 1

// Words of the two.
const (
	wordHello    = "hello"
	wordBegin    = "begin"
	wordPrepared = "prepared"
	wordLegacy   = "legacy"
	wordReady    = "ready"
	wordGo       = "go"
	wordTaken    = "taken"
	wordLeft     = "left"
	wordFailed   = "failed"
)

// message is one of them.
type message struct {
	Word  string `json:"word"`
	Error string `json:"error,omitempty"` // of failed

	Keeper []byte  `json:"keeper,omitempty"`   // of go: a ticket for its claim
	Pause  float64 `json:"pause_ms,omitempty"` // of left: in which nothing was relayed

	Hello  *helloMessage `json:"hello,omitempty"`
	Begin  *beginMessage `json:"begin,omitempty"`
	Legacy *legacyCounts `json:"legacy,omitempty"`
}

type helloMessage struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	Layout   uint64 `json:"layout"`       // of the wire arena
	Carry    int    `json:"carry_format"` // see proxy.CarryFormat
	Links    int    `json:"link_format"`  // see link.CarryFormat; 0: server links cannot go along
	Moves    int    `json:"moves_format"` // see handoff.UnderwayFormat
	Used     int    `json:"descriptors"`  // in use, and how many there may be
	Limit    int    `json:"descriptor_limit"`
}

type beginMessage struct {
	DryRun   bool               `json:"dry_run,omitempty"` // it ends when it is prepared
	Instance string             `json:"instance"`
	Started  time.Time          `json:"started"`
	Loops    int                `json:"loops"`
	Config   string             `json:"config"` // text of the one that runs
	Loaded   time.Time          `json:"loaded"`
	Bound    []string           `json:"bound"` // addresses of the listeners
	Up       []string           `json:"up"`    // backends
	Backends backend.Remembered `json:"backends"`
}

// linkFormat is what this process can read of links: a field for tests of one that cannot.
var linkFormat = link.CarryFormat

// ourselves says what this process is and can read.
func ourselves() *helloMessage {
	h := &helloMessage{Protocol: protocolVersion, Version: admin.BuildVersion().Version, Layout: wire.LayoutHash(), Carry: proxy.CarryFormat, Links: linkFormat,
		Moves: handoff.UnderwayFormat}
	h.Used, h.Limit = proxy.Descriptors()
	return h
}

// legacyCounts say what comes behind the message.
type legacyCounts struct {
	Doors       int `json:"doors"`
	Descriptors int `json:"descriptors"`
}

// legacy is what a process leaves beside its descriptors and the arena. It lies in memory that has no name, and holds secrets.
type legacy struct {
	Proxy    proxy.Carried      `json:"proxy"`
	Links    *link.Carried      `json:"links"` // nil: they have ended; their descriptors are the last ones
	Past     handoff.Past       `json:"past"`
	Backends backend.Remembered `json:"backends"`
	Events   admin.Kept         `json:"events"`
	Counters counters           `json:"counters"`
	Tickets  []byte             `json:"tickets"`
	Upgrades admin.Upgrades     `json:"upgrades"`
	Cut      time.Time          `json:"cut"` // since when nothing is relayed
}

// write puts the legacy into memory without a name and answers its descriptor.
func (l *legacy) write() (*os.File, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("write legacy: %w", err)
	}
	fd, err := unix.MemfdCreate("ircferry-legacy", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("write legacy: %w", err)
	}
	f := os.NewFile(uintptr(fd), "legacy")
	for _, part := range append([][]byte{text}, raw(l.Proxy.Loops)...) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		_, err1 := f.Write(size[:])
		_, err2 := f.Write(part)
		clear(part) // what clients said while they registered, ticket keys
		if err := errors.Join(err1, err2); err != nil {
			f.Close()
			return nil, fmt.Errorf("write legacy: %w", err)
		}
	}
	return f, nil
}

func raw(parts []json.RawMessage) (all [][]byte) {
	for _, p := range parts {
		all = append(all, p)
	}
	return all
}

// readLegacy reads what write has written, and closes fd.
func readLegacy(fd int) (*legacy, error) {
	f := os.NewFile(uintptr(fd), "legacy")
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read legacy: %w", err)
	}
	all := make([]byte, info.Size())
	if _, err := f.ReadAt(all, 0); err != nil {
		return nil, fmt.Errorf("read legacy: %w", err)
	}
	var parts [][]byte
	for len(all) > 0 {
		if len(all) < 8 || binary.BigEndian.Uint64(all) > uint64(len(all)-8) {
			return nil, errors.New("read legacy: it ends too early")
		}
		n := int(binary.BigEndian.Uint64(all))
		parts = append(parts, all[8:8+n])
		all = all[8+n:]
	}
	if len(parts) == 0 {
		return nil, errors.New("read legacy: there is none")
	}
	var l legacy
	err = json.Unmarshal(parts[0], &l)
	clear(parts[0])
	if err != nil {
		return nil, fmt.Errorf("read legacy: %w", err)
	}
	for _, p := range parts[1:] {
		l.Proxy.Loops = append(l.Proxy.Loops, p)
	}
	return &l, nil
}
