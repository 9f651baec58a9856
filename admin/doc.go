// Package admin is what an operator can ask of a running daemon.
//
// Two doors lead in. Server answers JSON over HTTP on a unix socket: pictures of the daemon (status, backends, sessions, moves,
// events) and the commands that change it (drain, hold, release, ...). Who may connect is decided by the socket's mode and
// group; who did is read from the kernel (SO_PEERCRED) and becomes the actor of the audit line. Client is the same API from the
// other end, and all that ferryctl uses. Public is the read-only port: metrics, healthz, readyz and a status page, without
// nicks, addresses or sessions.
//
// The package owns no state of the daemon. What it shows and what it changes goes through the small interfaces of daemon.go,
// which cmd wires; each may be called by many requests at a time. A command answers when its work has begun: a move goes on
// without the request that started it, and is followed by asking for it again (GET /v1/moves/ID?wait=30s&after=REV).
//
// API.md in this directory lists every path with its JSON.
package admin
