// Package cluster is how several proxies in front of the same ircds know of each other and ask each other.
//
// # Two ways
//
// Gossip (hashicorp/memberlist, whose only door this is) carries who is there: a name, where to ask it, its version, a checksum of its pools. It may be
// late, or wrong for a while, and nothing that must be right rests on it. Everything else goes from one proxy to another by RPC: HTTP/2 over TLS
// with certificates on both sides. Where the gossip says that a proxy is gone and the RPC answers, the RPC is right.
//
// # Who is let in
//
// To the gossip: who has a key of key_file and the label, from a network of allow. To the RPC: who shows a certificate of ca that has the name which
// the gossip knows a member by. So a stranger needs both a key and a certificate, and a member can only be itself. Who is refused is logged and counted
// (Refused), with its reason.
//
// # Names
//
// A proxy is known by its configured name. Its node in the gossip has another one, by chance and new for each start, since a gossip does not
// take a known name from a new address, or with a number that it has seen before. The newest node of a name is the member; the one before it is
// forgotten when it is dead.
//
// # Who was away
//
// The gossip forgets who has been dead for half a minute, and would never look for him again. So everybody whom join names and who is not there is joined anew
// every 15 s, for ever, names being looked up again each time.
//
// # Goroutines
//
// One that joins (Cluster.rejoin), one that lets packets and streams of the gossip in (gate.pump), one that serves the RPC, and what memberlist and
// net/http have of their own. Close ends them all, and waits for ours.
package cluster
