package protocol

// SourceState is where a transaction is at the source.
//
//	unknown -EXPORT-> frozen -RELEASE-> released
//	                  frozen -RESUME, freeze over, control connection ended-> resumed
//
// An EXPORT that is answered with ERROR leaves unknown. released and resumed are final.
type SourceState string

const (
	SourceUnknown  SourceState = "unknown"
	SourceFrozen   SourceState = "frozen"
	SourceResumed  SourceState = "resumed"
	SourceReleased SourceState = "released"
)

func (s SourceState) String() string { return string(s) }

// DestState is where a transaction is at the destination.
//
//	unknown, aborted -IMPORT-> staging -PREPARE-> prepared -COMMIT-> committed
//	                           staging, prepared -ABORT, lease over-> aborted
//
// A PREPARE or COMMIT that is answered with ERROR changes nothing, but for what HANDOFF.md says of a failed PREPARE. committed is final.
type DestState string

const (
	DestUnknown   DestState = "unknown"
	DestStaging   DestState = "staging"
	DestPrepared  DestState = "prepared"
	DestCommitted DestState = "committed"
	DestAborted   DestState = "aborted"
)

func (s DestState) String() string { return string(s) }

// Status is the answer to STATUS. One process can be source and destination of the same tx.
type Status struct {
	Source SourceState
	Dest   DestState
}
