package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Public is the read-only port: /metrics, /healthz, /readyz and a status page at /. It shows no nick, address of a client, session
// or key, and changes nothing, whatever is asked of it.
type Public struct {
	Status   func() Status       // Server.Status
	Gatherer prometheus.Gatherer // what /metrics shows
	Alive    func() error        // nil, or why the event loops do not turn; nil func: not asked
	Log      *slog.Logger
}

// Handler returns the port's handler.
func (p Public) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 8, Timeout: 10 * time.Second}))
	mux.HandleFunc("GET /healthz", p.healthz)
	mux.HandleFunc("GET /readyz", p.readyz)
	mux.HandleFunc("GET /{$}", p.page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// Server returns an HTTP server with the limits that a port open to strangers needs. The caller serves and shuts it down.
func (p Public) Server() *http.Server {
	log := p.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &http.Server{
		Handler:           p.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// healthz is for whoever would restart the process: 503 only if it cannot do its work any more.
func (p Public) healthz(w http.ResponseWriter, r *http.Request) {
	var err error
	if p.Alive != nil {
		err = p.Alive()
	}
	verdict(w, err)
}

// readyz is for whoever sends clients here.
func (p Public) readyz(w http.ResponseWriter, r *http.Request) { verdict(w, Ready(p.Status())) }

func verdict(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Ready reports why new clients should not be sent here, or nil. They should not
//
//   - while the daemon stops,
//   - when no listener accepts,
//   - when no pool that an accepting listener leads to can take a client.
//
// One dead pool beside a working one does not take the whole daemon out of service: readiness is one answer for all
// listeners, and the working pool's clients would pay for it. A pool in the middle of a move counts as able, because its new
// clients wait for the end of the move, which is what the daemon is for.
func Ready(st Status) error {
	if st.State != "running" {
		return errors.New("the daemon is " + st.State)
	}
	pools := map[string]Pool{}
	for _, p := range st.Pools {
		pools[p.Name] = p
	}
	var dead []string
	accepting := 0
	for _, l := range st.Listeners {
		if !l.Accepting {
			continue
		}
		accepting++
		p := pools[l.Pool]
		if p.Gated || p.usable() {
			return nil
		}
		if !slices.Contains(dead, l.Pool) {
			dead = append(dead, l.Pool)
		}
	}
	if accepting == 0 {
		return errors.New("no listener accepts")
	}
	return fmt.Errorf("no usable backend in pool %s", strings.Join(dead, ", "))
}
