package backend

import "net"

// What the replay driver (handoff/replay) and the proxy say to each other, for backends whose ircd cannot give its users away.

// UserRecord is what a session's own stream has told of its user.
type UserRecord struct {
	U        string
	Client   Client
	Nick     string
	User     string // ident as sent in USER
	Realname string
	Modes    string // letters of user modes
	Away     string
	Account  string
	Caps     []string
	Channels []ChannelRecord // in the order in which he came there
	Monitor  []string
	Watch    []string
	Silence  []string
	Accept   []string
	Secrets  []string // what he has logged in with and nobody has kept: PASS, SASL, OPER
	Overflow bool     // something did not fit: it is not complete
}

// ChannelRecord is a membership.
type ChannelRecord struct {
	Name   string
	Status string // mode letters, the highest first
}

// Question is asked on the stream of a frozen session, in the name of its user. The client sees nothing of it.
type Question struct {
	U     string
	Lines string // whole lines, the last of which is PING with Token
	Token string // the PONG with it is the end of the answers
	// Answers are the numerics that answer the lines: these are kept from the client. Everything else that comes meanwhile is the client's.
	Answers map[string]bool
	Last    bool // nothing is read behind the end: the stream is cut there
}

// Answered is what came of a Question.
type Answered struct {
	U     string
	Cause Cause // "": the end was reached
	Lines []string
	Out   uint64 // bytes read from the stream so far
	User  UserRecord
}

// Adopted is a new stream on which the user of a held session has been made again. Whoever gets it owns Conn.
type Adopted struct {
	U    string
	Conn net.Conn
	Rest []byte // was read from it and is the client's
}

// Why a session cannot be made again.
const (
	CauseUntracked Cause = "untracked" // its stream was not listened to from the begin on
	CauseFull      Cause = "full"      // its ircd does not take what is asked there
)
