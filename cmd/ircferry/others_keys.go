package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/ircferry/ircferry/admin"
	"github.com/ircferry/ircferry/internal/cluster"
)

// The keys of the gossip are changed at all proxies by RPC, step by step: a key is known to all before it seals anywhere, and seals nowhere before it is
// forgotten anywhere. Each step may be repeated.

// pathKeys is where another proxy asks for it.
const pathKeys = "/cluster/v1/keys"

// keysAnswer is one proxy's keys behind a change; an error is one of the change.
type keysAnswer struct {
	Keys  []string `json:"keys"`
	Error string   `json:"error,omitempty"`
}

// answerKeys changes the keys of this proxy for another one.
func (o *others) answerKeys(w http.ResponseWriter, r *http.Request) {
	m := o.current()
	var asked admin.KeysRequest
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || m == nil {
		http.Error(w, "the request cannot be read", http.StatusBadRequest)
		return
	}
	answer := keysAnswer{}
	if err := o.changeOwnKeys(m, asked, "proxy "+cluster.Asker(r.Context())); err != nil {
		answer.Error = err.Error()
	}
	answer.Keys = m.KeyIDs()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the other one may be gone
}

// changeOwnKeys changes those of this proxy; actor stands in the log.
func (o *others) changeOwnKeys(m *cluster.Cluster, r admin.KeysRequest, actor string) (err error) {
	id := r.ID
	switch r.Verb {
	case "":
		return nil
	case "add":
		key, err := cluster.ParseKey(r.Key)
		if err != nil {
			return err
		}
		id = cluster.KeyID(key)
		if err := m.AddKey(key); err != nil {
			return err
		}
	case "use":
		err = m.UseKey(id)
	case "remove":
		err = m.RemoveKey(id)
	default:
		err = fmt.Errorf("this proxy does not know the verb %q", r.Verb)
	}
	if err == nil {
		o.d.log.Info("keys of the gossip changed", "component", "cluster", "verb", r.Verb, "key", id, "actor", actor)
		o.talkNow()
	}
	return err
}

// Keys implements admin.Keys.
func (o *others) Keys(ctx context.Context, r admin.KeysRequest) (done admin.KeysDone, err error) {
	m := o.current()
	if m == nil {
		return done, errors.New("this proxy leaves the cluster")
	}
	o.changing.Lock()
	defer o.changing.Unlock()
	if r.Verb == "add" {
		key := cluster.NewKey()
		if r.Key != "" {
			if key, err = cluster.ParseKey(strings.TrimSpace(r.Key)); err != nil {
				return done, &admin.Error{Code: admin.CodeBadRequest, Message: "the key: " + err.Error(), Hint: "openssl rand -base64 32 makes one"}
			}
		}
		r.Key, done.ID = base64.StdEncoding.EncodeToString(key), cluster.KeyID(key)
	}
	before := o.askKeys(ctx, m, admin.KeysRequest{})
	missing := m.Wanted().Missing
	if no := keysRefusal(r, before, missing); no != nil {
		return done, no
	}
	done.Missing, done.Proxies = missing, before
	if r.Verb != "" {
		done.Proxies = o.askKeys(ctx, m, r)
	}
	return done, nil
}

// keysRefusal says why a change would cut somebody off.
func keysRefusal(r admin.KeysRequest, all []admin.ProxyKeys, missing []string) error {
	if r.Verb != "use" && r.Verb != "remove" {
		return nil
	}
	if len(missing) > 0 {
		return refused(fmt.Sprintf("of the proxies that join names are missing: %s; who comes back could not read the others", strings.Join(missing, ", ")),
			"bring them back, or take them out of join at all proxies and reload")
	}
	for _, p := range all {
		at := slices.Index(p.Keys, r.ID)
		switch {
		case p.Error != "":
			return refused(fmt.Sprintf("proxy %s does not answer: %s", p.Name, p.Error), "bring it back, and repeat")
		case r.Verb == "use" && at < 0:
			return refused(fmt.Sprintf("proxy %s does not have key %s, and could not read the others", p.Name, r.ID), "ferryctl cluster keys add --file with that key, or use another one")
		case r.Verb == "remove" && at == 0:
			return refused(fmt.Sprintf("proxy %s seals with key %s", p.Name, r.ID), "ferryctl cluster keys use another one first")
		}
	}
	return nil
}

// askKeys has all proxies do it, this one too, and answers what they have then.
func (o *others) askKeys(ctx context.Context, m *cluster.Cluster, r admin.KeysRequest) (all []admin.ProxyKeys) {
	ctx, cancel := context.WithTimeout(ctx, keysTime)
	defer cancel()
	own := admin.ProxyKeys{Name: m.Name(), Self: true}
	var mu sync.Mutex
	names := m.Others()
	wrong := m.Each(names, func(name string) error {
		var answer keysAnswer
		if err := m.Ask(ctx, name, pathKeys, r, &answer); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, admin.ProxyKeys{Name: name, Keys: orNone(answer.Keys), Error: answer.Error})
		return nil
	})
	for name, err := range wrong {
		all = append(all, admin.ProxyKeys{Name: name, Keys: []string{}, Error: err.Error()})
	}
	if err := o.changeOwnKeys(m, r, "operator"); err != nil {
		own.Error = err.Error()
	}
	own.Keys = m.KeyIDs()
	slices.SortFunc(all, func(a, b admin.ProxyKeys) int { return strings.Compare(a.Name, b.Name) })
	return append([]admin.ProxyKeys{own}, all...)
}

// keysTime bounds a change at all: each writes a file.
const keysTime = 2 * cluster.AskTime
