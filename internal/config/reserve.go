package config

// ReservedDescriptors is how many of limit clients never get: the admin socket, the HTTP port, checks, control connections of moves and journals
// must work when all others are used up, because that is when an operator needs them.
func ReservedDescriptors(limit int) int {
	return min(max(limit/20, minReserve), maxReserve, limit/3)
}

const (
	minReserve = 32
	maxReserve = 128
)

// Descriptors says whether the descriptors that this process may have are enough for a configuration, as Verify does.
func Descriptors(cfg Config) []Finding {
	c := &checker{sys: machine()}
	c.descriptors(cfg)
	return c.found
}
