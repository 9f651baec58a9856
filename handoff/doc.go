// Package handoff moves users from one ircd to another (or to the restarted same one) while the proxy holds their clients.
package handoff
