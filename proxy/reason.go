package proxy

import "github.com/ircferry/ircferry/backend"

// CloseReason is why a session ended, or was never taken: log field and metric label alike.
type CloseReason uint8

const (
	reasonNone             CloseReason = iota
	ReasonClientClosed                 // the client ended its direction first (FIN)
	ReasonNull                         // ... or was reset, and it had not said a byte: a check, a port scan
	ReasonClientReset                  // RST from the client, or a write to it failed
	ReasonClientTimeout                // the client's host does not answer, or takes no bytes for 5 min
	ReasonBackendClosed                // the ircd closed after an ERROR line of its own
	ReasonBackendLost                  // the stream ended without an ERROR line: the ircd died or was cut off
	ReasonBackendRefused               // the ircd answered OPEN with ERROR
	ReasonNoBackend                    // no backend could be reached within 15 s
	ReasonHalfClosed                   // 30 s after one side had ended, the other had not
	ReasonLineTooLong                  // a client line over 16 KiB
	ReasonRegistration                 // no 001 within the listener's registration time
	ReasonHeaderTimeout                // no complete PROXY header within 5 s
	ReasonHeaderRefused                // a PROXY header from an address, or on a listener, that must not send one
	ReasonHeaderBad                    // not a PROXY header where one is required
	ReasonHandshakeTimeout             // the TLS handshake was not over in 15 s
	ReasonHandshakeFailed              // it failed; ircferry_tls_handshakes_total says why
	ReasonTLS                          // a TLS record that is not good, or an alert of the client
	ReasonPlaintextOnTLS               // a client without TLS on a TLS listener
	ReasonTLSOnPlaintext               // a TLS client on a listener without TLS
	ReasonLimitConnections             // limits.connections of the listener
	ReasonLimitPerIP                   // limits.per_ip
	ReasonLimitRate                    // limits.per_ip_rate
	ReasonMemory                       // the wire arena is full
	ReasonShutdown                     // the daemon ends
	ReasonInternal                     // a panic in this session's handling
	// The rest are a move's causes; see backend.Cause.
	ReasonMoveSendQ
	ReasonMoveNoLive
	ReasonMoveDetached
	ReasonMoveRegistration
	ReasonMoveBackendGone
	ReasonMoveNotExported
	ReasonMoveAttach
	ReasonMoveConflict
	ReasonMoveBehind
	ReasonMoveOther
	ReasonOperator // no move: closed by drain --close-after, or a restart of an ircd without the driver
	// From here on as they came: the values are in slots, and so part of the arena's layout.
	ReasonCrash       // a crash of the proxy, of which it could not be told what it had read or said
	ReasonQuarantined // its bytes have ended the proxy twice
	reasonCount
)

var reasonNames = [reasonCount]string{"none", "client_closed", "null_connection", "client_reset", "client_timeout", "backend_closed", "backend_lost",
	"backend_refused", "no_backend", "half_closed", "line_too_long", "registration_timeout", "header_timeout", "header_refused",
	"header_bad", "tls_handshake_timeout", "tls_handshake_failed", "tls_record", "plaintext_on_tls", "tls_on_plaintext", "limit_connections", "limit_per_ip", "limit_rate", "memory", "shutdown", "internal",
	"move_sendq", "move_no_live", "move_detached", "move_registration", "move_backend_gone", "move_not_exported", "move_attach", "move_conflict",
	"move_behind", "move_other", "closed_by_operator", "proxy_crash", "quarantined"}

func (r CloseReason) String() string { return reasonNames[r] }

// reasonOf is the close reason of a session that a move ends.
func reasonOf(c backend.Cause) CloseReason {
	switch c {
	case backend.CauseOperator:
		return ReasonOperator
	case backend.CauseOverflow:
		return ReasonMoveSendQ
	case backend.CauseNoLive:
		return ReasonMoveNoLive
	case backend.CauseDetached:
		return ReasonMoveDetached
	case backend.CauseRegistration:
		return ReasonMoveRegistration
	case backend.CauseBackendGone:
		return ReasonMoveBackendGone
	case backend.CauseNotExported:
		return ReasonMoveNotExported
	case backend.CauseAttach:
		return ReasonMoveAttach
	case backend.CauseConflict:
		return ReasonMoveConflict
	case backend.CauseBehind, backend.CauseCount:
		return ReasonMoveBehind
	}
	return ReasonMoveOther
}
