package wire

// Of RFC 8446 section 5 and RFC 5246 section 6.2.
const (
	headerLen    = 5
	maxContent   = 16 << 10         // of a record
	maxCiphers13 = maxContent + 256 // of the protected part of a record
	maxCiphers12 = maxContent + 2048
	version12    = 0x0303 // also in the header of TLS 1.3 records
)

// Content types.
const (
	typeAlert       = 21
	typeHandshake   = 22
	typeApplication = 23
)

// Alerts that we send or look at.
const (
	AlertCloseNotify       = 0
	alertUnexpectedMessage = 10
	alertBadRecordMAC      = 20
	alertRecordOverflow    = 22
	alertHandshakeFailure  = 40
	alertIllegalParameter  = 47
	alertDecodeError       = 50
	alertProtocolVersion   = 70
	alertUserCanceled      = 90
	alertNoRenegotiation   = 100

	levelWarning = 1
	levelFatal   = 2
)

// TLSError says why a connection cannot go on. It holds nothing of what the peer sent but the number of its alert.
type TLSError struct {
	Alert  uint8  // what to send the peer, 0: nothing
	Reason string // one fixed word, fit for a metric label
	Got    uint8  // the alert that the peer sent, for the reason "alert"
}

func (e *TLSError) Error() string { return "TLS: " + e.Reason }

// TLSReasons are all words that TLSError.Reason may have.
var TLSReasons = []string{"bad_record", "oversize", "record_version", "unexpected_message", "interleaved", "flood", "renegotiation", "malformed", "ended",
	"alert", "truncated"}

var (
	errBadRecord     = &TLSError{Alert: alertBadRecordMAC, Reason: "bad_record"}
	errOversize      = &TLSError{Alert: alertRecordOverflow, Reason: "oversize"}
	errVersion       = &TLSError{Alert: alertProtocolVersion, Reason: "record_version"}
	errUnexpected    = &TLSError{Alert: alertUnexpectedMessage, Reason: "unexpected_message"}
	errInterleaved   = &TLSError{Alert: alertUnexpectedMessage, Reason: "interleaved"}
	errFlood         = &TLSError{Alert: alertUnexpectedMessage, Reason: "flood"}
	errRenegotiation = &TLSError{Alert: alertHandshakeFailure, Reason: "renegotiation"}
	errMalformed     = &TLSError{Alert: alertDecodeError, Reason: "malformed"}
	errIllegal       = &TLSError{Alert: alertIllegalParameter, Reason: "malformed"}
	errEnded         = &TLSError{Reason: "ended"} // after another error
)

// ErrTruncated is for a connection whose peer has ended it InRecord. There is no alert for that.
var ErrTruncated = &TLSError{Reason: "truncated"}
