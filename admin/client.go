package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// DefaultSocket is where the daemon's admin socket is unless the configuration says otherwise.
const DefaultSocket = "/run/ircferry/admin.sock"

// maxAnswer bounds a document that the client reads: a full page of sessions with room to spare.
const maxAnswer = 64 << 20

// ErrUnreachable is in the errors of a Client when nobody answered at the socket.
var ErrUnreachable = errors.New("daemon not reachable")

// Client asks a running daemon. Any goroutine may call its methods. An error is *Error if the daemon answered one, wraps
// ErrUnreachable if it could not be asked, and is ctx's if that was over first.
//
//	c := admin.NewClient(admin.DefaultSocket)
//	done, err := c.Drain(ctx, admin.DrainRequest{Backend: "main/a", To: "b"})
//	if err != nil { ... }
//	move, err := c.Follow(ctx, done.Move.ID, nil) // until it is done, reverted, failed or parked
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the daemon at the unix socket. It connects when it is asked something.
func NewClient(socket string) *Client {
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: 5 * time.Second}
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConns:    4,
		IdleConnTimeout: time.Minute,
	}}}
}

// Socket is the path that the client asks at.
func (c *Client) Socket() string { return c.socket }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Version answers what the daemon runs.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return get[Version](ctx, c, "/v1/version")
}

// Status answers the whole daemon in one document.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Backends lists all backends, by pool.
func (c *Client) Backends(ctx context.Context) ([]Backend, error) {
	return get[[]Backend](ctx, c, "/v1/backends")
}

// Certs lists the certificates of the listeners.
func (c *Client) Certs(ctx context.Context) ([]Certificate, error) {
	return get[[]Certificate](ctx, c, "/v1/certs")
}

// SessionQuery chooses sessions; empty fields choose all.
type SessionQuery struct {
	Backend string // "pool/name"
	Nick    string // asks the native backends
	State   string
	Limit   int    // sessions in a page; 0: 100
	After   string // SessionPage.Next of the page before
}

// Sessions answers one page of sessions.
func (c *Client) Sessions(ctx context.Context, q SessionQuery) (SessionPage, error) {
	return get[SessionPage](ctx, c, "/v1/sessions?"+q.values().Encode())
}

