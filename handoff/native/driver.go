// Package native is the driver for ircds that speak HANDOFF/1 (handoff/protocol/HANDOFF.md): it dials a backend's control socket and
// says HELLO. Everything else a move asks is the protocol's own.
package native

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/ircferry/ircferry/backend"
	"github.com/ircferry/ircferry/handoff"
)

// Driver connects to native backends. It has no state but who we are, and may be used from any goroutine.
type Driver struct {
	Instance string // this daemon's instance id, with which its stream ids begin
}

var _ handoff.Driver = Driver{}

// Connect dials the backend's control socket and exchanges HELLO. The Stream of the answer is made an address that can be dialled.
func (d Driver) Connect(ctx context.Context, b *backend.Backend) (handoff.Party, error) {
	address := b.Config().Handoff
	control, hello, err := b.DialControl(ctx, d.Instance)
	if err != nil {
		return nil, err
	}
	if hello.Stream, err = streamAddress(ctx, hello.Stream, address); err != nil {
		control.Close()
		return nil, fmt.Errorf("hello at %s: %w", address, err)
	}
	return &party{Control: control, hello: hello}, nil
}

// streamAddress puts the host that control was dialled at in the place of an unspecified one.
func streamAddress(ctx context.Context, stream, control string) (string, error) {
	addr, err := netip.ParseAddrPort(stream)
	if err != nil {
		return "", fmt.Errorf("stream address: %w", err)
	}
	if !addr.Addr().IsUnspecified() {
		return stream, nil
	}
	hostport, tcp := strings.CutPrefix(control, "tcp:")
	if !tcp {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port()).String(), nil
	}
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", fmt.Errorf("stream address: %w", err)
	}
	hosts, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", fmt.Errorf("stream address: %w", err)
	}
	return netip.AddrPortFrom(hosts[0].Unmap(), addr.Port()).String(), nil
}
