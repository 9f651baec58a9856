package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

const (
	// rejoinEvery is how often who should be there and is not is looked for. It bounds, with streamTime, how long a healed partition stays split.
	rejoinEvery = 15 * time.Second
	// resolveTime bounds a question to name servers, and a command.
	resolveTime = 5 * time.Second
	// streamTime bounds a connection of the gossip.
	streamTime = 5 * time.Second
	// maxPeers bounds what a name or a command may give.
	maxPeers = 256
	// joinAtOnce is how many are joined at the same time.
	joinAtOnce = 16
)

// wanted is who should be there: what the peers of the configuration lead to.
type wanted struct {
	mu       sync.Mutex
	found    map[config.Peer][]netip.AddrPort // at the last time that it could be looked up
	problems map[config.Peer]string           // of those that could not be
}

// Wanted is who should be there.
type Wanted struct {
	Addresses []netip.AddrPort // other than ours
	Missing   []string         // of these, those at which no member is, and peers that lead nowhere, with why
}

func (w *wanted) set(p config.Peer, found []netip.AddrPort, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.found == nil {
		w.found, w.problems = map[config.Peer][]netip.AddrPort{}, map[config.Peer]string{}
	}
	delete(w.problems, p)
	if err != nil {
		w.problems[p] = err.Error()
		return
	}
	w.found[p] = found
}

// missing compares with the members that are alive; ours is no peer.
func (w *wanted) missing(peers []config.Peer, ours netip.AddrPort, alive []netip.AddrPort) (all Wanted, absent []netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range peers {
		found := w.found[p]
		if len(found) == 0 {
			why := w.problems[p]
			if why == "" {
				why = "not looked up yet"
			}
			all.Missing = append(all.Missing, fmt.Sprintf("%s: %s", p, why))
		}
		for _, a := range found {
			if a == ours || slices.Contains(all.Addresses, a) {
				continue
			}
			all.Addresses = append(all.Addresses, a)
			if !slices.Contains(alive, a) {
				all.Missing, absent = append(all.Missing, a.String()), append(absent, a)
			}
		}
	}
	return all, absent
}

// rejoin looks for who should be there and is not, now and every 15 s, until ctx is over.
func (c *Cluster) rejoin(ctx context.Context) {
	tick := time.NewTicker(rejoinEvery)
	defer tick.Stop()
	for {
		c.joinMissing(ctx)
		select {
		case <-tick.C:
		case <-c.again:
		case <-ctx.Done():
			return
		}
	}
}

// joinMissing looks all peers up and joins those who are not there.
func (c *Cluster) joinMissing(ctx context.Context) {
	peers := c.config().Join
	var looked sync.WaitGroup
	for _, p := range peers {
		looked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, resolveTime)
			defer cancel()
			found, err := c.lookUp(ctx, p)
			found = slices.DeleteFunc(found, func(a netip.AddrPort) bool { return a.Addr().Is4() != c.ours.Addr().Is4() })
			if err == nil && len(found) == 0 {
				err = errors.New("it leads to no address of the kind of ours, " + c.ours.Addr().String())
			}
			if ctx.Err() != nil && err != nil {
				err = fmt.Errorf("no answer in time (%w)", err)
			}
			c.wanted.set(p, found, err)
		})
	}
	looked.Wait()
	_, absent := c.missing()
	room := make(chan struct{}, joinAtOnce)
	var joined sync.WaitGroup
	for _, a := range absent {
		if ctx.Err() != nil {
			break
		}
		room <- struct{}{}
		joined.Go(func() {
			defer func() { <-room }()
			c.list.Join([]string{a.String()}) //nolint:errcheck // who cannot be joined is missing still
		})
	}
	joined.Wait()
	c.noteMissing()
}

// missing is who should be there, and the addresses at which nobody is.
func (c *Cluster) missing() (Wanted, []netip.AddrPort) {
	var alive []netip.AddrPort
	for _, m := range c.members.list() {
		if m.State == Alive {
			alive = append(alive, m.Gossip)
		}
	}
	return c.wanted.missing(c.config().Join, c.ours, alive)
}

// noteMissing logs who is missing when that is others than before.
func (c *Cluster) noteMissing() {
	w, _ := c.missing()
	text := strings.Join(w.Missing, ", ")
	c.mu.Lock()
	was := c.toldMissing
	c.toldMissing = text
	c.mu.Unlock()
	switch {
	case text == was:
	case text == "":
		c.log.Info("all members of the cluster are there")
	default:
		c.log.Warn("members of the cluster are missing; they are looked for every 15s", "missing", text)
	}
}

// lookUp answers the addresses that a peer leads to.
func lookUp(ctx context.Context, p config.Peer) ([]netip.AddrPort, error) {
	switch kind, rest := p.Kind(); kind {
	case config.PeerExec:
		return byCommand(ctx, rest)
	case config.PeerSRV:
		return byRecords(ctx, rest)
	default:
		return byName(ctx, rest)
	}
}

func byName(ctx context.Context, hostport string) (found []netip.AddrPort, err error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", portText, err)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for _, a := range addrs {
		found = append(found, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	return bounded(found), err
}

func byRecords(ctx context.Context, name string) (found []netip.AddrPort, err error) {
	_, records, err := net.DefaultResolver.LookupSRV(ctx, "", "", name)
	var problems error
	for _, r := range records {
		more, err := byName(ctx, net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))))
		problems = errors.Join(problems, err)
		found = append(found, more...)
	}
	if len(found) > 0 {
		return bounded(found), nil
	}
	return nil, errors.Join(err, problems)
}

// byCommand runs a command, without a shell, with the daemon's rights.
func byCommand(ctx context.Context, command string) (found []netip.AddrPort, err error) {
	words := strings.Fields(command)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || len(found) >= maxPeers {
			continue
		}
		more, err := byName(ctx, line)
		if err != nil {
			return nil, fmt.Errorf("it prints %q: %w", line, err)
		}
		found = append(found, more...)
	}
	return bounded(found), nil
}

func bounded(found []netip.AddrPort) []netip.AddrPort { return found[:min(len(found), maxPeers)] }
