package admin

import "time"

// Keeper is the process that holds duplicates of the daemon's descriptors, so that a daemon that is restarted or was killed goes on where it was.
type Keeper struct {
	Socket      string    `json:"socket"`
	Up          bool      `json:"up"`
	Since       time.Time `json:"since"`             // since when it is up for this daemon, or is not
	Cause       string    `json:"cause,omitempty"`   // why it is not up
	Version     string    `json:"version,omitempty"` // of its program
	PID         int       `json:"pid,omitempty"`
	Started     time.Time `json:"started,omitzero"`
	Grace       float64   `json:"grace_seconds,omitempty"` // how long it holds everything without a daemon
	Descriptors int       `json:"descriptors"`
	Limit       int       `json:"descriptor_limit"`
	Memory      int       `json:"memory"`
}

// Recovery is how this process came into the place of one that was killed or restarted.
type Recovery struct {
	Time      time.Time         `json:"time"`
	Cause     string            `json:"cause"` // kill or restart
	Sessions  int               `json:"sessions"`
	Ended     map[string]int    `json:"ended,omitempty"`      // that did not go on, by why
	Links     int               `json:"links"`                // server links that go on
	LostLinks map[string]string `json:"lost_links,omitempty"` // "pool/name" of those that do not, by why
	Corrected int               `json:"corrected,omitempty"`  // sockets of which the kernel knew more
	Pause     float64           `json:"pause_ms,omitempty"`   // in which nothing was relayed; behind a kill: since this process began to look
}

// Causes of a Recovery.
const (
	RecoveredFromKill    = "kill"
	RecoveredFromRestart = "restart"
)
