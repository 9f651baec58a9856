// Package admit lets clients in: it binds and accepts, applies the limits of a listener and reads PROXY headers. It hands over an accepted
// client with its facts, or with the reason why it is refused, and knows nothing of sessions, backends and IRC.
//
// The way of a client, and of the reading: Set.Apply plans and binds the listeners (set.go, plan.go, bind.go), one socket for each event
// loop. Sockets accepts on one loop (sockets.go), asks the limits of the listener (limiter.go), and hands the Client over (client.go). Where a
// load balancer is to tell who the client is, the owner of the connection gives its first bytes to a HeaderReader (header.go), and then
// asks Token.Admit, unless it is about no client. A header from somebody who must not send one is found by a Spotter (spotter.go).
//
// # Who owns what
//
// The descriptor of a Client belongs to whom it was handed to. What the client takes of the listener's limits is in its Token
// (token.go): it is given back exactly once, by Token.Release, also by who was refused.
//
// Sockets is for the goroutine of its loop. A Set and the limits may be used by any goroutine: a Set posts to the loops what is theirs. No
// call here blocks, but those of a Set.
package admit
