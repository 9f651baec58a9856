package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/admin"
)

// The key of the gossip is changed at all proxies, step by step; a step that would cut somebody off is refused, and one that some have not done says so.
func TestKeysOfTheClusterChange(t *testing.T) {
	f := newFleet(t)
	one := startTestDaemon(t, f.member(testConfig(t, nil), 1, 2))
	two := startTestDaemon(t, f.member(testConfig(t, nil), 2, 2))
	awaitCluster(t, one, "both see each other", alive(2))
	awaitCluster(t, two, "both see each other", alive(2))
	ask, ctx := client(t, one), withRoom(t)
	have := func(want ...string) {
		t.Helper()
		done, err := ask.ClusterKeys(ctx)
		if err != nil || len(done.Proxies) != 2 {
			t.Fatalf("%+v, %v", done, err)
		}
		for _, p := range done.Proxies {
			if !slices.Equal(p.Keys, want) || p.Error != "" {
				t.Errorf("%s has %v (%s), want %v", p.Name, p.Keys, p.Error, want)
			}
		}
	}
	change := func(verb, id string) (admin.KeysDone, error) {
		done, err := ask.ChangeClusterKeys(ctx, admin.KeysRequest{Verb: verb, ID: id})
		if err != nil {
			return admin.KeysDone{}, err
		}
		return *done.Keys, nil
	}
	first, _ := ask.ClusterKeys(ctx)
	old := first.Proxies[0].Keys[0]
	if _, err := change("remove", old); err == nil || !strings.Contains(err.Error(), "seals with key "+old) {
		t.Errorf("the key that seals is removed: %v", err)
	}
	if _, err := change("use", "00000000"); err == nil || !strings.Contains(err.Error(), "does not have key 00000000") {
		t.Errorf("a key that nobody has is used: %v", err)
	}
	done, err := change("add", "")
	if err != nil || done.ID == "" {
		t.Fatalf("%+v, %v", done, err)
	}
	have(old, done.ID)
	if _, err := change("use", done.ID); err != nil {
		t.Fatal(err)
	}
	have(done.ID, old)
	if _, err := change("remove", old); err != nil {
		t.Fatal(err)
	}
	have(done.ID)
	for _, d := range []*daemon{one, two} {
		if text := readAll(t, d.cfg.Load().Cluster.KeyFile); !strings.Contains(text, "# Keys of the gossip") || strings.Contains(text, testKey) {
			t.Error("the old key is still in the file")
		}
	}

	// One of them cannot write its file: the others have it, and the step can be repeated.
	file := two.cfg.Load().Cluster.KeyFile
	text := readAll(t, file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	done, err = change("add", "")
	if err != nil || done.Proxies[0].Error != "" || !strings.Contains(done.Proxies[1].Error, "cluster.key_file") {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := change("use", done.ID); err == nil || !strings.Contains(err.Error(), "proxy ferry2 does not have key "+done.ID) {
		t.Errorf("a key that one has not is used: %v", err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	// One is missing.
	two.others.stop(expired())
	awaitCluster(t, one, "ferry2 is missing", func(c *admin.Cluster) bool { return len(c.Missing) > 0 })
	for _, verb := range []string{"use", "remove"} {
		if _, err := change(verb, done.ID); err == nil || !strings.Contains(err.Error(), "are missing: "+f.gossip(2)) {
			t.Errorf("%s with one missing: %v", verb, err)
		}
	}
	if done, err := change("add", ""); err != nil || len(done.Missing) != 1 {
		t.Errorf("add with one missing: %+v, %v", done, err)
	}
}

func readAll(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
