// Package handoff moves users from one ircd to another, or to the restarted same one, while the proxy holds their clients.
//
// The operator's command arrives at the Coordinator, whose guards refuse what cannot be or would be seen. What they let pass
// becomes a Move: one goroutine that goes through the steps of Step in order. It asks the proxy through Sessions, the ircds
// through a Driver (native: HANDOFF/1), and writes what it knows to a Journal before anybody else could lose it.
//
// # Who owns the users
//
// Always exactly one: the old ircd until it has answered RELEASED, then the journal until COMMITTED, then the new ircd. RELEASED is
// the point of no return. Before it every failure ends in a thaw on the old backend; after it the users are placed wherever
// an ircd takes them, and only the park time ends that.
//
// # What happens when a step fails
//
//	step     what fails                                      outcome
//	check    a guard, an ircd not reachable, descriptors     refused, nothing was touched
//	prepare  IMPORT refused, a stream cannot be attached     reverted; nobody was frozen
//	freeze   a loop does not answer in time                  reverted: thaw on the old backend
//	pull     source stalls, lies about counts or sum,        reverted: RESUME (or the end of the control connection, or of the
//	         freeze time over, journal not writable          freeze time, which are the same), thaw on the old backend
//	pull     source dies before END                          reverted as far as there is something to go back to: its streams
//	                                                         end, so its sessions end as with any ircd that dies
//	pull     source dies after END                           go on: the records are complete and nobody else has the users
//	push     destination dies, stalls, answers CONFLICT,     reverted: RESUME and ABORT (a dead destination has nothing to
//	         warns under --strict, lease over                abort; one that does not answer is asked until it does or its lease
//	                                                         is over), thaw on the old backend
//	release  answer lost                                     STATUS is asked until it is known: released or dead: go on;
//	                                                         resumed: reverted; frozen: RELEASE again
//	release  the source says that the freeze was over        reverted
//	commit   answer lost                                     STATUS is asked until it is known: committed: go on; prepared:
//	                                                         COMMIT again; anything else: import again from the journal
//	commit   destination dies                                import again from the journal: into it when it is back with a
//	                                                         new epoch, back into the source, or into another backend
//	push     after RELEASED: conversation lost, stall        ABORT until it is answered, then import again
//	push     after RELEASED: a user's CONFLICT               that session is closed and named; import again without it
//	push     after RELEASED: somebody has made a channel     where the users came from or were meant to go, its members are kicked at
//	         of an exported name since                       COMMIT; elsewhere, or if it is older, tried again until it is gone
//	                                                         or the park time is over: see park
//	commit   no answer up to the end of the park time        its streams are closed, so that whatever it did ends there, it is
//	                                                         asked to abort, and the users are lost or go back as in park
//	park     nobody takes the users within the park time     the process of before is asked once more: reverted; if it is gone, the
//	                                                         backend that was meant; both without who is on a channel in conflict,
//	                                                         whose sessions are closed. Else failed: ERROR to the clients, the
//	                                                         journal is kept
//	splice   one stream gives no LIVE, or was lost           that session is closed with an ERROR line and named; the others go on
//	any      cancel before RELEASED                          reverted
//	any      cancel while parked                             the users are pushed back into the old backend
//	any      the daemon ends                                 before RELEASED the source goes on by itself, after it the journal is
//	                                                         found at the next start, reported and kept, and the destination
//	                                                         aborts; clients are gone with the daemon, so nobody is live twice
//
// Why the alternatives were refused: closing the sessions of a failed move would be worse than never to have moved; going on with a
// source that may have resumed would make users live twice; and guessing after a lost answer would do one or the other.
package handoff
