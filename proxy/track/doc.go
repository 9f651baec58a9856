// Package track keeps a record of what a client's own stream tells of its user: who it is, its modes, its channels with its status there, what it has
// asked for. With it a user can be made again on an ircd that cannot give its users away (handoff/replay).
//
// A Record is fed with the bytes of both directions as they pass (FromIRCd, FromClient), in whatever pieces. Nearly all lines are of no interest, and a look
// at the verb, and at the source where that decides, sees it; only a line that changes the record is parsed. What is common to the users of one ircd is in their Network, once:
// its casemapping and modes (005), the channels' names and topics, the capabilities.
//
// # What is kept, and what not
//
// Kept is what cannot be asked for later, or costs a question for each user: nick, ident and realname as sent, capabilities, user modes, away text, account, channels in
// the order of joining with the own status, MONITOR, WATCH, SILENCE and ACCEPT; of a channel its topic. Not kept are channel modes and lists, which one member asks for
// at the fence, and secrets: PASS, AUTHENTICATE, OPER and IDENTIFY are seen and only noted as used.
//
// # Bounds
//
// Each text has a bound, so has each list; a record that has met one says so (Overflow), and is then not complete. Nothing is kept of lines that do not matter.
//
// A Network and its Records are for one goroutine.
package track
