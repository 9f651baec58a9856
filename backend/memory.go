package backend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// memoryFile is the name in the state directory.
const memoryFile = "backends.json"

// memory is what is known over restarts: the admin states of backends and the serving backends of pools. What it knows of backends that
// are not configured it keeps, so that one that comes back after a slip of the pen is still in maint.
type memory struct {
	path string // "": nothing is written; guarded by writing

	mu    sync.Mutex // guards known and proxy; never held during a write to disk
	known remembered
	proxy string // whose acts ours are

	writing sync.Mutex // one write at a time
	written []byte     // what is on disk; guarded by writing
}

// remembered is the file. A state that is Ready is left out.
type remembered struct {
	Version int                   `json:"version"`
	Admin   map[string]AdminState `json:"admin,omitempty"`   // by "pool/name"
	Serving map[string]string     `json:"serving,omitempty"` // backend name by pool

	AdminActs   map[string]Act `json:"admin_acts,omitempty"` // how the above came to be, for other proxies; by the same keys
	ServingActs map[string]Act `json:"serving_acts,omitempty"`
}

// memoryVersion is the version of the file that this program writes and reads.
const memoryVersion = 1

// recall reads what an earlier run remembered. A file that makes no sense is an error, because going on without it would send clients
// to an ircd that is in maintenance.
func recall(dir string) (*memory, error) {
	m := &memory{known: remembered{Version: memoryVersion, Admin: map[string]AdminState{}, Serving: map[string]string{}, AdminActs: map[string]Act{}, ServingActs: map[string]Act{}}}
	if dir == "" {
		return m, nil
	}
	m.path = filepath.Join(dir, memoryFile)
	data, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read admin states: %w", err)
	}
	var r remembered
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read admin states %s: %w; move the file away to start without them", m.path, err)
	}
	if r.Version != memoryVersion {
		return nil, fmt.Errorf("read admin states %s: version %d, this program knows %d; move the file away to start without them",
			m.path, r.Version, memoryVersion)
	}
	for full, a := range r.Admin {
		if _, err := ParseAdmin(string(a)); err != nil {
			return nil, fmt.Errorf("read admin states %s: %s: %w; move the file away to start without them", m.path, full, err)
		}
		m.known.Admin[full] = a
	}
	maps.Copy(m.known.Serving, r.Serving)
	m.takeActs(r.AdminActs, r.ServingActs)
	m.written = data
	return m, nil
}

func (m *memory) adminOf(full string) AdminState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a, ok := m.known.Admin[full]; ok {
		return a
	}
	return Ready
}

func (m *memory) servingOf(pool string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known.Serving[pool]
}

func (m *memory) setAdmin(full string, a AdminState) error {
	m.mu.Lock()
	if was, ok := m.known.Admin[full]; a != was && (ok || a != Ready) {
		m.actLocked(m.known.AdminActs, full, string(a))
	}
	m.adminLocked(full, a)
	m.mu.Unlock()
	return m.write()
}

func (m *memory) setServing(pool, name string) error {
	m.mu.Lock()
	if m.known.ServingActs[pool].Value != name || m.known.Serving[pool] != name { // another one may have been elected since the last act
		m.actLocked(m.known.ServingActs, pool, name)
	}
	m.known.Serving[pool] = name
	m.mu.Unlock()
	return m.write()
}

// noteServing is setServing without the write, for an event loop; somebody else must call write.
func (m *memory) noteServing(pool, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known.Serving[pool] = name
}

// write puts what is known on disk, whole or not at all, and returns when it would survive a loss of power.
func (m *memory) write() error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.path == "" {
		return nil
	}
	m.mu.Lock()
	data, err := json.MarshalIndent(m.known, "", "  ")
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write admin states: %w", err)
	}
	data = append(data, '\n')
	if bytes.Equal(data, m.written) {
		return nil
	}
	if err := replaceFile(m.path, data); err != nil {
		return fmt.Errorf("write admin states: %w", err)
	}
	m.written = data
	return nil
}

// replaceFile writes beside the file, syncs, renames over it, and syncs the directory: at every moment either the old or the new text
// is there.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
