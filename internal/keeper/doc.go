// Package keeper is the tiny process that holds duplicates of a daemon's descriptors and of its memory, so that a daemon that is killed, or restarted,
// finds its connections again, and the client by which a daemon speaks to it.
//
// # What is held
//
// A descriptor has a Tag that the daemon chooses and the keeper does not understand; memory has a name. The keeper reads from no descriptor, maps no memory,
// writes nothing to disk and has no configuration. What it allocates grows with the number of descriptors and with nothing else.
//
// # Who may write
//
// One daemon at a time: the one that has claimed. A claim is granted when nobody has one, when the connection of who had it has ended (what that had sent is
// taken first), or for a ticket that who has it has drawn for its successor. Whoever had it before is fenced: what it says is not
// taken. A ticket's owner that ends leaves the claim to be had again, so that a daemon whose successor has failed goes on. Peers of another user than
// the keeper's or root are refused.
//
// # What is promised
//
//   - When Client.Keep returns nil, the descriptor outlives the daemon: it is in the socket's queue or in the keeper, and a claim reads the queue first.
//   - The order of one client's Keep and Drop is kept. Neither waits.
//   - A descriptor that the keeper could not take (EMFILE, no room) is told to the daemon by its tag (Options.Lost), never lost in silence.
//   - When no daemon has served for the grace time, everything is closed: nobody's connection hangs longer than that. A daemon that claims and ends before
//     it serves does not begin it anew.
//   - A keeper that is stopped or killed takes nothing from a daemon that lives, which hears of it (Client.Done).
//
// # On the wire
//
// SOCK_SEQPACKET, one message a packet, little endian: verb (1 byte), three zero bytes, a number that the answer repeats (4), then what the verb has. Keep, Drop
// and memory have no answer unless they are refused. Bodies only ever grow at their end, and who reads one passes over what it does not know; an unknown
// verb is answered as such. So either end may be of another version; version is raised only if an end of before could not be served any more.
package keeper
