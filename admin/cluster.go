package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ircferry/ircferry/handoff"
)

// Others are the other proxies of the cluster.
type Others interface {
	// Cluster is what is known of them; nil: this proxy is alone.
	Cluster() *Cluster
	// Get asks one of them for a document of this API; the caller closes it. An error is *Error if it was said by the other.
	Get(ctx context.Context, member, path string) (io.ReadCloser, error)
	// Tell tells all of them what an operator has just set, and answers who could not be told: he hears of it when he is back.
	Tell(ctx context.Context) (untold []string)
}

// Cluster is all proxies, as this one knows them.
type Cluster struct {
	Name    string            `json:"name"` // of this proxy
	Label   string            `json:"label"`
	Members []Member          `json:"members"` // by name, this proxy among them
	Wanted  int               `json:"wanted"`  // how many should be there, this one among them, as far as join leads to addresses
	Missing []string          `json:"missing"` // of these: addresses at which nobody is, and what leads nowhere
	Refused map[string]uint64 `json:"refused_total"`
}

// Member is one proxy.
type Member struct {
	Name     string         `json:"name"`
	Self     bool           `json:"self,omitempty"`
	State    string         `json:"state"` // alive | unheard | lost | left
	Since    time.Time      `json:"since"` // of the state
	Seen     time.Time      `json:"seen"`  // its last sign of life
	Gossip   string         `json:"gossip"`
	RPC      string         `json:"rpc"`
	Instance string         `json:"instance"`
	Version  string         `json:"version"`
	Pools    string         `json:"pools"`            // checksum of what its pools are
	Sessions int            `json:"sessions"`         // when it was asked last
	Backends map[string]int `json:"backends"`         // of these, by "pool/name"
	Keys     []string       `json:"keys"`             // ids of its keys of the gossip, the one that seals first
	Tickets  []string       `json:"tickets"`          // ids of its secrets of TLS tickets, likewise
	Differs  []string       `json:"differs"`          // what it has otherwise than this one: pools, keys, tickets, version
	Serves   []string       `json:"serves,omitempty"` // sentences: which pools it serves from another backend than this one
	Twice    bool           `json:"twice,omitempty"`  // another proxy has the same name
	Error    string         `json:"error,omitempty"`  // why it did not answer when it was asked last
}

// There reports whether a member counts as one that is there.
func (m Member) There() bool { return m.State == "alive" || m.State == "unheard" }

// Proxy is one proxy's part of what all were asked.
type Proxy struct {
	Name    string       `json:"name,omitempty"` // missing: this proxy is alone
	Self    bool         `json:"self,omitempty"`
	State   string       `json:"state,omitempty"` // as of a member
	Seen    time.Time    `json:"seen,omitzero"`
	Error   string       `json:"error,omitempty"` // why there is nothing else
	Code    Code         `json:"code,omitempty"`  // of an error that it has answered; missing: it has not answered at all
	Status  *Status      `json:"status,omitempty"`
	Page    *SessionPage `json:"page,omitempty"`
	Session *Session     `json:"session,omitempty"`
}

// Proxies is what all were asked, this one first and then by name.
type Proxies struct {
	Proxies []Proxy `json:"proxies"`
}

// Unanswered are those who did not answer.
func (p Proxies) Unanswered() (names []string) {
	for _, x := range p.Proxies {
		if x.Error != "" && x.Code == "" {
			names = append(names, x.Name)
		}
	}
	return names
}

// othersTime is how long another proxy has for an answer to who wants to see all.
const othersTime = 2 * time.Second

func (s *Server) cluster() *Cluster {
	if s.opt.Others == nil {
		return nil
	}
	return s.opt.Others.Cluster()
}

func (s *Server) getCluster(*http.Request) (any, error) {
	c := s.cluster()
	if c == nil {
		return nil, errAlone
	}
	return c, nil
}

var errAlone = fail(CodeUnsupported, "cluster in the configuration makes it one of several", "this proxy is alone")

func (s *Server) getAllStatus(r *http.Request) (any, error) {
	st := s.Status()
	return s.all(r.Context(), "/v1/status", Proxy{Status: &st}, func(p *Proxy) any { p.Status = new(Status); return p.Status }), nil
}

func (s *Server) getAllSessions(r *http.Request) (any, error) {
	ours, err := s.getSessions(r)
	if err != nil {
		return nil, err
	}
	page := ours.(SessionPage)
	return s.all(r.Context(), "/v1/sessions?"+r.URL.RawQuery, Proxy{Page: &page}, func(p *Proxy) any { p.Page = new(SessionPage); return p.Page }), nil
}

// getAllSession answers who has the session; who knows of none, or could not be asked, has an error.
func (s *Server) getAllSession(r *http.Request) (any, error) {
	self := Proxy{}
	if x, err := s.getSession(r); err != nil {
		self.Error, self.Code = err.Error(), asError(err).Code
	} else {
		session := x.(Session)
		self.Session = &session
	}
	path := "/v1/sessions/" + url.PathEscape(r.PathValue("id"))
	return s.all(r.Context(), path, self, func(p *Proxy) any { p.Session = new(Session); return p.Session }), nil
}

