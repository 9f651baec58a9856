// Package loop is an event loop for non-blocking descriptors: readiness, timers and posted work on one goroutine. It knows
// nothing of IRC.
//
// A Loop is run by one goroutine for its whole life, and everything that it calls (the Handler, posted functions) runs there, so
// what belongs to a loop needs no lock. From other goroutines only Post, Stop, Done and the counters may be called.
//
// A turn is: wait; hand out descriptor events; continue what asked for another go (Again); hand out expired timers; run posted
// work; tell the handler that the turn is over. Descriptors are watched edge-triggered: who stops reading must remember that there is something to read and try again
// later. Writable is asked for only after a write fell short, which spares new descriptors a wake-up each.
//
// Nothing in a handler may block. A panic in a handler or in posted work is caught, told to the handler with the key that it
// happened under, and the turn goes on with the next item.
//
// All system calls on descriptors go through the functions of this package (sys.go): they are made without telling the Go
// scheduler, which is right for calls that cannot block and for no others. It also leaves room for an io_uring loop behind the same
// calls.
package loop
