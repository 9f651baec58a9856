package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
	"github.com/ircferry/ircferry/proxy"
)

// pictures shows the rooms to the admin API in its own documents. It has no state.
type pictures struct{ d *daemon }

// Info implements admin.Process.
func (p pictures) Info() admin.Status {
	cfg := p.d.cfg.Load()
	used, limit := p.d.proxy.Descriptors()
	state := "running"
	if p.d.stopping.Load() {
		state = "stopping"
	}
	return admin.Status{
		Version: admin.BuildVersion(), Instance: p.d.instance, PID: os.Getpid(), State: state, Started: p.d.started,
		Binary:      admin.Binary{Path: p.d.upgrades.binary.path, Built: p.d.upgrades.binary.modified, Other: p.d.upgrades.binary.other()},
		Upgrades:    p.d.upgrades.known(),
		Keeper:      p.d.keeping.picture(),
		Recovered:   p.d.recovered,
		Config:      admin.ConfigInfo{Path: p.d.opt.path, SHA256: cfg.sha256, Loaded: cfg.at, LastError: cfg.lastError},
		Descriptors: admin.Descriptors{Used: used, Limit: limit},
		Warnings:    slices.Concat(p.d.interruptedMoves(), p.d.removedBackends(), fewDescriptors(cfg.Config), cfg.waits(), p.d.keeping.warnings()),
	}
}

// waits is a sentence if the file has values that only a restart takes.
func (l *loaded) waits() []string {
	if len(l.needs) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the configuration file has another %s, which a running daemon cannot take: a restart will, until then the old values hold",
		strings.Join(l.needs, ", "))}
}

// fewDescriptors is a sentence if the configuration allows more than this process may have.
func fewDescriptors(cfg config.Config) (warnings []string) {
	for _, f := range config.Descriptors(cfg) {
		warnings = append(warnings, f.Text)
	}
	return warnings
}

// interruptedMoves is a sentence for each journal that this start has put aside, as long as it lies there.
func (d *daemon) interruptedMoves() (warnings []string) {
	for _, in := range d.interrupted {
		if _, err := os.Stat(in.Path); err != nil {
			continue
		}
		what := "move " + in.ID
		if in.Pool != "" {
			what += fmt.Sprintf(" (%s %s/%s)", in.Kind, in.Pool, in.From)
		}
		how := "before its users had left"
		if in.Released {
			how = fmt.Sprintf("when its %d users were to leave or had left", in.Users)
		}
		ended := "their connections ended with it"
		if len(in.Links) > 0 {
			ended += ", and so did the server links of " + strings.Join(in.Links, ", ")
		}
		warnings = append(warnings, fmt.Sprintf("the daemon before this one ended in the middle of %s, %s; %s (delete %s when it is not needed any more)",
			what, how, ended, in.Path))
	}
	return warnings
}

// Reload implements admin.Process.
func (p pictures) Reload(ctx context.Context) (admin.Reloaded, error) { return p.d.Reload(ctx) }

// Pools implements admin.Pools.
func (p pictures) Pools() []admin.Pool {
	var pools []admin.Pool
	for _, pool := range p.d.backends.Pools() {
		picture := admin.Pool{Name: pool.Name(), Topology: string(pool.Config().Topology), Serving: serving(pool), Gated: p.d.gated(pool), Links: p.d.linkPictures(pool.Name())}
		for _, b := range pool.Backends() {
			picture.Backends = append(picture.Backends, p.d.backendPicture(b, pool))
		}
		pools = append(pools, picture)
	}
	slices.SortFunc(pools, func(a, b admin.Pool) int { return strings.Compare(a.Name, b.Name) })
	return pools
}

// serving is who takes the new clients of a standalone pool; "" if that is nobody, because the one that did is drained or in maint and none has come
// for whom another one would have been chosen.
func serving(pool *backend.Pool) string {
	if b, ok := pool.Backend(pool.Serving()); ok && b.Admin() == backend.Ready {
		return b.Name()
	}
	return ""
}

func (d *daemon) backendPicture(b *backend.Backend, pool *backend.Pool) admin.Backend {
	c := b.Config()
	out := admin.Backend{Name: b.Name(), Pool: pool.Name(), Driver: "none", Address: c.Address, Admin: b.Admin().String(), Oper: b.Oper().String(),
		Serving: serving(pool) == b.Name(), Backup: c.Backup, Weight: c.Weight, Sessions: b.Sessions()}
	st := b.Status()
	out.Closing = d.closings.Closing(pool.Name(), b.Name())
	out.Stream, out.Warnings = st.Stream, backendWarnings(st)
	if b.Oper() != backend.Up {
		out.Cause = st.Cause
	} else if r := d.holdRefusal(b); r != nil {
		out.Warnings = append(out.Warnings, "a hold or restart would be refused: "+r.Reason+"; "+r.Hint)
	}
	if b.Replays() {
		out.Driver = "replay"
	}
	if !b.Native() {
		return out
	}
	out.Driver, out.Address = "native", c.Handoff
	if h, at, ok := b.Hello(); ok {
		out.Software, out.Version, out.Server, out.Epoch = h.Software, h.Version, h.Name, h.Epoch
		out.Users, out.Unmovable, out.Channels, out.Links, out.Hello = h.Users, h.Unmovable, h.Channels, h.Links, &at
	}
	return out
}

// backendWarnings are what an operator should know of a backend that is up.
func backendWarnings(st backend.Status) (warnings []string) {
	if st.Doubt != "" {
		warnings = append(warnings, "the ircd does not believe who a client is, so that all its bans and limits hold for us: "+st.Doubt)
	}
	if st.Refusing != "" {
		warnings = append(warnings, st.Refusing)
	}
	return warnings
}

