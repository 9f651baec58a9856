//go:build !linux

package protocol

// PeerProcess is not known on this system.
func (c *Control) PeerProcess() int { return 0 }
