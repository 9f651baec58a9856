// Package handshake makes TLS handshakes with crypto/tls, unmodified and by its public API, and takes the connection over
// at their end: what comes out is the few hundred bytes that package wire carries a TLS connection on with.
//
// An event loop owns the descriptor all the time. It feeds what it has read:
//
//	Server(cfg, o) -> Feed, Feed, ... -> o.Write(alerts and flights) ... -> o.Done(Result) -> Rest
//
// crypto/tls reads from a net.Conn of this package, the gate. The gate gives at most the rest of one record, so crypto/tls never has read
// past the peer's Finished, and nothing has to be got out of it again. The gate also keeps what crypto/tls wrote.
//
// The goroutine of a handshake begins when the first record is there whole, and sleeps when the next one is not: a peer that
// trickles costs its buffer. Of those awake at most so many compute at a time as Slots has; one that waits for its peer
// holds no slot. The goroutine always ends: by the end of the handshake or by End. No deadline is kept here, that is the loop's.
//
// The take-over (facts and traps as tried with OpenSSL, GnuTLS and Go):
//
//   - TLS 1.3: the secrets come as lines of the key log, into memory of this handshake alone. How many of our records were sealed with the application
//     keys (session tickets) is found by opening what we wrote: first with the handshake keys until one does not open, the rest with
//     the application keys. RFC 8446 sections 4.4 and 7.
//   - TLS 1.2: the master secret comes from the key log, or, when a session was resumed, from the ticket (crypto/tls logs nothing then);
//     the randoms come from the hellos that went through the gate. RFC 5246 section 6.3. What both sides wrote behind their ChangeCipherSpec
//     must open and must be a Finished message and nothing else.
//
// A record that does not open, or is not what it has to be, ends the connection with the reason "takeover": a connection of which we are not sure is
// never carried on.
//
// Secrets are zeroed when the goroutine ends, but for those in Result.Params, which are its receiver's. What crypto/tls itself
// keeps of them is garbage then; it cannot be zeroed from outside.
package handshake
