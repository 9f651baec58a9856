package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
	"github.com/ircferry/ircferry/internal/config"
)

// patience bounds a wait for what must come: a busy machine takes its time.
const patience = time.Minute

// rig is a cluster on the loopback.
type rig struct {
	t   *testing.T
	dir string
	ca  *certtest.Pair
	n   int // members that were started
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), ca: certtest.NewAuthority(t, "cluster")}
	r.ca.Write(t, r.dir, "ca")
	return r
}

// config is that of a member with a certificate of its own.
func (r *rig) config(name string, join ...*member) config.Cluster {
	r.t.Helper()
	cert, key := r.ca.Issue(r.t, certtest.Options{Names: []string{name}}).Write(r.t, r.dir, name)
	k := config.Cluster{Name: name, Label: "test", Bind: "127.0.0.1:0", KeyFile: writeKeys(r.t, filepath.Join(r.dir, name+".keys"), text(1)),
		RPC: config.ClusterRPC{Listen: "127.0.0.1:0", Cert: cert, Key: key, CA: filepath.Join(r.dir, "ca.pem")}}
	for _, m := range join {
		k.Join = append(k.Join, config.Peer(m.ours.String()))
	}
	return k
}

// member is a Cluster with its log and what it told.
type member struct {
	*Cluster
	t    *testing.T
	text *transcript
	mu   sync.Mutex
	told []Notice
}

func (r *rig) start(k config.Cluster) *member {
	r.t.Helper()
	m, err := r.try(k)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) try(k config.Cluster) (*member, error) {
	m := &member{t: r.t, text: &transcript{}}
	handler := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var question any
		if q.Method == http.MethodPost {
			if err := json.NewDecoder(q.Body).Decode(&question); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		if q.URL.Path == "/no" {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"error":"no such thing"}`)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"to": k.Name, "from": Asker(q.Context()), "question": question, "proto": q.Proto})
	})
	r.n++
	var err error
	m.Cluster, err = Start(Options{Config: k, Said: Said{Instance: fmt.Sprintf("i-%s-%d", k.Name, r.n), Version: "1.0", Pools: "aabb"},
		Log: slog.New(slog.NewTextHandler(m.text, &slog.HandlerOptions{Level: slog.LevelDebug})), Handler: handler, Tell: m.tellMe})
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { m.end(r.t) })
	return m, nil
}

func (m *member) tellMe(n Notice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, n)
}

func (m *member) heard(word, name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, x := range m.told {
		if x.Word == word && x.Member == name {
			n++
		}
	}
	return n
}

func (m *member) end(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.Close(ctx); err != nil {
		t.Errorf("close %s: %v", m.name, err)
	}
	if t.Failed() {
		t.Logf("log of %s:\n%s", m.name, m.text)
	}
}

// die ends the member without a word to anybody.
func (m *member) die() {
	m.stop()
	m.mu.Lock()
	m.Cluster.mu.Lock()
	m.closed = true
	m.Cluster.mu.Unlock()
	m.mu.Unlock()
	m.rpc.server.Close()
	m.list.Shutdown()
	m.ended.Wait()
}

// knows waits until m knows a member in a state.
func (m *member) knows(name string, state State) Member {
	m.t.Helper()
	var got Member
	await(m.t, fmt.Sprintf("%s knows %s as %s", m.name, name, state), func() (ok bool) {
		got, ok = m.members.get(name)
		return ok && got.State == state
	})
	return got
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ours are the goroutines of clusters, memberlist's among them.
func ours() (n int, all string) {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for _, g := range strings.Split(string(buf), "\n\n") {
		if !strings.Contains(g, "testing.") && (strings.Contains(g, "internal/cluster") || strings.Contains(g, "hashicorp/memberlist")) {
			n++
			all += g + "\n\n"
		}
	}
	return n, all
}
