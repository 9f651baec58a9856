package link

// State is what a link does with what its ends say. The link's loop moves it (run); kept is what the peer has said and nobody has taken yet.
//
//	linking --ENDBURST of both--> raw --Hold--> holding --marker--> cut --Replay--> replaying --last fence--> swallowing
//	                               ^  <-Resume-----+  <-Resume-------+  <-failed, Unplay---+  <-Unplay------------+
//	                               +-------------- kept is passed -------------- flushing <----- Live, marker ----+
//
// Each leads to down: by the end of either connection where there is nobody to keep the link for, or because it is given up.
type State int

// The states. What is passed in each:
//
//	            peer to ircd                           ircd to peer
//	linking     all                                    all
//	raw         all                                    all but answers to our fences, and markers
//	holding     nothing: kept, PINGs are answered      likewise, and PINGs are answered
//	cut         nothing: kept, PINGs are answered      nothing: not read, since it may have to be passed yet
//	replaying   the replay; the peer's is kept         nothing: dropped, PINGs are answered
//	swallowing  nothing: kept, PINGs are answered      nothing: dropped up to the marker, not read behind it
//	flushing    what was kept, paced                   as when it is held
const (
	Linking State = iota
	Raw
	Holding
	Cut
	Replaying
	Swallowing
	Flushing
	Down
)

var stateNames = [...]string{"linking", "raw", "holding", "cut", "replaying", "swallowing", "flushing", "down"}

func (s State) String() string { return stateNames[s] }

// held reports whether the peer's lines are kept for a move.
func (s State) held() bool { return s >= Holding && s <= Swallowing }
