// Package link holds the connections of linked servers and services: peer <-> ircferry <-> ircd. As long as nothing happens it passes what either side says; when a
// move changes the ircd, the peer is held and hears nothing of it (HANDOFF/1, section 14). What is known of the server protocol is in dialect.go, and nowhere else.
//
// # Who owns what
//
// Each link has a loop of its own (link.run), the only one that touches it; whoever wants something of it asks by do, and the loop never
// blocks. Its connections are streams: two goroutines each, over a net.Conn. Links are few, and not the hot path that the clients' event loops are for.
// TLS is crypto/tls's up to the end of the handshake, and package wire's record layer behind it (records.go, secured.go), because what crypto/tls
// holds can leave no process.
//
// A Set has the listeners and all links; a door is a listening socket, and a port what the configuration says of a link. Each connection that comes in has a
// goroutine (port.serve) that checks who it is, dials the other side, and then is the link's loop. Held are the links of one move; state.go has the
// states with their diagram.
//
// # A move, step by step
//
//	Hold     the peer's lines are kept from a line's end on; a fence says that the ircd has read all before
//	Cut      what the ircd says up to its marker is passed; what is behind it is not read: it may have to be passed yet
//	Replay   the peer is introduced to the new process, with what is remembered of it (memory.go) behind the servers of the burst, in pieces that are
//	         answered (pace.go); what the process says is dropped
//	Live     behind the marker: the peer is told of splits, quits and another version, then what the process says; it is given what was kept
//
// # What is promised
//
//   - What is passed is passed unchanged and in order, in whole lines, but for the last half line of an end.
//   - From the marker of the export to that of the commit the peer gets answers to its PINGs, and no other byte. No marker, no byte.
//   - A peer is read all the time, up to its bound. While nobody holds it, who does not read makes the other side wait: about maxWaiting bytes lie here.
//   - Passwords and lines are in no log and no error.
//
// # What happens when something fails
//
//	what                                        outcome
//	no fence, no marker of the export           an error; Resume goes on with the process of before, and nothing is lost
//	the old process ends before its marker      an ordinary split of that link, and the error of Cut
//	a replay fails: no answer, closed, another  an error; the peer is held on, and the replay may be made again
//	name or id
//	no marker of the commit                     given up
//	the peer says more than hold                given up
//	the peer leaves                             held on; its FIN is passed when the link is live: a split that users see as one
//	the peer connects anew                      the same; the new connection is refused, and may come again when the move is over
//	another connection comes                    waits for the end of the move, a minute at most
//	the ircd does not take what was kept        closed on both sides
//
// Given up is a FIN on both sides: services that get an ERROR end themselves. The peers of other links are told that this server has split, when
// they are live: else they would take its next link for a second one.
//
// # Another process
//
// At an upgrade of the daemon links go on in the new process, in the states linking, raw and flushing; what a move holds stays with the move. Between two turns
// of a link's loop, with both streams standing between two bytes, all of it is a state of plain values and two sockets (carry.go, stand.go):
//
//	Quiesce      new connections wait in the listeners' queues; those under way, and links that are fed, have 3 s to end
//	Stop         all links stand
//	State        what the successor must know, with the descriptors of listeners and connections; TLS is in it, and nowhere else
//	    Resume   there: links that stand
//	Leave        here: the sockets are closed without a word
//	    Start    there: they go on
//	GoOn         instead of Leave, whatever became of the successor: TLS comes back, and all goes on here
//
// Links are no sessions on the legs of an event loop, in the proxy's arena, although these have all that: a link keeps megabytes where a session has
// kilobytes, it has lines that it remembers for as long as it lives, and waits for answers in the middle of a line's work. What stands still in one place need not be in
// one block of memory to be carried.
//
// # A crash
//
// With a keeper (Options.Keeper) links in the states linking and raw outlive a process that is killed. The loop of a link is a function of what both sides say: so
// what they say is written down before anything is made of it, in memory without a name that the keeper holds beside both sockets (journal.go), behind
// a picture of the link as it was when the log was empty. Recover hears all of it again, TLS included, and so has every byte that was to be sent; how many of these
// have been, and what was read and not yet written down, the kernel's counters say. Reads go into the journal's staging, so that these bytes are there.
//
//	Keep     both sockets and the journal, before the first byte is read
//	note     in a turn, before anything else
//	draw     a new picture when the log is full
//	Drop     before a move says its first word: what a move holds is lost with the process, and its peer sees a split
//
// A link whose bytes have made two processes crash is given up. Listeners are not kept: who connects meanwhile is refused, and comes again.
package link
