package main

import (
	"context"

	"github.com/ircferry/ircferry/handoff"
	"github.com/ircferry/ircferry/proxy/link"
)

// serverLinks shows the links to moves. Rooms below cmd do not know each other, so what link.Set answers is given the type that handoff asks for.
type serverLinks struct{ *link.Set }

// Hold implements handoff.Links.
func (s serverLinks) Hold(ctx context.Context, backend string) (handoff.HeldLinks, error) {
	held, err := s.Set.Hold(ctx, backend)
	if err != nil {
		return nil, err
	}
	return held, nil
}

var _ handoff.Links = serverLinks{}
