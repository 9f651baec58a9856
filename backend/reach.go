package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reach is how this machine comes to an ircd: the one way for checks, control connections and `ircferry check`. A name may have several
// addresses, of which some lead nowhere (localhost is ::1 too, and the ircd listens on 127.0.0.1 only), so they are tried as
// RFC 8305 says, and an ircd counts as reached if one of them leads to it.
type reach struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// network is the reach of the machine itself.
func network() reach {
	d := new(net.Dialer)
	d.SetMultipathTCP(false)
	return reach{dial: d.DialContext, resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}}
}

const (
	// attemptDelay is how long one address has for an answer before the next is tried beside it (RFC 8305 section 8).
	attemptDelay = 250 * time.Millisecond

	// maxAddresses bounds what a name server can have us try.
	maxAddresses = 16
)

// addresses finds where the plan leads, in the order in which it should be tried: known is what was found before, the one in use first. It
// stays first as long as it is among the answers; and while names cannot be looked up all of it holds.
func (r reach) addresses(ctx context.Context, pl plan, known []netip.AddrPort) ([]netip.AddrPort, error) {
	if pl.literal.IsValid() {
		return []netip.AddrPort{pl.literal}, nil
	}
	port, err := strconv.ParseUint(pl.port, 10, 16)
	if err != nil {
		return known, fmt.Errorf("port %q is not a number from 1 to 65535", pl.port)
	}
	if len(known) > 0 { // a name server that is silent must leave time for what is known
		if end, ok := ctx.Deadline(); ok {
			var cancel func()
			ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
			defer cancel()
		}
	}
	ips, err := r.resolve(ctx, pl.host)
	switch {
	case (err != nil || len(ips) == 0) && len(known) > 0:
		return known, nil
	case err != nil:
		return nil, fmt.Errorf("resolve %s: %w", pl.host, err)
	case len(ips) == 0:
		return nil, fmt.Errorf("resolve %s: %w", pl.host, &net.DNSError{Err: "no address", Name: pl.host, IsNotFound: true})
	}
	var now netip.AddrPort
	if len(known) > 0 {
		now = known[0]
	}
	return inOrder(ips, uint16(port), now), nil
}

// inOrder makes the families take turns (RFC 8305 section 4), beginning with that of the first, which the resolver has sorted, and puts the
// address in use before all others.
func inOrder(ips []netip.Addr, port uint16, now netip.AddrPort) []netip.AddrPort {
	var first, other []netip.AddrPort
	for _, ip := range ips {
		a := netip.AddrPortFrom(ip.Unmap(), port)
		switch {
		case slices.Contains(first, a) || slices.Contains(other, a):
		case len(first) == 0 || a.Addr().Is4() == first[0].Addr().Is4():
			first = append(first, a)
		default:
			other = append(other, a)
		}
	}
	var all []netip.AddrPort
	for i := range max(len(first), len(other)) {
		all = append(all, first[min(i, len(first)):min(i+1, len(first))]...)
		all = append(all, other[min(i, len(other)):min(i+1, len(other))]...)
	}
	all = firstOf(all, now)
	return all[:min(len(all), maxAddresses)]
}

// firstOf is a copy of addrs in which first, if it is among them, stands first.
func firstOf(addrs []netip.AddrPort, first netip.AddrPort) []netip.AddrPort {
	addrs = slices.Clone(addrs)
	if i := slices.Index(addrs, first); i > 0 {
		addrs = slices.Insert(slices.Delete(addrs, i, i+1), 0, first)
	}
	return addrs
}

// words are the addresses as a dialler takes them.
func words(addrs []netip.AddrPort) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}

// attempt is what came of one address.
type attempt struct {
	address string
	err     error
}

// attempts are those that failed. As an error they unwrap to the most telling one: what is wrong on our own machine, like a family of
// addresses that it does not have, speaks for the whole only if nothing else does.
type attempts []attempt

func (a attempts) Error() string {
	if len(a) == 1 {
		return a[0].err.Error()
	}
	return a.each()
}

