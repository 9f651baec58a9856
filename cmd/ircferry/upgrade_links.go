package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/proxy"
	"github.com/ircferry/ircferry/proxy/link"
)

// Server links in an upgrade, on the old process's side: they go along like sessions.

// Why something of server links does not go along.
const (
	leftLink       = "server-link"            // the new program cannot go on with this one's links: they end, and their servers link anew
	leftConnecting = "server-link-connecting" // a connection that is no link yet: its TLS handshake is in its midst, or the other side is dialled
)

// checkLinks finds out whether the new process can go on with the links that there are. If not, they end; where users must not see that, it is refused.
func (x *upgrade) checkLinks(h *helloMessage) error {
	x.ends = h.Links != link.CarryFormat
	names := x.d.links.Passage().Names
	if !x.ends || len(names) == 0 {
		return nil
	}
	x.result.Links, x.result.Left[leftLink] = 0, len(names)
	if x.splits {
		return nil
	}
	no := &admin.Error{Code: admin.CodeRefused, Hint: "--allow-visible, or moves: {visible: allow} in the configuration, lets them split and link anew",
		Message: fmt.Sprintf("the new process (%s) cannot go on with the links of %s (form %d, want %d): users would see a netsplit", h.Version, strings.Join(names, ", "), h.Links, link.CarryFormat)}
	if x.dry {
		x.result.Refusals = append(x.result.Refusals, no.Error())
		return nil
	}
	return no
}

// quiesce lets new clients and servers wait, and those end that are under way.
func (x *upgrade) quiesce(ctx context.Context) error {
	var links sync.WaitGroup
	links.Go(func() { x.d.links.Quiesce(ctx) })
	defer links.Wait()
	if err := x.d.proxy.Quiesce(ctx); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	return nil
}

// stopLinks lets all links stand still, unless they end with this process.
func (x *upgrade) stopLinks(ctx context.Context) (err error) {
	if x.ends {
		return nil
	}
	if x.links, err = x.d.links.Stop(ctx); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	return nil
}

// goOn lets all go on here that stands still for an upgrade that has failed. cut is nil if the sessions do not stand.
func (x *upgrade) goOn(cut *proxy.Cut) {
	if cut != nil {
		cut.GoOn()
	} else {
		x.d.proxy.EndQuiesce()
	}
	if x.links != nil {
		x.links.GoOn()
		x.links = nil
	} else {
		x.d.links.EndQuiesce()
	}
}

// linkLegacy is what the new process must know of the links, and the descriptors that it gets.
func (x *upgrade) linkLegacy() (*link.Carried, []int, error) {
	if x.links == nil {
		if n := len(x.d.links.Passage().Names); n > 0 {
			x.result.Left[leftLink] = n
		}
		return nil, nil, nil
	}
	st, fds, err := x.links.State()
	if err != nil {
		return nil, nil, err
	}
	x.result.Links = x.links.Links()
	if n := x.links.Left(); n > 0 {
		x.result.Left[leftConnecting] = n
	}
	return &st, fds, nil
}

// leaveLinks gives the links up to the process that has them, or ends them.
func (d *daemon) leaveLinks(x *upgrade) {
	ctx, cancel := context.WithTimeout(context.Background(), linksTime)
	defer cancel()
	end := d.links.Close
	switch {
	case x.links != nil && x.kept:
		end = x.links.LeaveToKeeper
	case x.links != nil:
		end = x.links.Leave
	}
	if err := end(ctx); err != nil {
		d.log.Warn("server links did not end in order", "err", err)
	}
}

// linksTime is what links that do not go along have to end in order.
const linksTime = 2 * time.Second