// SetAdmin implements admin.Pools.
func (p pictures) SetAdmin(pool, name string, state backend.AdminState) error {
	b, ok := p.d.backends.Backend(pool + "/" + name)
	if !ok {
		return fmt.Errorf("no backend %s/%s", pool, name)
	}
	return b.SetAdmin(state)
}

// gated: a move makes the new clients of a standalone pool wait.
func (d *daemon) gated(pool *backend.Pool) bool {
	return pool.Config().Topology != config.Linked && d.moveUnderWay(pool) || d.closings.gates(pool.Name())
}

func (d *daemon) moveUnderWay(pool *backend.Pool) bool {
	return slices.ContainsFunc(d.moves.Moves(), func(r handoff.Report) bool { return r.Pool == pool.Name() && !r.State.Ended() })
}

// moving: a move, or a restart without a driver, sets states of the pool's backends that are not to last.
func (d *daemon) moving(pool *backend.Pool) bool {
	return d.moveUnderWay(pool) || d.closings.gates(pool.Name())
}

// Listeners implements admin.Sessions, as do the following.
func (p pictures) Listeners() []admin.Listener {
	counts := p.d.proxy.Counts()
	addrs, taken := p.d.proxy.Addrs(), p.d.proxy.Taken()
	var out []admin.Listener
	for _, l := range p.d.cfg.Load().Listeners {
		picture := admin.Listener{Name: l.Name, Address: l.Address, Pool: l.Pool, Accepting: len(addrs[l.Name]) > 0 && counts.Paused == 0,
			Connections: counts.Listeners[l.Name], Limit: l.Limits.Connections,
			Accepted: taken[l.Name].Accepted, Rejected: taken[l.Name].Rejected}
		if len(addrs[l.Name]) > 0 {
			picture.Address = addrs[l.Name][0].String()
		}
		if counts.Paused > 0 {
			picture.Note = "no descriptors left: accepting rests until some are back"
		}
		out = append(out, picture)
	}
	return out
}

func (p pictures) Counts() admin.Counts {
	c := p.d.proxy.Counts()
	return admin.Counts{Total: c.Sessions, States: c.States}
}

func (p pictures) Sessions(ctx context.Context, backendName string) ([]admin.Session, error) {
	all, err := p.d.proxy.Sessions(ctx)
	var out []admin.Session
	for _, s := range all {
		if backendName == "" || s.Backend == backendName {
			out = append(out, sessionPicture(s))
		}
	}
	return out, err
}

func (p pictures) Session(ctx context.Context, id string) (admin.Session, bool, error) {
	all, err := p.d.proxy.Sessions(ctx)
	for _, s := range all {
		if s.ID == id {
			return sessionPicture(s), true, nil
		}
	}
	return admin.Session{}, false, err
}

func sessionPicture(s proxy.SessionInfo) admin.Session {
	return admin.Session{ID: s.ID, Client: s.Client.String(), Listener: s.Listener, Backend: s.Backend, State: s.State, Registered: s.Registered,
		Started: s.Since, BytesIn: s.BytesIn, BytesOut: s.BytesOut, HeldBytes: s.Held, TLS: s.TLS, CertFP: s.CertFP, Nick: s.Nick}
}

// Drain implements admin.Moves, as do the following.
func (p pictures) Drain(r handoff.Request) (string, error) { return idOf(p.d.moves.Drain(r)) }

func (p pictures) Hold(r handoff.Request) (string, error) { return idOf(p.d.moves.Hold(r)) }

func (p pictures) Release(pool, name, to, actor string) (string, error) {
	return idOf(p.d.moves.Release(pool, name, to, actor))
}

func (p pictures) Pause(r handoff.Request) (string, error) { return idOf(p.d.moves.Pause(r)) }
func (p pictures) Resume(pool, name string) (string, error) {
	return idOf(p.d.moves.Resume(pool, name))
}
func (p pictures) Cancel(id string) error { return p.d.moves.Cancel(id) }

func (p pictures) DryRun(ctx context.Context, r handoff.Request) (handoff.Plan, error) {
	return p.d.moves.DryRun(ctx, r)
}

func (p pictures) Moves() []handoff.Report {
	moves := p.d.moves.Moves()
	slices.Reverse(moves)
	return moves
}

func (p pictures) Watch(id string) (handoff.Report, <-chan struct{}, bool) {
	return p.d.moves.Watch(id)
}

func idOf(m *handoff.Move, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return m.ID(), nil
}

// findTime bounds the question for a nick: a backend that does not answer must not keep the operator from the others' answers.
const findTime = 3 * time.Second

// Find implements admin.Finder: every native backend is asked at the same time.
func (p pictures) Find(ctx context.Context, nick string) (found []admin.Found, err error) {
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, pool := range p.d.backends.Pools() {
		for _, b := range pool.Backends() {
			if !b.Native() || b.Oper() != backend.Up {
				continue
			}
			asked.Go(func() {
				u, e := findAt(ctx, b, p.d.instance, nick)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(e, protocol.ErrNotFound):
				case e != nil:
					err = errors.Join(err, fmt.Errorf("ask %s for a nick: %w", b.FullName(), e))
				default:
					found = append(found, admin.Found{Backend: b.FullName(), U: u, Nick: nick})
				}
			})
		}
	}
	asked.Wait()
	return found, err
}

func findAt(ctx context.Context, b *backend.Backend, instance, nick string) (string, error) {
	control, _, err := b.DialControl(ctx, instance)
	if err != nil {
		return "", err
	}
	defer control.Close()
	return control.Find(ctx, nick)
}
