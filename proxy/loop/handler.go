package loop

// Handler is whom the loop calls, always on its own goroutine. No method may block.
type Handler interface {
	// Ready is told of descriptor events, and of the Again that the handler asked for.
	Ready(k Key, ev Events)
	// Expired is told that the time of a timer set with After is over. Timers cannot be taken back: the handler compares with what
	// it wants by now.
	Expired(k Key)
	// Panicked is told of a panic under k (0: in posted work). The handler closes what k names; the loop goes on.
	Panicked(k Key, value any, stack []byte)
	// TurnOver is told that all of a turn was handed out: what was only marked as over can be given back now, because no caller is left
	// that could go on with it.
	TurnOver()
}
