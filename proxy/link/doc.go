// Package link holds the connections of linked servers and services: peer <-> ircferry <-> ircd. As long as nothing happens it passes what either side says; when a
// move changes the ircd, the peer is held and hears nothing of it (HANDOFF/1, section 14).
//
// # Who owns what
//
// Each link has a loop of its own (link.run), the only one that touches it; whoever wants something of it asks by do, and the loop never
// blocks. Its connections are streams: two goroutines each, over net.Conn and crypto/tls. Links are few, and not the hot path that the
// clients' event loops are for; the stream is small enough to be put on a leg of those loops later.
//
// A Set has the listeners and all links; a door is a listening socket, and a port what the configuration says of a link. Each connection that comes in has a
// goroutine (port.serve) that checks who it is, dials the other side, and then is the link's loop.
//
// # What is promised
//
//   - What is passed is passed unchanged and in order, in whole lines, but for the last half line of an end.
//   - Passwords and lines are in no log and no error.
//   - Who does not read makes the other side wait: at most maxWaiting bytes lie here.
//
// A link ends with the daemon: it cannot be handed to another process yet. Peers see a split then, and come back.
package link