// whose adds to a refusal because of users who did not come in here by which other proxies they did: each moves its own.
func (s *Server) whose(b Backend, err error) error {
	var r *handoff.Refused
	c := s.cluster()
	if c == nil || !errors.As(err, &r) || r.Strangers == 0 {
		return err
	}
	var words []string
	for _, m := range c.Members {
		if n := m.Backends[b.FullName()]; n > 0 && !m.Self && m.There() {
			words = append(words, fmt.Sprintf("%d by proxy %s", n, m.Name))
		}
	}
	if len(words) == 0 {
		return err
	}
	return &Error{Code: CodeRefused, Message: r.Reason + "; of " + b.FullName() + "'s clients came in " + strings.Join(words, ", "),
		Hint: "each proxy moves its own users only; let all clients come in by one of them, or say --allow-visible"}
}

// all asks everybody else at the same time; into says where of a proxy's part its answer goes.
func (s *Server) all(ctx context.Context, path string, self Proxy, into func(*Proxy) any) Proxies {
	c := s.cluster()
	if c == nil {
		self.Self = true
		return Proxies{Proxies: []Proxy{self}}
	}
	parts := []Proxy{self}
	for _, m := range c.Members {
		if m.Self {
			parts[0].Name, parts[0].Self, parts[0].State, parts[0].Seen = m.Name, true, m.State, m.Seen
		} else if m.State != "left" {
			parts = append(parts, Proxy{Name: m.Name, State: m.State, Seen: m.Seen})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, othersTime)
	defer cancel()
	var asked sync.WaitGroup
	for i := range parts[1:] {
		p := &parts[i+1]
		asked.Go(func() { s.askOther(ctx, path, p, into) })
	}
	asked.Wait()
	return Proxies{Proxies: parts}
}

func (s *Server) askOther(ctx context.Context, path string, p *Proxy, into func(*Proxy) any) {
	answered := Proxy{}
	body, err := s.opt.Others.Get(ctx, p.Name, path)
	if err == nil {
		defer body.Close()
		err = json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(into(&answered))
	}
	if err != nil {
		p.Error = err.Error()
		var said *Error
		if errors.As(err, &said) {
			p.Code = said.Code
		}
		return
	}
	p.Status, p.Page, p.Session = answered.Status, answered.Page, answered.Session
}

// Reading is what another proxy may ask: the documents, and nothing that changes anything. What all are asked is not among it, so that no question goes round.
func (s *Server) Reading() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		if r.method == http.MethodGet && !strings.HasPrefix(r.path, "/v1/cluster") {
			mux.HandleFunc(r.method+" "+r.path, r.serve)
		}
	}
	return s.ending(mux)
}

// memberWords is how a proxy is, for the page.
func memberWords(m Member) word {
	switch {
	case m.Twice:
		return word{"two have this name", "bad"}
	case m.State == "lost":
		return word{"lost", "bad"}
	case m.State == "left":
		return word{"has left", "dim"}
	case m.State == "unheard":
		return word{"answers, the gossip does not reach it", "warn"}
	case m.Error != "":
		return word{"does not answer", "warn"}
	}
	return word{"is there", "good"}
}

// clusterWarnings says in sentences what in a cluster needs an operator's eye.
func clusterWarnings(c *Cluster) (w []string) {
	if c == nil {
		return nil
	}
	if len(c.Missing) > 0 {
		w = append(w, "of the proxies that join names are missing: "+strings.Join(c.Missing, ", "))
	}
	for _, m := range c.Members {
		switch {
		case m.State == "lost":
			w = append(w, fmt.Sprintf("proxy %s is lost since %s ago: %s", m.Name, time.Since(m.Since).Round(time.Second), orElse(m.Error, "nothing is heard of it")))
		case m.State == "unheard":
			w = append(w, fmt.Sprintf("proxy %s answers, but the gossip does not reach it: is UDP and TCP to %s let through?", m.Name, m.Gossip))
		case m.State == "alive" && m.Error != "":
			w = append(w, fmt.Sprintf("proxy %s does not answer: %s", m.Name, m.Error))
		}
		if m.Twice {
			w = append(w, fmt.Sprintf("two proxies have the name %s: give one of them another (cluster.name)", m.Name))
		}
		for _, text := range m.Serves {
			if m.There() {
				w = append(w, fmt.Sprintf("proxy %s serves %s: their new clients do not meet (ferryctl drain moves the users of one)", m.Name, text))
			}
		}
		for _, what := range m.Differs {
			if text := differences[what]; text != "" && m.There() {
				w = append(w, fmt.Sprintf("proxy %s has other %s", m.Name, text))
			}
		}
	}
	return w
}

// Differences are what Member.Differs may name.
var Differences = []string{"pools", "keys", "tickets", "version"}

// differences are what a person hears of. Other versions are no warning: that is how one upgrades.
var differences = map[string]string{
	"pools":   "pools than this one: their names, kinds, backends or weights (ferryctl status shows both)",
	"keys":    "keys of the gossip than this one, or another one that seals: ferryctl cluster keys show",
	"tickets": "secrets of TLS tickets than this one: clients that come there must shake hands anew",
}
