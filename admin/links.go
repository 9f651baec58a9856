package admin

import (
	"fmt"
	"time"
)

// Link is a server link of a pool: services, or another server, whose connection ends here.
type Link struct {
	Name        string    `json:"name"`             // as its peer calls itself
	Listen      string    `json:"listen,omitempty"` // none: it is not in the configuration any more
	Dial        string    `json:"dial,omitempty"`   // the peer's address, if it is we who connect
	State       string    `json:"state"`            // down | linking | raw | holding | cut | replaying | swallowing | flushing
	Since       time.Time `json:"since,omitzero"`   // of the state, of one that is not down
	From        string    `json:"from,omitempty"`   // the address of the peer that is connected
	Backend     string    `json:"backend,omitempty"`
	Server      string    `json:"server,omitempty"` // the ircd's name in the network
	SID         string    `json:"sid,omitempty"`    // the peer's id in it
	Proto       int       `json:"proto,omitempty"`  // the number of the server protocol
	HeldSeconds float64   `json:"held_seconds"`     // since when a move holds it
	KeptBytes   int64     `json:"kept_bytes"`       // what its peer has said and no ircd has taken
	HoldBytes   int64     `json:"hold_bytes"`       // the bound of that
	GivenUp     uint64    `json:"given_up_total"`   // how often a move could not hold it on
	Refused     uint64    `json:"refused_total"`    // connections that did not become a link
	Protected   bool      `json:"protected"`        // it outlives a crash of the daemon
}

// Up reports whether the servers are linked, held or not.
func (l Link) Up() bool { return l.State != "down" && l.State != "linking" }

// linkWords says in words what a link does, for the page.
func linkWords(l Link) word {
	switch {
	case l.State == "raw":
		return word{"up", "good"}
	case l.State == "flushing":
		return word{"up; what waited goes in", "good"}
	case l.Up():
		return word{"held in a move for " + seconds(l.HeldSeconds), "warn"}
	case l.State == "linking":
		return word{"linking", "dim"}
	}
	return word{"not linked", "warn"}
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second / 10).String()
}

// fullOf is the share of its bound from which on a link that is held is told of.
const fullOf = 0.5

// warning is a sentence if a link needs an eye.
func (l Link) warning(pool string) string {
	switch {
	case l.Listen == "" && l.Up():
		return fmt.Sprintf("link %s of pool %s is not in the configuration any more and is up: it stays until it ends", l.Name, pool)
	case l.HoldBytes > 0 && float64(l.KeptBytes) > fullOf*float64(l.HoldBytes):
		return fmt.Sprintf("link %s of pool %s has %d bytes waiting, with %d it is given up: a split", l.Name, pool, l.KeptBytes, l.HoldBytes)
	}
	return ""
}
