// Package wire holds the wire state of connections: everything that is needed to carry a connection on, and nothing else, in
// one shared-memory file that outlives the process which uses it.
//
// An Arena is a sealed memfd, mapped once at its full size and populated by fallocate, so that a machine without memory is
// ErrFull and never a SIGBUS. From front to back the file has
//
//	header     magic, layout version and hash, sizes, one Staged record per shard
//	areas      per shard: redo records and a journal, and three staging buffers (read, opened, sealed) for what is between a read and a write
//	notes      what is about no session alone, in two editions
//	slots      one Slot of 192 bytes per session
//	annexes    one TLS of 384 bytes per connection over TLS
//	chunks     2 KiB pieces of queues, in blocks of 32
//
// There are no pointers in it: slots and chunks are named by index, so that a new process that gets the descriptor can go on,
// wherever it maps the file.
//
// Each event loop has one Shard and only its goroutine calls it. A shard takes slots and chunk blocks from the arena in batches,
// under the arena's mutex; in between nothing locks. A session's slot and its chunks belong to one shard from NewSlot to
// FreeSlot. The race detector does not see mapped memory, so CheckOwner makes every call of a shard check its goroutine; the
// tests of proxy switch it on.
//
// A connection over TLS has an annex, from NewTLS at the end of its handshake on: keys, sequence numbers and what is left in the
// middle of a record. Bytes are read into ReadRoom, Open makes plaintext of them, Seal makes records; each goes from one staging
// buffer into another and ends in one commit (redo.go), so that a process that comes after a SIGKILL neither loses a record nor
// seals two under one nonce. Only the AEAD suites of TLS 1.2 and 1.3 are known. The keys are chosen elsewhere and the nonces here:
// the standard library does not allow that with GODEBUG=fips140=only, and NewTLS refuses. Keys are zeroed in the file when they
// are replaced or their connection ends; the cipher objects made of them are left to the garbage collector, because nobody can zero
// those.
//
// A connection over TLS, or a whole slot, can also leave the file as bytes and go on in another one, in another process or on another host:
// ExportTLS, ExportSlot and their Imports (state.go). The bytes are the connection: where they were exported it has ended, and
// importing wipes them.
//
// Where somebody keeps the file and the descriptors, a journal makes every session whole again behind a SIGKILL (journal.go, recover.go). A file of the
// layout before this one is read too (before.go).
//
// A Queue takes chunks only while bytes are in it: an idle session costs its slot. A free chunk holds zeros only. Blocks of which all
// chunks are free go back to the kernel (hole punching), a few per shard excepted.
package wire
