package cluster

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/memberlist"
)

// key is the nth key of tests.
func key(n byte) []byte { return slices.Repeat([]byte{n}, 32) }

func text(n byte) string { return base64.StdEncoding.EncodeToString(key(n)) }

func writeKeys(t *testing.T, path string, lines ...string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	keys, err := ReadKeys(writeKeys(t, path, "# the one that seals", text(1), "", text(2)+"\r", text(1)))
	if err != nil || len(keys) != 2 || keys[0][0] != 1 || keys[1][0] != 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	if ids := KeyIDs(keys); len(ids[0]) != 8 || ids[0] == ids[1] {
		t.Errorf("ids %v", ids)
	}
	for _, c := range []struct {
		name, want string
		lines      []string
	}{
		{"empty", "has no key; openssl rand -base64 32 makes one", []string{"# none yet"}},
		{"no base64", "line 2: it is not base64", []string{text(1), "not-a-key"}},
		{"short", "line 1: a key has 16, 24 or 32 bytes, this one 3", []string{base64.StdEncoding.EncodeToString([]byte("abc"))}},
		{"many", "has 9 keys, at most 8", []string{text(1), text(2), text(3), text(4), text(5), text(6), text(7), text(8), text(9)}},
	} {
		_, err := ReadKeys(writeKeys(t, path, c.lines...))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		for _, l := range c.lines {
			if err != nil && strings.Contains(err.Error(), l) {
				t.Errorf("%s: the error tells what is in the file: %v", c.name, err)
			}
		}
	}
}

// Any set of keys becomes any other while packets are opened; the race detector looks on.
func TestKeysChangeUnderTraffic(t *testing.T) {
	ring, err := memberlist.NewKeyring(nil, key(1))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				for _, k := range ring.GetKeys() {
					_ = k[0]
				}
			}
		}
	})
	for _, set := range [][]byte{{1, 2}, {2, 1}, {2}, {3, 4, 5, 2}, {5, 3}, {3, 1, 2, 4}, {4}} {
		var keys [][]byte
		for _, n := range set {
			keys = append(keys, key(n))
		}
		if err := setKeys(ring, keys); err != nil {
			t.Fatal(set, err)
		}
		got := slices.Clone(ring.GetKeys())
		if got[0][0] != set[0] || len(got) != len(set) {
			t.Errorf("%v became %v", set, KeyIDs(got))
		}
		for _, k := range keys {
			if !slices.ContainsFunc(got, func(g []byte) bool { return g[0] == k[0] }) {
				t.Errorf("%v lost key %d", set, k[0])
			}
		}
	}
	close(stop)
	reader.Wait()
}
