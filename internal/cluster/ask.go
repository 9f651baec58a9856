package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// maxAnswer bounds a document that another proxy answers: a full page of sessions with room to spare.
const maxAnswer = 64 << 20

// AskTime is how long a proxy has to answer somebody who wants to see all.
const AskTime = 2 * time.Second

// ErrUnknown is in the errors of a question to a member that nobody knows.
var ErrUnknown = errors.New("no such member")

// dial connects to a member, which is the host of the URL.
func (r *rpc) dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, _, _ := strings.Cut(address, ":")
	m, ok := r.c.members.get(name)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	return d.DialContext(ctx, network, m.RPC)
}

// Do asks a member and returns the body of a good answer, which the caller closes. An error says what the member has said, or why it could not be asked.
func (c *Cluster) Do(ctx context.Context, member, method, path string, body io.Reader) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, method, "https://"+member+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", member, err)
	}
	q.Header.Set(headerMember, c.name)
	q.Header.Set(headerLabel, c.config().Label)
	answer, err := c.rpc.client.Load().Do(q)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		err = fmt.Errorf("ask %s: %w", member, err)
		if !errors.Is(ctx.Err(), context.Canceled) { // then nobody wanted to know any more
			c.members.asked(member, err)
		}
		return nil, err
	}
	if answer.StatusCode == http.StatusForbidden {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10)) //nolint:errcheck // as much as there is
		err := fmt.Errorf("ask %s: it refuses: %s", member, strings.TrimSpace(string(text)))
		c.members.asked(member, err)
		return nil, err
	}
	c.members.asked(member, nil)
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	return nil, saidNo(member, answer)
}

// Answer is an answer that is none: what a member has said instead, as its document.
type Answer struct {
	Member   string
	Status   int
	Document []byte
}

func (a *Answer) Error() string {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(a.Document, &said) == nil && said.Error != "" {
		return fmt.Sprintf("%s: %s", a.Member, said.Error)
	}
	return fmt.Sprintf("%s answers with HTTP status %d", a.Member, a.Status)
}

func saidNo(member string, answer *http.Response) error {
	document, err := io.ReadAll(io.LimitReader(answer.Body, maxQuestion))
	if err != nil {
		return fmt.Errorf("ask %s: %w", member, err)
	}
	return &Answer{Member: member, Status: answer.StatusCode, Document: document}
}

// Ask asks a member and decodes its answer. Without a question it is a GET.
func (c *Cluster) Ask(ctx context.Context, member, path string, question, answer any) error {
	method, body := http.MethodGet, io.Reader(nil)
	if question != nil {
		b, err := json.Marshal(question)
		if err != nil {
			return fmt.Errorf("ask %s: %w", member, err)
		}
		method, body = http.MethodPost, bytes.NewReader(b)
	}
	got, err := c.Do(ctx, member, method, path, body)
	if err != nil {
		return err
	}
	defer got.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(got, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("read answer of %s: %w", member, err)
	}
	return nil
}

// Others are the members other than this one that are, or may be, there: those that have not said that they go.
func (c *Cluster) Others() (names []string) {
	for _, m := range c.members.list() {
		if !m.Self && m.State != Left {
			names = append(names, m.Name)
		}
	}
	return names
}

// Each calls f for all of these at the same time, waits, and answers what went wrong.
func (c *Cluster) Each(names []string, f func(member string) error) map[string]error {
	var asked sync.WaitGroup
	var mu sync.Mutex
	wrong := map[string]error{}
	for _, name := range names {
		asked.Go(func() {
			if err := f(name); err != nil {
				mu.Lock()
				defer mu.Unlock()
				wrong[name] = err
			}
		})
	}
	asked.Wait()
	return wrong
}

// pathLeave is the one path that the cluster itself answers.
const pathLeave = "/cluster/v1/leave"

// sayFarewell tells the others that this one goes. Who does not hear it will miss it for a while.
func (c *Cluster) sayFarewell(ctx context.Context) {
	wrong := c.Each(c.Others(), func(name string) error { return c.Ask(ctx, name, pathLeave, struct{}{}, nil) })
	for name, err := range wrong {
		c.log.Debug("a member does not hear that this one goes", "member", name, "err", err)
	}
}
