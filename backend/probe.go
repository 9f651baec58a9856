package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ircferry/ircferry/handoff/protocol"
	"github.com/ircferry/ircferry/internal/config"
)

// probeTime bounds the look at one backend; all are looked at together.
const probeTime = 3 * time.Second

// Probe looks at every backend of a configuration the way a check would and says what is wrong there, or what it found. An ircd that is not running is a
// warning, since it may be started later; a socket that we may not use and a protocol that we do not speak are errors. It is for
// `ircferry check`: no set is needed and nothing is remembered.
func Probe(ctx context.Context, cfg config.Config) []config.Finding {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return eachBackend(cfg, func(p prober, pool config.Pool, c config.Backend) { p.probe(ctx, pool, c) })
}

// eachBackend calls look for every backend of a configuration, all at once, and answers what they have found in the configuration's order.
func eachBackend(cfg config.Config, look func(p prober, pool config.Pool, c config.Backend)) (out []config.Finding) {
	var wg sync.WaitGroup
	var all []*[]config.Finding
	for _, name := range slices.Sorted(maps.Keys(cfg.Pools)) {
		pool := cfg.Pools[name]
		for i, c := range pool.Backends {
			found := new([]config.Finding)
			all = append(all, found)
			wg.Go(func() { look(prober{key: fmt.Sprintf("pools.%s.backends[%d]", name, i), found: found}, pool, c) })
		}
	}
	wg.Wait()
	for _, f := range all {
		out = append(out, *f...)
	}
	return out
}

// prober looks at one backend.
type prober struct {
	key   string
	found *[]config.Finding
}

func (p prober) add(s config.Severity, format string, args ...any) {
	*p.found = append(*p.found, config.Finding{Severity: s, Key: p.key, Text: fmt.Sprintf(format, args...)})
}

func (p prober) probe(ctx context.Context, pool config.Pool, c config.Backend) {
	pl, err := planOf(pool, c)
	if err != nil {
		return // config.Verify says so
	}
	if c.Native() {
		p.native(ctx, pool, pl)
	} else {
		p.relay(ctx, pl)
	}
}

func (p prober) native(ctx context.Context, pool config.Pool, pl plan) {
	hi, f, err := pl.dialControl(ctx, network(), nil, "check")
	switch {
	case protocol.HasCode(err, protocol.CodeVersion):
		p.add(config.SeverityError, "%s speaks another major version of HANDOFF than %s", pl.conf.Handoff, protocol.Version)
		return
	case err != nil && ReasonOf(err) == ReasonAnswer, errors.Is(err, errHello):
		p.add(config.SeverityError, "no answer to HELLO: %v", err)
		return
	case err != nil:
		p.unreached(pl.conf.Handoff, err)
		return
	}
	defer hi.control.Close()
	p.elsewhere(f)
	h := hi.hello
	if _, err := streamAddr(h, nil); err != nil {
		p.add(config.SeverityError, "%s: %v", pl.conf.Handoff, err)
	}
	if missing := lacks(h); len(missing) > 0 {
		p.add(config.SeverityWarning, "%s %s cannot %s: its users cannot be moved freely", h.Software, h.Version, strings.Join(missing, ", "))
	}
	if text := pl.unproven(h); text != "" {
		p.add(config.SeverityWarning, "%s %s %s", h.Software, h.Version, text)
	}
	p.caps(h.Caps)
	p.links(pool, pl.conf, h)
	if !config.HasErrors(*p.found) {
		who := whoMay(pl.conf.Handoff)
		if who != "" {
			who = "; its socket is for " + who
		}
		p.add(config.SeverityOK, "%s %s at %s speaks HANDOFF/%s, can %s; %d users, %d channels%s", h.Software, h.Version, pl.where(f), h.V,
			strings.Join(h.Feat, " "), h.Users, h.Channels, who)
	}
}

