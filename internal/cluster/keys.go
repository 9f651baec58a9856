package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"

	"github.com/ircferry/ircferry/internal/pemfile"
)

// maxKeys bounds a key file: each packet that cannot be opened is tried with all of them.
const maxKeys = 8

// maxKeyFile is far above eight lines.
const maxKeyFile = 4 << 10

// ReadKeys reads the keys of the gossip from a file: base64, one a line; empty lines and those that begin with # are none. The first one seals.
// Errors hold nothing of what is in the file.
func ReadKeys(path string) (keys [][]byte, err error) {
	data, err := pemfile.Read(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("cluster.key_file: %w", err)
	}
	defer clear(data)
	for i, line := range bytes.Split(data, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		key, err := ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("cluster.key_file: %s line %d: %w", path, i+1, err)
		}
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			keys = append(keys, key)
		}
	}
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("cluster.key_file: %s has no key; openssl rand -base64 32 makes one", path)
	case len(keys) > maxKeys:
		return nil, fmt.Errorf("cluster.key_file: %s has %d keys, at most %d are taken; remove old ones", path, len(keys), maxKeys)
	}
	return keys, nil
}

// ParseKey reads one key.
func ParseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	if memberlist.ValidateKey(key) != nil {
		return nil, fmt.Errorf("a key has 16, 24 or 32 bytes, this one %d", len(key))
	}
	return key, nil
}

// KeyID names a key without telling it.
func KeyID(key []byte) string {
	sum := sha256.Sum256(append([]byte("ircferry gossip key id\x00"), key...))
	return hex.EncodeToString(sum[:4])
}

// KeyIDs are those of several, in their order.
func KeyIDs(keys [][]byte) []string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = KeyID(k)
	}
	return ids
}

// setKeys makes the ring hold these keys, the first of them sealing.
func setKeys(ring *memberlist.Keyring, keys [][]byte) error {
	for _, k := range keys {
		if err := ring.AddKey(k); err != nil {
			return err
		}
	}
	if err := ring.UseKey(keys[0]); err != nil {
		return err
	}
	for _, old := range slices.Clone(ring.GetKeys()) {
		if slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, old) }) {
			continue
		}
		if err := dropKey(ring, old); err != nil {
			return err
		}
	}
	return ring.UseKey(keys[0])
}

// dropKey removes a key that does not seal. RemoveKey moves the keys behind it in a slice that others read without a lock, so it must be the last one: those behind
// it are used one after the other for that, some microseconds each.
func dropKey(ring *memberlist.Keyring, key []byte) error {
	for {
		keys := ring.GetKeys()
		last := keys[len(keys)-1]
		if bytes.Equal(last, key) {
			return ring.RemoveKey(key)
		}
		if err := ring.UseKey(last); err != nil {
			return err
		}
	}
}
