package protocol

import "time"

// Direction is which way a message goes at a Server.
type Direction int

const (
	Received Direction = iota // from the coordinator, before it is looked at
	Sending                   // to the coordinator
)

func (d Direction) String() string {
	if d == Received {
		return "received"
	}
	return "sending"
}

// Action is what happens to a message that Intercept saw. The zero value lets it pass.
type Action struct {
	Delay time.Duration // first of all; cut short when the Server closes
	Drop  bool          // not carried out, or not sent
	Close bool          // the connection ends instead
}

// Intercept sees each message of control, and the first line and its answer on streams, and may change it in place: for tests that
// break a protocol step on purpose. Sums and counts are reckoned before it sees a record that is sent and after the bytes of one that is
// received, so a change of a record is damage, and a change of END is a lie. It may be called from several goroutines.
type Intercept func(Direction, *Message) Action
