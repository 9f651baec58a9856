// Package handoff moves users from one ircd to another, or to the restarted same one, while the proxy holds their clients.
//
// The operator's command arrives at the Coordinator, whose guards refuse what cannot be or would be seen. What they let pass
// becomes a Move: one goroutine that goes through the steps of Step in order. It asks the proxy through Sessions, the ircds
// through a Driver (native: HANDOFF/1), and writes what it knows to a Journal before anybody else could lose it.
//
// # Who owns the users
//
// Always exactly one: the old ircd until it has let them go, then the journal until COMMITTED, then the new ircd. Who that is, and what has
// become of each session, is data: machine, which one place changes, by events; owner shows the ways. In between are two states in
// which nobody knows, because a question may have left and its answer has not come: RELEASE at the old ircd, COMMIT at a new one. They begin one line
// before the question can leave and end with the ircd's word or with evidence. Cancel, guards and reports ask for the owner, never for a
// step's name.
//
// RELEASE is the point of no return. Before it every failure ends in a thaw on the old backend; after it the users are placed wherever
// an ircd takes them, and only the park time ends that.
//
// # One user's trouble is his alone
//
// Behind the point of no return a try can only shrink: whose session has ended, whose stream the ircd refuses, who is in conflict there
// is taken out, named with the cause and counted, and never fails another try. An ircd with feat "missing" gets his record all the same and shows him
// quit; for others the record is left out. A destination that takes most of the streams not, does not answer STATUS or has forgotten the
// transaction blames nobody: that try has failed, and is made again. Before the point of no return the move is undone and begun anew without one
// session that cannot move, if nobody who moves shares a channel with it (it stays where it is; the source, feat "remain", says so once more when
// its world has stopped) and the operator has not said --strict; else it reverts and names it.
//
// # What is evidence
//
// That an ircd's process has ended is known if the kernel says so of the process at the other end of its unix socket, or if it has closed all streams
// of the move's users: then nobody of them is live there, whatever else it does. A refused connect, a missing socket or another process at
// the address is none: the question is asked on. What a peer names (u=) is looked up in the move before anything is done to it.
//
// # Server links
//
// The links of a server are held as its clients are, in the proxy's care (Links): all that it has, or none, since what one peer would not know of another
// breaks their network. Up to the point of no return, trouble with one undoes the move and names it; if the operator allows that others see the
// move, it is begun anew with all links left alone. Behind it a link that cannot come into the ircd is given up, both its connections closed: an
// ordinary split, named with its cause, which the other peers are told when they are live; no user waits for it, and the ircd shows those who come back the quits of who
// was behind it. A peer never gets a byte that is
// not behind the marker of the process that has committed the users: no marker, no byte. Each link of a move ends in one of three ways: live, resumed with the process of before, or
// given up.
//
// # What waits for whom
//
// Each question to an ircd, to the disk and to the proxy has a time of its own, and ends with the move's context: max_pause and the deadline
// before the point of no return, the park time and the operator's cancel after it. One that hangs is left alone, and what it does late is
// undone.
//
// # What goes on in another process
//
// An upgrade gives the proxy's sessions to another process, and their moves with them. A move is given while it rests: nothing is asked of an ircd or of the
// proxy, and nobody else could answer later. Where it does not, the upgrade waits for its end or its next rest, or is refused (StandStill). The
// journal has the users; what else the new process needs is Underway.
//
// A daemon that was killed leaves its journals, and, if somebody has held them for it, its sessions. The next one takes each journal whose sessions are
// there and finds out who has the users, as after an answer that was lost and by the same evidence; then the move goes back, or on, and is told as one. Marks
// that were not written are asked for. Journals without sessions are put aside and reported: their clients are gone.
//
//	where the move is                    in an upgrade                             after a crash
//	check to prepare                     waited for                                nobody is held: reported as interrupted; imports are aborted
//	freeze to push, RELEASE not sent     waited for: it ends, reverts or rests     the source has resumed with the end of the conversation, and
//	                                     in the time of its own limits             is asked to; thaw, ABORT at the destination: reverted
//	RELEASE in doubt                     waited for: the answer, or the evidence,  STATUS is asked until it is known, or there is evidence that
//	                                     is this process's to find                 the source has ended: on, or reverted. Who is parked is evidence
//	                                                                               that it was known
//	park: a hold or restart waits for    rests: its sessions go along parked,      parked on, to the end of the park time by the clock; the
//	the operator                         the new process waits for the wish        new process waits for the wish
//	park: between two tries              rests: where the users go, and what       the next try, into the ircd that was meant last
//	                                     others have refused, go along
//	a try (import to commit)             waited for: it ends the move, or fails    the last import that is not said to have failed is asked for:
//	                                     and rests                                 committed: on with the splices. prepared: COMMIT. Else ABORT, and
//	                                                                               the next try
//	splice, thaw                         waited for: it ends                       who is spliced is counted, the others are spliced
//	a pause, when all are held           rests: sessions go along frozen, on       thaw: the pause is over
//	                                     the streams that they have
//	any of these with held server links  refused, and named                        links have ended, their records are left out
//	ABORTs owed behind the end           go along, and are asked on                lost: the end of the lease does it
//
// # What happens when a step fails
//
//	step     what fails                                      outcome
//	check    a guard, an ircd not reachable, descriptors     refused, nothing was touched
//	prepare  IMPORT refused, no stream can be attached       reverted; nobody was frozen
//	prepare  one session's stream is refused                 begun anew without it, or reverted naming it: see above
//	freeze   a loop does not answer in time                  reverted: thaw on the old backend
//	pull     source stalls, lies about counts or sum,        reverted: RESUME (or the end of the control connection, or of the
//	         freeze time over, disk full or hanging          freeze time, which are the same), thaw on the old backend
//	pull     source dies before END                          reverted as far as there is something to go back to: its streams
//	                                                         end, so its sessions end as with any ircd that dies
//	pull     source dies after END                           go on: the records are complete and nobody else has the users
//	push     destination dies, stalls, warns under           reverted: RESUME and ABORT (one that does not answer is asked until it
//	         --strict, conflict of a channel, lease over     does or its lease is over), thaw on the old backend
//	push     conflict of one user                            begun anew without him, or reverted naming him: see above
//	release  answer lost                                     STATUS is asked until it is known: released, or evidence of its end: go on;
//	                                                         resumed: reverted; frozen: RELEASE again
//	release  the source says that the freeze was over        reverted
//	commit   answer lost                                     STATUS is asked until it is known: committed: go on; prepared:
//	                                                         COMMIT again; anything else, or evidence: import again from the journal
//	commit   destination dies                                import again from the journal: into it when it is back with a
//	                                                         new epoch, back into the source, or into another backend
//	commit   a stream is missing                             attached once more; then its user is taken out
//	push     after RELEASED: conversation lost, stall        ABORT until it is answered, then import again
//	push     after RELEASED: one user's conflict, stream     he is taken out; the others go on, or again without him
//	push     after RELEASED: somebody has made a channel     where the users came from or were meant to go, its members are kicked at
//	         of an exported name since                       COMMIT; elsewhere, or if it is older, tried again until it is gone
//	                                                         or the park time is over: see park
//	commit   no answer up to the end of the park time        its streams are closed, so that whatever it did ends there, it is
//	                                                         asked to abort, and the users are lost or go back as in park
//	park     nobody takes the users within the park time     the process of before is asked once more: reverted; if it is gone, the
//	                                                         backend that was meant; both without who is on a channel in conflict,
//	                                                         whose sessions are closed. Else failed: ERROR to the clients, the
//	                                                         journal is kept
//	splice   the destination dies behind COMMITTED           its users end as with any ircd that dies; links whose marker has not come are given up
//	splice   one stream gives no LIVE, or was lost           that session is closed with an ERROR line and named; the others go on
//	prepare  the fence does not come on a link, a peer has   reverted, naming it: the links are raw again, and what its peer said goes in; with
//	         just gone                                       --allow-visible begun anew, all links left alone, as in the next three
//	pull     a link is not up in the source, or one that is  reverted likewise
//	         not held is; EXPORT's marker does not come
//	push     before RELEASE: GREET refuses a link, a fence   reverted likewise: what was played is closed, and links of the source go on
//	         is not answered, PREPARE misses it
//	push     before RELEASE: a user's id is taken            as any conflict of one user
//	push     after RELEASED: GREET refuses a link, a fence   that link is given up, the others go on in the same try; if the process does not
//	         is not answered                                 answer STATUS the try has failed, not the link
//	push     after RELEASED: PREPARE misses a link           it is given up, and the try made again at once without it
//	push     after RELEASED: another server has linked       all are given up: its users could not be made known to the peers
//	         itself to the process
//	push     after RELEASED: the process has another name,   they are held until it has committed the users, and then given up: as long as it has
//	         sid or linkcaps, cannot hold links, or is       not, the next try may be elsewhere
//	         linked to others
//	commit   COMMIT's marker does not come on a link         that link is given up; its users are live all the same
//	commit   an exported user was taken out, or stays in     the peers are told that he quits, behind the marker
//	         an old process that is not the new one
//	any      a peer says more than its bound, or ends        that link is given up then and there, or at the latest when the others are live
//	any      the ircd does not come back, the park time is   the links end as the users do: with whom takes these, or given up
//	         over
//	any      the links' keeper hangs                         it is left alone: before RELEASE reverted, after it given up, for what it does not say
//	any      the daemon ends                                 links end with it, and with them what was kept; the next start names them
//	any      cancel before RELEASE has left                  reverted
//	any      cancel while the journal has the users          they are pushed back into the old backend; a try that is under way ends
//	any      cancel while nobody knows, or behind COMMITTED  refused, and says which
//	any      the daemon ends in order                        before RELEASED the source goes on by itself, after it the journal is
//	                                                         found at the next start, reported and kept, and the destination
//	                                                         aborts; clients are gone with the daemon, so nobody is live twice
//	any      the daemon is killed                            see above
//
// Why the alternatives were refused: closing the sessions of a failed move would be worse than never to have moved; going on with a
// source that may have resumed would make users live twice; and guessing after a lost answer would do one or the other.
package handoff
