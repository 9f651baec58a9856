package admin

import (
	"context"
	"net/http"
)

// KeysRequest asks to change the keys of the gossip at all proxies of the cluster.
type KeysRequest struct {
	Verb string `json:"verb"`          // add | use | remove
	ID   string `json:"id,omitempty"`  // of use and remove
	Key  string `json:"key,omitempty"` // of add, in base64; "": a new one is made
}

func (r KeysRequest) object() string    { return r.ID }
func (r KeysRequest) arguments() string { return r.Verb }

// ProxyKeys is the keys of one proxy.
type ProxyKeys struct {
	Name  string   `json:"name"`
	Self  bool     `json:"self,omitempty"`
	Keys  []string `json:"keys"`            // ids, the one that seals first
	Error string   `json:"error,omitempty"` // why it could not be asked, or has not done it
}

// KeysDone is the keys of all proxies, behind a change if one was asked for.
type KeysDone struct {
	ID      string      `json:"id,omitempty"` // of the key that was added
	Proxies []ProxyKeys `json:"proxies"`
	Missing []string    `json:"missing"` // proxies that should be there and are not
}

// Keys carries changes of the gossip's keys out.
type Keys interface {
	// Keys answers the keys of all proxies, behind the change of r; without a verb nothing is changed. A refusal is an *Error with CodeRefused, and nothing was changed.
	Keys(ctx context.Context, r KeysRequest) (KeysDone, error)
}

func (s *Server) getKeys(r *http.Request) (any, error) {
	return s.keys(r.Context(), KeysRequest{})
}

func (s *Server) keys(ctx context.Context, r KeysRequest) (KeysDone, error) {
	if s.opt.Others == nil || s.opt.Keys == nil || s.cluster() == nil {
		return KeysDone{}, errAlone
	}
	done, err := s.opt.Keys.Keys(ctx, r)
	done.Proxies, done.Missing = orEmpty(done.Proxies), orEmpty(done.Missing)
	return done, err
}

func (s *Server) changeKeys(ctx context.Context, r KeysRequest, _ Peer) (Done, error) {
	switch {
	case r.Verb != "add" && r.Verb != "use" && r.Verb != "remove":
		return Done{}, fail(CodeBadRequest, "use add, use or remove", "verb %q is not known", r.Verb)
	case r.Verb != "add" && r.ID == "":
		return Done{}, fail(CodeBadRequest, "ferryctl cluster keys show lists them", "%s needs the id of a key", r.Verb)
	}
	done, err := s.keys(ctx, r)
	if err != nil {
		return Done{}, err
	}
	return Done{Keys: &done}, nil
}

// ClusterKeys answers the keys of all proxies.
func (c *Client) ClusterKeys(ctx context.Context) (KeysDone, error) {
	return get[KeysDone](ctx, c, "/v1/cluster/keys")
}

// ChangeClusterKeys adds, uses or removes a key at all proxies.
func (c *Client) ChangeClusterKeys(ctx context.Context, r KeysRequest) (Done, error) {
	return post(ctx, c, "/v1/keys", r)
}
