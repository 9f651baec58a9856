package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// version is that of the protocol, oldest the oldest that this program still speaks.
const (
	version = 1
	oldest  = 1
)

// Features beyond version 1, as bits; none yet.
const features uint64 = 0

// magic begins what follows the header of a hello.
const magic = "ircfkeep"

// Verbs. An answer has that of its question and answered.
const (
	verbHello   = 1  // magic, version, oldest, features -> helloBody
	verbClaim   = 2  // ticket, zero for none -> result
	verbKeep    = 3  // tags, as many descriptors
	verbDrop    = 4  // tags
	verbMemory  = 5  // name; one descriptor, or none to drop it
	verbTake    = 6  // where to begin: 0 -> where to go on, 0 at the end; tags; descriptors
	verbNames   = 7  // -> names of the memory, with its descriptors
	verbClear   = 8  // ->
	verbPing    = 9  // -> what it holds
	verbPass    = 10 // -> ticket
	verbServing = 11 // clients are served: the grace time is whole again
	verbEnding  = 12 // the daemon is to stop: nothing is to outlive it

	answered = 0x80

	sayUnknown = 0xf0 // a verb
	sayRefused = 0xf1 // a verb, why (below)
	sayLost    = 0xf2 // why, tags of descriptors that are not held; none: nobody knows which
)

// Whys.
const (
	whyFenced  = 1 // another daemon has the claim, or nobody
	whyFull    = 2 // no room for more
	whyEMFILE  = 3 // the kernel gave the keeper no descriptor
	whyGarbled = 4 // the message makes no sense
	whyBusy    = 5 // ask again
)

func whyText(why byte) string {
	switch why {
	case whyFenced:
		return "another daemon has the claim, or none has"
	case whyFull:
		return "it may have no more descriptors: raise LimitNOFILE of its unit (ulimit -n)"
	case whyEMFILE:
		return "the kernel gave it no descriptor: raise LimitNOFILE of its unit (ulimit -n), or fs.file-max"
	case whyGarbled:
		return "the message makes no sense"
	case whyBusy:
		return "it is busy"
	}
	return fmt.Sprintf("cause %d", why)
}

const (
	headerSize = 8
	maxBatch   = 253 // descriptors of a message: SCM_MAX_FD
	maxMessage = 4096
	maxName    = 64
	maxMemory  = 16 // names
	ticketSize = 16
)

type ticket [ticketSize]byte

var errGarbled = errors.New("the message makes no sense")

func header(b []byte, verb byte, seq uint32) []byte {
	b = append(b, verb, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, seq)
}

func parseHeader(b []byte) (verb byte, seq uint32, body []byte, err error) {
	if len(b) < headerSize {
		return 0, 0, nil, errGarbled
	}
	return b[0], binary.LittleEndian.Uint32(b[4:]), b[headerSize:], nil
}

// Status is what a keeper says of itself.
type Status struct {
	Protocol    int       `json:"protocol"`
	Version     string    `json:"version"`
	PID         int       `json:"pid"`
	Started     time.Time `json:"started"`
	Descriptors int       `json:"descriptors"`
	Memory      int       `json:"memory"`           // names
	Limit       int       `json:"descriptor_limit"` // descriptors that it takes at most
	Epoch       uint64    `json:"epoch"`            // claims so far
	Grace       float64   `json:"grace_seconds"`    // how long it holds all without a daemon that serves

	features uint64
	oldest   int
}

// append writes it for the wire; the version's text is last of what version 1 has, behind its length.
func (s *Status) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(s.Protocol))
	b = binary.LittleEndian.AppendUint16(b, uint16(s.oldest))
	b = binary.LittleEndian.AppendUint64(b, s.features)
	for _, n := range [...]int{s.PID, s.Descriptors, s.Memory, s.Limit, int(s.Grace * 1000)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Started.UnixMilli()))
	b = binary.LittleEndian.AppendUint64(b, s.Epoch)
	text := s.Version[:min(len(s.Version), 255)]
	return append(append(b, byte(len(text))), text...)
}

const statusSize = 2 + 2 + 8 + 5*4 + 8 + 8 + 1

func parseStatus(b []byte) (s Status, err error) {
	if len(b) < statusSize || len(b) < statusSize+int(b[statusSize-1]) {
		return s, errGarbled
	}
	le := binary.LittleEndian
	return Status{Protocol: int(le.Uint16(b)), oldest: int(le.Uint16(b[2:])), features: le.Uint64(b[4:]), PID: int(le.Uint32(b[12:])),
		Descriptors: int(le.Uint32(b[16:])), Memory: int(le.Uint32(b[20:])), Limit: int(le.Uint32(b[24:])), Grace: float64(le.Uint32(b[28:])) / 1000,
		Started: time.UnixMilli(int64(le.Uint64(b[32:]))), Epoch: le.Uint64(b[40:]),
		Version: string(b[statusSize : statusSize+int(b[statusSize-1])])}, nil
}

// agree says whether two ends can speak with each other.
func agree(theirs, theirOldest int) error {
	if theirs < oldest || theirOldest > version {
		return fmt.Errorf("the other end speaks versions %d to %d of the keeper's protocol, this one %d to %d", theirOldest, theirs, oldest, version)
	}
	return nil
}

func appendTags(b []byte, tags []Tag) []byte {
	for _, t := range tags {
		b = binary.LittleEndian.AppendUint64(b, uint64(t))
	}
	return b
}

// parseTags appends those of a body to tags.
func parseTags(tags []Tag, b []byte) ([]Tag, error) {
	if len(b)%8 != 0 {
		return tags, errGarbled
	}
	for ; len(b) > 0; b = b[8:] {
		t := Tag(binary.LittleEndian.Uint64(b))
		if t == 0 {
			return tags, errGarbled
		}
		tags = append(tags, t)
	}
	return tags, nil
}