func (q SessionQuery) values() url.Values {
	v := url.Values{}
	for key, value := range map[string]string{"backend": q.Backend, "nick": q.Nick, "state": q.State, "after": q.After} {
		if value != "" {
			v.Set(key, value)
		}
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Session answers the session with this id, or of the user with this nick.
func (c *Client) Session(ctx context.Context, idOrNick string) (Session, error) {
	return get[Session](ctx, c, "/v1/sessions/"+url.PathEscape(idOrNick))
}

// Moves lists moves, newest first.
func (c *Client) Moves(ctx context.Context) ([]Move, error) { return get[[]Move](ctx, c, "/v1/moves") }

// Move answers a move as it is now.
func (c *Client) Move(ctx context.Context, id string) (Move, error) {
	return get[Move](ctx, c, "/v1/moves/"+url.PathEscape(id))
}

// AwaitMove answers a move as soon as it is not at revision after any more, or has ended, or wait is over (at most a minute).
func (c *Client) AwaitMove(ctx context.Context, id, after string, wait time.Duration) (Move, error) {
	v := url.Values{"after": {after}, "wait": {wait.String()}}
	return get[Move](ctx, c, "/v1/moves/"+url.PathEscape(id)+"?"+v.Encode())
}

// Follow waits until a move has ended or is parked and calls seen, if it is not nil, with every picture of it on the way. A
// daemon that was restarted or is briefly away ends it with an error; the move can be followed again.
func (c *Client) Follow(ctx context.Context, id string, seen func(Move)) (Move, error) {
	rev := ""
	for {
		m, err := c.AwaitMove(ctx, id, rev, 30*time.Second)
		if err != nil {
			return m, err
		}
		if seen != nil {
			seen(m)
		}
		if m.State.Ended() || m.State == "parked" {
			return m, nil
		}
		rev = m.Rev
	}
}

// Drain moves the users of a backend to another; the answer has the move, which goes on, or the plan of a dry run, or, for a
// backend without a driver, its new state.
func (c *Client) Drain(ctx context.Context, r DrainRequest) (Done, error) {
	return post(ctx, c, "/v1/drain", r)
}

// Hold pulls and parks the users of a backend; the answer has the move, which goes on until it is parked.
func (c *Client) Hold(ctx context.Context, r HoldRequest) (Done, error) {
	return post(ctx, c, "/v1/hold", r)
}

// Release pushes the parked users of a backend; the answer has the move, which goes on.
func (c *Client) Release(ctx context.Context, r ReleaseRequest) (Done, error) {
	return post(ctx, c, "/v1/release", r)
}

// Pause holds the clients of a backend for a time; the answer has the move, which goes on until they are held.
func (c *Client) Pause(ctx context.Context, r PauseRequest) (Done, error) {
	return post(ctx, c, "/v1/pause", r)
}

// Resume ends the pause of a backend; the answer has the move, which goes on until it has ended.
func (c *Client) Resume(ctx context.Context, backend string) (Done, error) {
	return post(ctx, c, "/v1/resume", BackendRequest{Backend: backend})
}

// Cancel reverts a move, or pushes parked users back; the answer has the move, which goes on until it has ended.
func (c *Client) Cancel(ctx context.Context, move string) (Done, error) {
	return post(ctx, c, "/v1/cancel", CancelRequest{Move: move})
}

// Undrain makes a drained backend ("pool/name") ready; users who were moved away stay where they are.
func (c *Client) Undrain(ctx context.Context, backend string) (Done, error) {
	return post(ctx, c, "/v1/undrain", BackendRequest{Backend: backend})
}

// Maint takes a backend ("pool/name") out of service; its sessions stay.
func (c *Client) Maint(ctx context.Context, backend string) (Done, error) {
	return post(ctx, c, "/v1/maint", BackendRequest{Backend: backend})
}

// Ready ends drain and maint of a backend ("pool/name").
func (c *Client) Ready(ctx context.Context, backend string) (Done, error) {
	return post(ctx, c, "/v1/ready", BackendRequest{Backend: backend})
}

// Reload makes the daemon read its configuration file again. An error means that nothing was changed.
func (c *Client) Reload(ctx context.Context) (Done, error) {
	return post(ctx, c, "/v1/reload", ReloadRequest{})
}

// Events calls yield with every event after seq (0: all that the daemon still has). With follow it goes on until ctx is over, the daemon
// stops (nil) or yield returns an error, which is returned.
func (c *Client) Events(ctx context.Context, seq uint64, follow bool, yield func(Event) error) error {
	path := "/v1/events?after=" + strconv.FormatUint(seq, 10)
	if follow {
		path += "&follow=1"
	}
	return c.events(ctx, path, yield)
}

func (c *Client) events(ctx context.Context, path string, yield func(Event) error) error {
	body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	dec := json.NewDecoder(body)
	for {
		var ev Event
		err := dec.Decode(&ev)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read events: %w", err)
		}
		if err := yield(ev); err != nil {
			return err
		}
	}
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var document T
	body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return document, err
	}
	return document, read(body, path, &document)
}

func post(ctx context.Context, c *Client, path string, args any) (Done, error) {
	var done Done
	b, err := json.Marshal(args)
	if err != nil {
		return done, fmt.Errorf("write request of %s: %w", path, err)
	}
	body, err := c.do(ctx, http.MethodPost, path, bytes.NewReader(b))
	if err != nil {
		return done, err
	}
	return done, read(body, path, &done)
}

func read(body io.ReadCloser, path string, into any) error {
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("read answer of %s: %w", path, err)
	}
	return nil
}

// do sends a request and returns the body of a good answer; the caller closes it.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://ircferry"+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var e Error
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&e); err != nil || e.Message == "" {
		return nil, fmt.Errorf("ask %s: the answer is %s and no error document", path, resp.Status)
	}
	return nil, &e
}

// unreachable says in an operator's words why nobody answered.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	why := "is the daemon's admin.socket another path? give it with --socket"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "the socket does not exist: the daemon is not running, or its admin.socket is another path"
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "nobody listens there: the daemon is not running"
	case errors.Is(err, fs.ErrPermission):
		why = "this user may not: use sudo, or set admin.group to one of your groups"
	}
	return fmt.Errorf("%w at %s: %s (%w)", ErrUnreachable, c.socket, why, cause(err))
}

// cause leaves the URL, which means nothing on a unix socket, out of an error.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