func (p prober) relay(ctx context.Context, pl plan) {
	who := anyCaller()
	op, f, err := find(ctx, network(), pl, nil, func(ctx context.Context, conn net.Conn) (opinion, error) {
		conn, err := pl.secure(ctx, conn)
		if err != nil {
			return opinion{}, err
		}
		defer conn.Close()
		return askIRC(ctx, conn, pl, who)
	}, func(opinion) {})
	switch reason := ReasonOf(err); {
	case err != nil && pl.conf.Identity == config.IdentityWebIRC && reason == ReasonAnswer && aboutWebIRC(err.Error()):
		p.add(config.SeverityError, "%s throws every client out, because it does not know us as a gateway: %v; its configuration must have our address and the password in %s",
			pl.conf.Address, err, pl.conf.WebIRCPasswordFile)
		return
	case err != nil && (reason == ReasonAnswer || reason == ReasonClosed):
		p.add(config.SeverityWarning, "%s does not take clients: %v", pl.conf.Address, err)
		return
	case err != nil:
		p.unreached(pl.conf.Address, err)
		return
	}
	p.elsewhere(f)
	p.caps(op.caps)
	switch named := pl.conf.Identity != "" && pl.conf.Identity != config.IdentityNone; {
	case op.doubt != "":
		p.add(config.SeverityError, "%s does not believe who a client is: %s", pl.where(f), op.doubt)
		return
	case op.unsure != "":
		p.add(config.SeverityOK, "%s answers as an ircd does, but could not be asked whether it takes clients: %s; relay only, its users cannot be moved",
			pl.where(f), op.unsure)
	case named:
		p.add(config.SeverityOK, "%s answers as an ircd does, takes clients, and shows the address that it is told (%s); relay only, its users cannot be moved",
			pl.where(f), who.as)
	default:
		p.add(config.SeverityOK, "%s answers as an ircd does and takes clients; relay only, its users cannot be moved", pl.where(f))
	}
}

// elsewhere warns of addresses of the name that lead to no ircd. The daemon goes round them.
func (p prober) elsewhere(f found) {
	if len(f.failed) > 0 {
		p.add(config.SeverityWarning, "not every address of the name leads to the ircd; %s is used (%s)", f.at, f.failed.each())
	}
}

// where is the configured address, and what it stands for if it is a name.
func (pl plan) where(f found) string {
	at := pl.conf.Handoff + pl.conf.Address
	if f.at.IsValid() && f.at != pl.literal {
		at += " (" + f.at.String() + ")"
	}
	return at
}

func (p prober) unreached(where string, err error) {
	switch ReasonOf(err) {
	case ReasonPermission:
		way := "its directory is closed to others"
		if who := whoMay(where); who != "" {
			way = "it is for " + who
		}
		p.add(config.SeverityError, "%s may not be used by uid %d: %s; SupplementaryGroups= of the unit puts the daemon's user into a group (%v)",
			where, os.Geteuid(), way, err)
	case ReasonMissing:
		p.add(config.SeverityWarning, "%s is not there: the ircd does not run, or has its socket elsewhere", where)
	case ReasonRefused:
		p.add(config.SeverityWarning, "nobody listens at %s", where)
	case ReasonTLS:
		p.add(config.SeverityError, "%s: %v", where, err)
	default:
		p.add(config.SeverityWarning, "%s cannot be reached: %v", where, err)
	}
}

// whoMay names who but root may connect to a unix socket; "" is everybody, or nobody knows.
func whoMay(handoff string) string {
	path, ok := strings.CutPrefix(handoff, "unix:")
	info, err := os.Stat(path)
	if !ok || err != nil || info.Mode()&0o002 != 0 {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	name, group := strconv.Itoa(int(stat.Uid)), strconv.Itoa(int(stat.Gid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	who := fmt.Sprintf("user %s (%04o)", name, info.Mode().Perm())
	if info.Mode()&0o020 != 0 {
		who = fmt.Sprintf("user %s and group %s (%04o)", name, group, info.Mode().Perm())
	}
	return who
}

// caps warns of what a client would be offered by an ircd that cannot see the client's TLS.
func (p prober) caps(names []string) {
	for _, n := range []struct{ cap, text string }{
		{"tls", "clients are offered STARTTLS, which is answered 691 here: switch it off in the ircd"},
		{"sts", "clients are told to come back by TLS to a port of the ircd's choice: switch it off in the ircd, or name a port here"},
	} {
		if slices.Contains(names, n.cap) {
			p.add(config.SeverityWarning, "capability %s: %s", n.cap, n.text)
		}
	}
}
