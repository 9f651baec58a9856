package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options is what the API is wired to. A nil part answers its paths with the code unsupported.
type Options struct {
	Process  Process
	Pools    Pools
	Sessions Sessions
	Moves    Moves
	Finder   Finder
	Certs    Certs
	Closings Closings
	Upgrader Upgrader
	Keys     Keys
	Others   Others                                      // nil: this proxy is alone
	Enter    func(verb string) (leave func(), err error) // asked before a command; nil: it always may
	Events   *Events                                     // nil: a ring of its own
	Metrics  *Metrics                                    // nil: not counted
	Log      *slog.Logger
}

// Server is the admin API on its unix socket.
//
// Each request runs in a goroutine of net/http, which may block on the interfaces of Options; each move that was started here or
// given to Track has one goroutine more, which lives until the move has ended or the server is shut down.
type Server struct {
	opt   Options
	audit audit
	http  *http.Server

	retired atomic.Bool

	ctx    context.Context // over when the server shuts down: ends followers, long polls and trackers
	cancel context.CancelFunc
	work   sync.WaitGroup // trackers

	mu      sync.Mutex
	tracked map[string]bool       // moves that have or had a tracker, so that none is counted twice; some 50 bytes for each
	readers int                   // followers of events
	silent  map[net.Conn]struct{} // connections that have not asked anything yet
}

// New returns a server; Serve starts it.
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Events == nil {
		opt.Events = NewEvents(1024)
	}
	s := &Server{opt: opt, tracked: map[string]bool{}, silent: map[net.Conn]struct{}{}}
	s.audit = audit{log: opt.Log.With("component", "audit"), metrics: opt.Metrics, events: opt.Events}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.handler(),
		ConnContext:       withPeer,
		ConnState:         s.noteSilent,
		ReadHeaderTimeout: 5 * time.Second, // with ReadTimeout: a client that says nothing holds a descriptor no longer than this
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(opt.Log.Handler(), slog.LevelWarn),
	}
	return s
}

// Serve answers on l until Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) && !s.retired.Load() {
		return fmt.Errorf("serve admin API on %s: %w", l.Addr(), err)
	}
	return nil
}

// Retire lets nobody in any more at l, which is Serve's, and no connection ask twice: another process answers there from now on. Requests that run
// go on.
func (s *Server) Retire(l net.Listener) {
	s.retired.Store(true)
	Leave(l)
	l.Close() //nolint:errcheck // it is another's
	s.http.SetKeepAlivesEnabled(false)
}

// Shutdown ends the API: new requests are refused, followers and long polls end, commands that run are waited for until ctx is over.
// Moves go on. It may be called once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.cancel()
	s.closeSilent()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	s.work.Wait()
	return err
}

// noteSilent keeps the set of connections without a request: http.Server.Shutdown would wait 5 s for each to say something.
func (s *Server) noteSilent(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(s.silent, c)
	case s.ctx.Err() != nil:
		c.Close()
	default:
		s.silent[c] = struct{}{}
	}
}

func (s *Server) closeSilent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.silent {
		c.Close()
	}
}

// route is one path of the API.
type route struct {
	method, path string
	serve        http.HandlerFunc
}

func (s *Server) routes() []route {
	return []route{
		{"GET", "/v1/version", s.answer(s.getVersion)},
		{"GET", "/v1/status", s.answer(s.getStatus)},
		{"GET", "/v1/backends", s.answer(s.getBackends)},
		{"GET", "/v1/certs", s.answer(s.getCerts)},
		{"GET", "/v1/sessions", s.answer(s.getSessions)},
		{"GET", "/v1/sessions/{id}", s.answer(s.getSession)},
		{"GET", "/v1/moves", s.answer(s.getMoves)},
		{"GET", "/v1/moves/{id}", s.answer(s.getMove)},
		{"GET", "/v1/events", s.getEvents},
		{"GET", "/v1/cluster", s.answer(s.getCluster)},
		{"GET", "/v1/cluster/status", s.answer(s.getAllStatus)},
		{"GET", "/v1/cluster/sessions", s.answer(s.getAllSessions)},
		{"GET", "/v1/cluster/sessions/{id}", s.answer(s.getAllSession)},
		{"GET", "/v1/cluster/events", s.getAllEvents},
		{"GET", "/v1/cluster/keys", s.answer(s.getKeys)},
		{"POST", "/v1/drain", command(s, "drain", s.drain)},
		{"POST", "/v1/hold", command(s, "hold", s.hold)},
		{"POST", "/v1/pause", command(s, "pause", s.pause)},
		{"POST", "/v1/resume", command(s, "resume", s.resume)},
		{"POST", "/v1/release", command(s, "release", s.release)},
		{"POST", "/v1/cancel", command(s, "cancel", s.cancelMove)},
		{"POST", "/v1/undrain", command(s, "undrain", s.undrain)},
		{"POST", "/v1/maint", command(s, "maint", s.maint)},
		{"POST", "/v1/ready", command(s, "ready", s.ready)},
		{"POST", "/v1/reload", command(s, "reload", s.reload)},
		{"POST", "/v1/keys", command(s, "keys", s.changeKeys)},
		{"POST", "/v1/upgrade", command(s, "upgrade", s.upgrade)},
	}
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string]string{}
	for _, r := range s.routes() {
		mux.HandleFunc(r.method+" "+r.path, r.serve)
		methods[r.path] = r.method
		mux.HandleFunc(r.path, func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Allow", r.method)
			writeJSON(w, http.StatusMethodNotAllowed, fail(CodeBadRequest, "use "+r.method, "%s %s is not possible", q.Method, q.URL.Path))
		})
	}
	paths := make([]string, 0, len(methods))
	for p := range methods {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
		writeError(w, fail(CodeNotFound, "paths are "+strings.Join(paths, ", "), "path %s does not exist", q.URL.Path))
	})
	return s.known(mux)
}

// known lets only peers through of whom the kernel says who they are.
func (s *Server) known(next http.Handler) http.Handler {
	next = s.ending(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := peerFrom(r.Context()); !ok {
			writeJSON(w, http.StatusForbidden, fail(CodeRefused, "connect to the unix socket directly", "the peer's credentials are not known"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ending bounds how long a request may keep others' shutdown waiting: its context ends with the server.
func (s *Server) ending(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// answer serves a GET: what do returns is the document.
func (s *Server) answer(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		document, err := do(r)
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, document)
	}
}

var errUnsupported = fail(CodeUnsupported, "", "this daemon cannot do that")
