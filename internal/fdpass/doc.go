// Package fdpass carries documents and descriptors between two processes of one user on this machine, over a SOCK_SEQPACKET socket: each message is
// whole, a JSON document with at most 253 descriptors (SCM_MAX_FD). Descriptors come close-on-exec; where the kernel had no room for all of them
// (MSG_CTRUNC) the message is an error, and none is kept.
//
// Who is at the other end is asked of the kernel with each message (SCM_CREDENTIALS): one from another user, or from another process than the one
// that is expected, is an error.
//
// A Conn is for one goroutine at a time. Deadlines hold for both directions.
package fdpass
