package handoff

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/ircferry/ircferry/internal/config"
)

// Reconfigure carries apply out, which is to make pools those of the backends, unless a move under way needs what would change: then it
// changes nothing, and the error says what and for which move. A move finds its ircds by their configuration up to its end, and users who
// are in its journal alone would have nowhere to go. No move begins meanwhile.
func (c *Coordinator) Reconfigure(pools map[string]config.Pool, apply func() error) error {
	c.pools.Lock()
	defer c.pools.Unlock()
	if err := c.needed(pools); err != nil {
		return err
	}
	return apply()
}

// needed says which moves could not go on with these pools.
func (c *Coordinator) needed(pools map[string]config.Pool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for name, m := range c.active {
		old, ok := c.opt.Backends.Pool(name)
		if !ok {
			continue
		}
		what := ""
		switch next, stays := pools[name]; {
		case !stays:
			what = "pool " + name
		case next.Topology != old.Config().Topology:
			what = "pools." + name + ".topology"
		default:
			what = changedBackend(old.Config(), next)
		}
		if what != "" {
			errs = append(errs, fmt.Errorf("%s cannot change while move %s of pool %s is under way; wait for its end or ferryctl cancel it",
				what, m.ID(), name))
		}
	}
	return errors.Join(errs...)
}

// changedBackend names a backend with movable users that next does not have, or has somewhere else. Any of a pool may have to take the users in the end.
func changedBackend(old, next config.Pool) string {
	for _, b := range old.Backends {
		if !b.Native() && !b.Replays() {
			continue
		}
		same := false
		for _, n := range next.Backends {
			same = same || n.Name == b.Name && n.Handoff == b.Handoff && n.Address == b.Address && n.Replays() == b.Replays() && reflect.DeepEqual(n.TLS, b.TLS) && reflect.DeepEqual(n.Servers, b.Servers)
		}
		if !same {
			return "backend " + b.Name
		}
	}
	return ""
}
