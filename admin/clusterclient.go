package admin

import (
	"context"
	"net/url"
)

// Cluster answers what the daemon knows of the other proxies. A daemon that is alone answers an *Error of CodeUnsupported.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	return get[Cluster](ctx, c, "/v1/cluster")
}

// AllStatus answers the status of each proxy. Who did not answer has an error in its part.
func (c *Client) AllStatus(ctx context.Context) (Proxies, error) {
	return get[Proxies](ctx, c, "/v1/cluster/status")
}

// AllSessions answers a page of each proxy's sessions, of at most 10000 each.
func (c *Client) AllSessions(ctx context.Context, q SessionQuery) (Proxies, error) {
	q.Limit, q.After = maxPage, ""
	return get[Proxies](ctx, c, "/v1/cluster/sessions?"+q.values().Encode())
}

// AllSession asks all proxies for a session by its id or the nick of its user. Who has none has an error in its part.
func (c *Client) AllSession(ctx context.Context, idOrNick string) (Proxies, error) {
	return get[Proxies](ctx, c, "/v1/cluster/sessions/"+url.PathEscape(idOrNick))
}

// AllEvents is Events of all proxies, each with its proxy, as they come.
func (c *Client) AllEvents(ctx context.Context, follow bool, yield func(Event) error) error {
	path := "/v1/cluster/events"
	if follow {
		path += "?follow=1"
	}
	return c.events(ctx, path, yield)
}
