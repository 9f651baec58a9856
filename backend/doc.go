// Package backend holds the ircds behind the proxy: pools, health, the choice of one for a client, and what has to be said to
// an ircd so that it knows who the client is.
//
// A Set holds the pools of one configuration and lives as long as the daemon; Apply swaps a new configuration in. Health
// checks run in goroutines of the Set. Everything that the event loops ask (Choose, Open) takes one short mutex or none
// and never blocks.
package backend
