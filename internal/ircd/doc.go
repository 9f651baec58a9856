// Package ircd is a small IRC server that lives inside another process: the demo, the tests and the benchmarks put ircferry in
// front of it, and it can give its users away and take others over (HANDOFF/1, see handoff/protocol/HANDOFF.md).
//
// It speaks the core of RFC 1459 and RFC 2812, ISUPPORT, and from IRCv3 capability negotiation 302, multi-prefix, server-time,
// message-tags, echo-message, away-notify, account-tag and MONITOR. Names compare by the rfc1459 case mapping. It is no server
// for a network: it has no server links, no services, no TLS towards clients, and keeps nothing on disk.
//
// # Who runs what
//
// A Server is single-threaded in the way of C ircds, by one mutex, Server.mu: a turn of the event loop (server.go) takes it, reads
// the sockets that have something into the receive queues, runs the lines, and at the end of the turn writes out what was
// queued (Server.settle). The ticker (timer.go) and everybody from outside take the same mutex and end with settle as well. A listener
// that wants PROXY headers has goroutines of its own until a header is read (listen.go), a handoff those of protocol.Server. Nobody waits
// for a client: what a socket does not take stays in its send queue until the loop hears that it can go on, and a client whose
// queue passes the limit is closed. So whoever holds Server.mu has stopped the world, and everything is between two lines:
//
//   - conn.recvq holds what was read and not yet run, conn.sendq what the kernel has not taken; conn.in and conn.out count
//     the bytes read and written. Reading (conn.fill, conn.fillTo), running (Client.run) and writing (conn.flush) are steps of
//     their own, so a holder of the mutex can read without running and write without anybody else making output.
//   - A Client is plain data. One that is built by hand is dormant until insertClient puts it into the maps; insertChannel and
//     joinQuietly do the same for channels and members. None of them says a word to anybody, nor do removeClient and
//     partQuietly.
//
// Several servers may live in one process; there are no globals, and nothing is changed for the process as a whole.
package ircd
