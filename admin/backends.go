package admin

import (
	"fmt"

	"github.com/ircferry/ircferry/backend"
)

const (
	driverNative = "native"
	driverNone   = "none"
)

// Backends is the Pools of a running set of backends.
func Backends(set *backend.Set) Pools { return backendSet{set} }

type backendSet struct{ set *backend.Set }

func (s backendSet) Pools() []Pool {
	pools := []Pool{}
	for _, p := range s.set.Pools() {
		document := Pool{Name: p.Name(), Topology: string(p.Config().Topology), Serving: p.Serving(), Backends: []Backend{}}
		for _, b := range p.Backends() {
			document.Backends = append(document.Backends, describe(p, b))
		}
		pools = append(pools, document)
	}
	return pools
}

func describe(p *backend.Pool, b *backend.Backend) Backend {
	conf := b.Config()
	d := Backend{Name: b.Name(), Pool: p.Name(), Driver: driverNone, Address: conf.Address, Admin: b.Admin().String(), Oper: b.Oper().String(),
		Serving: p.Serving() == b.Name(), Backup: conf.Backup, Weight: conf.Weight, Sessions: b.Sessions()}
	if b.Native() {
		d.Driver, d.Address = driverNative, conf.Handoff
	}
	if hello, at, ok := b.Hello(); ok {
		d.Software, d.Version, d.Server, d.Epoch = hello.Software, hello.Version, hello.Name, hello.Epoch
		d.Users, d.Unmovable, d.Channels, d.Links, d.Hello = hello.Users, hello.Unmovable, hello.Channels, hello.Links, &at
	}
	return d
}

func (s backendSet) SetAdmin(pool, name string, state backend.AdminState) error {
	b, ok := s.set.Backend(pool + "/" + name)
	if !ok {
		return fmt.Errorf("backend %s/%s does not exist any more", pool, name)
	}
	return b.SetAdmin(state)
}

// WatchBackends publishes what happens to backends until the returned function is called.
func WatchBackends(set *backend.Set, events *Events) (stop func()) {
	return set.Subscribe(func(e backend.Event) {
		events.Publish(Event{Time: e.Time, Kind: EventBackend, Object: e.Backend, Word: e.Kind, Text: e.Text})
	})
}
