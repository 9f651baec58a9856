package ircd

import (
	"log/slog"
	"time"
)

// Config is what a Server is built from. The zero value of each field is useful: see the comments.
type Config struct {
	Name    string // server name; "": "irc.example"
	Network string // "": "ExampleNet"
	SID     string // first part of user ids, three characters; "": "001"
	Version string // as told by 002, 004 and VERSION; "": "ircferry-demo-1"
	MOTD    []string

	Listen []Listener // client ports

	Oper Oper
	Bans []Ban // host bans, checked at registration and by whoever takes users over

	Limits Limits
	Flood  Flood

	// SocketBuffer fixes the kernel's send and receive buffer of client connections, in bytes. 0: the kernel's choice.
	SocketBuffer int

	// Log gets one line for each unusual event. nil: nothing is logged. No chat text is ever logged.
	Log *slog.Logger
}

// Listener is one client port.
type Listener struct {
	Address string // host:port; port 0 is allowed, Addr tells which it became
	ProxyV1 bool   // connections begin with a PROXY v1 header that tells the client's address
}

// Oper is the one operator account. An empty Name: there is none.
type Oper struct {
	Name, Password string
}

// Ban keeps users out whose nick!ident@host, with the real host or the address, matches Mask.
type Ban struct {
	Mask, Reason string
}

// Limits bound what a client may cost.
type Limits struct {
	SendQ        int           // bytes that a client may leave unread before it is closed; 0: 1 MiB
	RecvQ        int           // bytes that may wait to be run (only with Flood); 0: 64 KiB
	PingTimeout  time.Duration // silence after which a PING is sent, and again after which the client is closed; 0: 120 s
	Registration time.Duration // time to register in; 0: 60 s
	Clients      int           // registered or not; 0: no limit
	Channels     int           // channels a client may be in; 0: 100
	ListEntries  int           // entries of one channel list; 0: 500
	Monitor      int           // entries of a MONITOR list; 0: 100
}

// Flood slows a client down that sends more than Lines in Per, after a burst of Burst lines: what is over stays in the receive
// queue and runs later. Lines 0: no limit.
type Flood struct {
	Lines int
	Per   time.Duration
	Burst int
}

func (c Config) withDefaults() Config {
	setDefault(&c.Name, "irc.example")
	setDefault(&c.Network, "ExampleNet")
	setDefault(&c.SID, "001")
	setDefault(&c.Version, "ircferry-demo-1")
	if c.MOTD == nil {
		c.MOTD = []string{"Welcome aboard."}
	}
	setDefault(&c.Limits.SendQ, 1<<20)
	setDefault(&c.Limits.RecvQ, 64<<10)
	setDefault(&c.Limits.PingTimeout, 120*time.Second)
	setDefault(&c.Limits.Registration, 60*time.Second)
	setDefault(&c.Limits.Channels, 100)
	setDefault(&c.Limits.ListEntries, 500)
	setDefault(&c.Limits.Monitor, 100)
	setDefault(&c.Flood.Per, time.Second)
	setDefault(&c.Flood.Burst, 10)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// setDefault replaces a zero value.
func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
