package cluster

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// A key is changed under running members, step by step, and nobody is lost on the way.
func TestKeysChangeStepByStep(t *testing.T) {
	r := newRig(t)
	a := r.start(r.config("a"))
	b := r.start(r.config("b", a))
	a.knows("b", Alive)
	b.knows("a", Alive)
	next := key(2)
	steps := []struct {
		name string
		do   func(*member) error
		want []string
	}{
		{"add", func(m *member) error { return m.AddKey(next) }, []string{KeyID(key(1)), KeyID(next)}},
		{"add again", func(m *member) error { return m.AddKey(next) }, []string{KeyID(key(1)), KeyID(next)}},
		{"use", func(m *member) error { return m.UseKey(KeyID(next)) }, []string{KeyID(next), KeyID(key(1))}},
		{"remove", func(m *member) error { return m.RemoveKey(KeyID(key(1))) }, []string{KeyID(next)}},
		{"remove again", func(m *member) error { return m.RemoveKey(KeyID(key(1))) }, []string{KeyID(next)}},
	}
	for _, s := range steps {
		for _, m := range []*member{a, b} {
			if err := s.do(m); err != nil {
				t.Fatal(s.name, err)
			}
			inFile, err := ReadKeys(m.conf.KeyFile)
			if err != nil || !slices.Equal(KeyIDs(inFile), s.want) || !slices.Equal(m.KeyIDs(), s.want) || !slices.Equal(KeyIDs(m.ring.GetKeys()), s.want) {
				t.Fatalf("%s: file %v (%v), ring %v, told %v, want %v", s.name, KeyIDs(inFile), err, KeyIDs(m.ring.GetKeys()), m.KeyIDs(), s.want)
			}
			if info, err := os.Stat(m.conf.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the file is %v, %v", info.Mode(), err)
			}
			if _, err := a.list.Ping(b.node, mustUDP(t, b.ours)); err != nil {
				t.Errorf("behind %s at %s: %v", s.name, m.name, err)
			}
		}
	}
	if n := a.Refused()[RefusedKey] + b.Refused()[RefusedKey]; n > 0 {
		t.Errorf("%d packets could not be opened", n)
	}
	if a.heard("lost", "b")+b.heard("lost", "a") > 0 {
		t.Error("a member was lost")
	}
}

func TestKeyChangesThatCannotBe(t *testing.T) {
	r := newRig(t)
	a := r.start(r.config("a"))
	if err := a.UseKey("00000000"); !errors.Is(err, ErrNoKey) {
		t.Errorf("use of no key: %v", err)
	}
	if err := a.RemoveKey(KeyID(key(1))); !errors.Is(err, ErrKeySeals) {
		t.Errorf("removal of the one that seals: %v", err)
	}
	for n := byte(2); n <= maxKeys; n++ {
		if err := a.AddKey(key(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.AddKey(key(99)); !errors.Is(err, ErrManyKeys) {
		t.Errorf("a key too many: %v", err)
	}
	// What somebody has written into the file is not lost.
	writeKeys(t, a.conf.KeyFile, text(1), text(50))
	if err := a.AddKey(key(51)); err != nil || !slices.Equal(a.KeyIDs(), KeyIDs([][]byte{key(1), key(50), key(51)})) {
		t.Errorf("%v, %v", a.KeyIDs(), err)
	}
	if err := os.Remove(a.conf.KeyFile); err != nil {
		t.Fatal(err)
	}
	if err := a.AddKey(key(52)); err == nil || !strings.Contains(err.Error(), "cluster.key_file") {
		t.Errorf("without a file: %v", err)
	}
}
