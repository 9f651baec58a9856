package backend

// Hello is what a native backend said of itself (handoff/protocol/HANDOFF.md, HELLO).
type Hello struct {
	Software, Version, Name, SID, Epoch string
	Users, Unmovable, Channels, Links   int
	Stream, SKey                        string
	Caps, ISupport, Feat                []string
	MaxUsers, MaxLine                   int
}
