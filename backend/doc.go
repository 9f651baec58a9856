// Package backend holds the ircds behind the proxy: pools, health, the choice of one for a client, and what has to be said to
// an ircd so that it knows who the client is.
//
// A Set holds the pools of one configuration and lives as long as the daemon; Apply builds a new configuration and swaps it in,
// or changes nothing. The way of a client: an event loop asks the pool to Choose, the backend how to Open a stream, dials, and
// reports DialOK, DialFailed or OpenRefused, and by SessionDelta who has a stream where (report.go). The way of a check: one goroutine for each
// backend (check.go) connects, asks, and notes what it found (health.go); for a native backend it keeps the control connection
// open, so that the end of the process is seen at once. A move asks for Candidates, sets admin states and the serving backend,
// and hears of new processes by Subscribe or Hello.
//
// # Who may do what
//
// All methods may be called from any goroutine. What event loops call (Choose, Open, WebIRC, SessionDelta, the three reports) takes
// short locks and never waits for a disk, a network or a log: events, logging and the file of what is remembered are the work
// of one goroutine of the Set. SetAdmin, SetServing, Apply and Close may write to disk or wait for checks.
//
// Locks are taken in the order Set, Pool, Backend, and the queues of events and memory after all of them.
//
// # Several proxies
//
// What an operator makes of a backend at one proxy of a cluster (SetAdmin, SetServing) is an act with a number, which the proxies tell each other (Acts,
// Merge). Where two disagree, no clocks are compared. Of which backend serves the ircds are asked first, when somebody was away: users must meet, so
// one that has some is not left for one that has none (serves.go). Then the newer act holds, by its number, one more than the highest that its proxy had heard of; acts of the same
// number were given in ignorance of each other, and the more careful state holds (acts.go). An election is nobody's act and stays with its proxy.
//
// # What is promised
//
//   - A standalone pool has one serving backend, remembered over restarts. It changes by SetServing, or when a client asks while the
//     serving one is down or not wanted, or by an act of another proxy; never because another one came back. While the users of a native backend that is being
//     drained are still there nobody is sent elsewhere.
//   - What is wrong on our own machine (no descriptors, no ports, no memory) is counted as reason local and never makes a backend down.
//   - A backend keeps sessions, health and admin state over a reload. One that was removed is known until its last session ends.
//   - A host name is looked up by the check, never by Open.
//   - An ircd without the driver is never shown a certificate of ours, which it would take for the client's.
//   - Passwords and stream secrets are in Opening.Preface, AttachTo and Hello, and in no log, error, event or metric.
package backend
