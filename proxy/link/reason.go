package link

import "errors"

// Refusal is why a connection did not become a link: log field and metric label alike.
type Refusal string

const (
	RefusedAddress Refusal = "address" // allow does not have it
	RefusedTLS     Refusal = "tls"     // no handshake, or a certificate that is none of fingerprints
	RefusedMany    Refusal = "many"    // so many connections of this link are under way already
	RefusedHeld    Refusal = "held"    // a move holds the link, or its backend's
	RefusedTwin    Refusal = "twin"    // it is an ircd that connects, and the link is up with one already
	RefusedBackend Refusal = "backend" // none is ready and up
	RefusedDial    Refusal = "dial"    // nobody answers at the other side
)

// Refusals in the order in which metrics list them.
var Refusals = []Refusal{RefusedAddress, RefusedTLS, RefusedMany, RefusedHeld, RefusedTwin, RefusedBackend, RefusedDial}

// End is why a link is no more: log field and metric label alike.
type End string

const (
	EndPeer     End = "peer"     // the peer has closed, or its connection broke
	EndIrcd     End = "ircd"     // the ircd has
	EndName     End = "name"     // the peer called itself otherwise than links says
	EndLine     End = "line"     // one of the two said a line over maxLine
	EndFence    End = "fence"    // the ircd did not take what was kept
	EndMove     End = "move"     // a move began before its burst was over
	EndShutdown End = "shutdown" // the daemon ends
	EndGivenUp  End = "given_up" // a move could not hold it on; see Cause
)

// Cause is why a link that was held was given up.
type Cause string

const (
	CauseKept   Cause = "kept"   // the peer has said more than hold
	CauseMarker Cause = "marker" // no marker, of EXPORT or of COMMIT
	CauseReplay Cause = "replay" // not replayed when the move went live
	CauseMove   Cause = "move"   // the move says so, or has ended without it
)

// Causes in the order in which metrics list them.
var Causes = []Cause{CauseKept, CauseMarker, CauseReplay, CauseMove}

// errEnded is the answer of a link that is no more.
var errEnded = errors.New("the link has ended")