// each names every address with its error.
func (a attempts) each() string {
	texts := make([]string, len(a))
	for i, x := range a {
		texts[i] = x.address + ": " + bare(x.err).Error()
	}
	return strings.Join(texts, "; ")
}

// bare is an error of a dial without the address, for where that stands before it.
func bare(err error) error {
	var op *net.OpError
	if a, ok := err.(attempts); ok && len(a) > 1 {
		return a
	}
	if errors.As(err, &op) && op.Op == "dial" {
		return op.Err
	}
	return err
}

func (a attempts) Unwrap() error {
	for _, x := range a {
		if ReasonOf(x.err) != ReasonLocal {
			return x.err
		}
	}
	return a[0].err
}

// race connects to the addresses and asks use whether the ircd is there, until one says so: the next is tried when one has failed, beside one
// that has not been connected within attemptDelay, and beside one that is connected and keeps use waiting for half of the time
// that is left. use owns the connection. The first success ends the others, and drop gets what another one had all the same; failed is who failed
// before it, or everybody.
func race[T any](ctx context.Context, r reach, network string, addresses []string, use func(context.Context, net.Conn) (T, error), drop func(T)) (got T, at int, failed attempts, err error) {
	if len(addresses) == 1 { // nearly always, and there is nobody to race with
		if got, err = meetAt(ctx, r, network, addresses[0], nil, use); err != nil {
			failed = attempts{{addresses[0], err}}
			return got, -1, failed, failed
		}
		return got, 0, nil, nil
	}
	type result struct {
		i   int
		got T
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results, connected := make(chan result, len(addresses)), make(chan int, len(addresses))
	try := func(i int) {
		res := result{i: i}
		res.got, res.err = meetAt(ctx, r, network, addresses[i], func() { connected <- i }, use)
		results <- res
	}
	next, running := 0, 0
	timer := time.NewTimer(0)
	for {
		select {
		case <-timer.C:
			if next < len(addresses) {
				go try(next)
				next, running = next+1, running+1
				timer.Reset(attemptDelay)
			}
		case i := <-connected:
			if end, ok := ctx.Deadline(); ok && i == next-1 {
				timer.Reset(max(time.Until(end)/2, attemptDelay))
			}
		case res := <-results:
			running--
			if res.err == nil {
				go func() {
					for range running {
						if late := <-results; late.err == nil {
							drop(late.got)
						}
					}
				}()
				return res.got, res.i, failed, nil
			}
			failed = append(failed, attempt{addresses[res.i], res.err})
			if next < len(addresses) && ctx.Err() == nil {
				timer.Reset(0)
			} else if running == 0 {
				return got, -1, failed, failed
			}
		}
	}
}

// meetAt connects to one address and asks use whether the ircd is there; connected, if any, is told in between.
func meetAt[T any](ctx context.Context, r reach, network, address string, connected func(), use func(context.Context, net.Conn) (T, error)) (got T, err error) {
	conn, err := r.dial(ctx, network, address)
	if err != nil {
		return got, fmt.Errorf("connect: %w", err)
	}
	if connected != nil {
		connected()
	}
	return use(ctx, conn)
}

// found is where a look for an ircd led.
type found struct {
	known  []netip.AddrPort // all addresses of the plan, in the order in which they were tried; nil for a unix socket
	at     netip.AddrPort   // the one where use was content
	failed attempts         // those before it, or all
}

// find looks for the ircd of a plan at all its addresses; see race for use and drop.
func find[T any](ctx context.Context, r reach, pl plan, known []netip.AddrPort, use func(context.Context, net.Conn) (T, error), drop func(T)) (got T, f found, err error) {
	if pl.network == "unix" {
		got, _, f.failed, err = race(ctx, r, pl.network, []string{pl.control}, use, drop)
		return got, f, err
	}
	if f.known, err = r.addresses(ctx, pl, known); err != nil {
		return got, f, err
	}
	got, at, failed, err := race(ctx, r, "tcp", words(f.known), use, drop)
	f.failed = failed
	if err == nil {
		f.at = f.known[at]
	}
	return got, f, err
}
