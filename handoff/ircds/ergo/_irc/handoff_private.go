// SPDX-License-Identifier: MIT

package irc

import (
	"slices"
	"strings"
	"time"

	"github.com/ergochat/ergo/irc/connection_limits"
	"github.com/ergochat/ergo/irc/history"
	"github.com/ergochat/ergo/irc/modes"
	"github.com/ergochat/ergo/irc/protocol"
	"github.com/ergochat/ergo/irc/utils"
)

// Keys of Ergo's own. The first three hold JSON of the structs below; what is no state of Ergo's, or can be had from the standard's keys,
// is not in them.
const (
	handoffKeyClient  = "x." + handoffSoftware + ".client"
	handoffKeySession = "x." + handoffSoftware + ".session"
	handoffKeyChannel = "x." + handoffSoftware + ".channel"
	handoffKeyWith    = "x." + handoffSoftware + ".with"    // of a further session of one client: the stream id of the first
	handoffKeyLocal   = "x." + handoffSoftware + ".local"   // the listener that the client reached, addr:port
	handoffKeyAccount = "x." + handoffSoftware + ".account" // of a LIST: whose account set it
	handoffKeyTime    = "x." + handoffSoftware + ".time"    // of a LIST or MEMB: at, in nanoseconds
	handoffKeyHistory = "x." + handoffSoftware + ".history" // lines of JSON, the oldest first
	handoffKeyLost    = "x." + handoffSoftware + ".lost."   // and a name: what this record does not carry
)

// handoffClient is what only Ergo knows of a client.
type handoffClient struct {
	Signon, Active   time.Time
	Host, Cloak      string
	VHost            string                            `json:",omitempty"`
	Registered       time.Time                         // of the account; tells two accounts of one name apart
	Languages        []string                          `json:",omitempty"`
	LastSeen         map[string]time.Time              `json:",omitempty"`
	ReadMarkers      map[string]time.Time              `json:",omitempty"`
	Metadata         map[string]string                 `json:",omitempty"`
	Invites          map[string]handoffInvite          `json:",omitempty"` // by casefolded channel
	Logins           connection_limits.ThrottleDetails // failed
	MetadataThrottle connection_limits.ThrottleDetails
	NextSession      int64
	RegisterSent     bool `json:",omitempty"`
}

type handoffInvite struct{ Channel, At time.Time }

// handoffSession is what only Ergo knows of one connection.
type handoffSession struct {
	ID              int64
	Created, Active time.Time
	Host, Device    string `json:",omitempty"`
	Away            string `json:",omitempty"`
	AwayAt          time.Time
	Subscriptions   []string `json:",omitempty"` // of METADATA
	Batches         uint32   `json:",omitempty"`
	Push            string   `json:",omitempty"` // endpoint
	MissedSince     time.Time
	Lag             handoffLag
	Multiline       *handoffMultiline `json:",omitempty"`
}

// handoffLag is Fakelag's state. Times are the wall clock's: an hour between source and destination is an hour that has passed.
type handoffLag struct {
	State     FakelagState
	Burst     uint
	Touch     time.Time
	Budgets   map[string]int `json:",omitempty"`
	Suspended bool           `json:",omitempty"`
}

// handoffMultiline is a batch that the client has begun and not ended.
type handoffMultiline struct {
	Label, Command, Target, Response string
	Message                          utils.SplitMessage
	Bytes                            int
	Tags                             map[string]string `json:",omitempty"`
}

// handoffChannel is what only Ergo knows of a channel.
type handoffChannel struct {
	UUID             utils.UUID
	Created, TopicAt time.Time
	Founder          string                `json:",omitempty"`
	Registered       time.Time             // zero: it is not
	Transfer         string                `json:",omitempty"`
	Access           map[string]modes.Mode `json:",omitempty"` // AMODE by account
	Settings         ChannelSettings
	Metadata         map[string]string `json:",omitempty"`
}

// Bounds of the history in memory that goes along: the pause pays for it.
const (
	handoffHistoryEach = 64 << 10 // bytes of one channel or client
	handoffHistoryAll  = 16 << 20 // of one export
)

// history puts the newest items of a buffer into a record, and says so where older ones are left behind.
func (x *handoffExporter) history(m *protocol.Message, buffer *history.Buffer) {
	items, err := buffer.MakeSequence("", time.Time{}).Between(history.Selector{}, history.Selector{}, 1<<20)
	if err != nil || len(items) == 0 {
		return
	}
	slices.SortStableFunc(items, func(a, b history.Item) int { return a.Message.Time.Compare(b.Message.Time) })
	var lines []string
	size := 0
	for _, item := range slices.Backward(items) {
		line := handoffMarshal(item)
		if size += len(line) + 1; size > handoffHistoryEach || x.remembered+size > handoffHistoryAll {
			m.SetBare(handoffKeyLost + "history")
			break
		}
		lines = append(lines, line)
	}
	x.remembered += size
	if len(lines) > 0 {
		slices.Reverse(lines)
		m.Set(handoffKeyHistory, strings.Join(lines, "\n"))
	}
}

// handoffRemember is the other end of history.
func handoffRemember(m protocol.Message, buffer *history.Buffer) {
	for line := range strings.Lines(m.Get(handoffKeyHistory)) {
		var item history.Item
		if handoffUnmarshal(strings.TrimSuffix(line, "\n"), &item) == nil && oneLine(&item) {
			buffer.Add(item)
		}
	}
}
