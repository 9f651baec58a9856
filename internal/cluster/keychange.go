package cluster

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Why a key is not changed.
var (
	ErrNoKey    = errors.New("there is no such key")
	ErrKeySeals = errors.New("it seals: use another one first")
	ErrManyKeys = errors.New("more keys cannot be taken")
)

// NewKey makes a key.
func NewKey() []byte {
	k := make([]byte, 32)
	rand.Read(k) // never fails: the runtime ends the process
	return k
}

// AddKey has this member open what is sealed by a key, too. One that is there already stays as it is.
func (c *Cluster) AddKey(key []byte) error {
	return c.changeKeys(func(keys [][]byte) ([][]byte, error) {
		switch {
		case slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }):
			return keys, nil
		case len(keys) >= maxKeys:
			return nil, fmt.Errorf("%w: there are %d; remove old ones", ErrManyKeys, len(keys))
		}
		return append(keys, bytes.Clone(key)), nil // the caller may clear his
	})
}

// UseKey has this member seal by a key that it has.
func (c *Cluster) UseKey(id string) error {
	return c.changeKeys(func(keys [][]byte) ([][]byte, error) {
		i := slices.Index(KeyIDs(keys), id)
		if i < 0 {
			return nil, fmt.Errorf("%w: %s", ErrNoKey, id)
		}
		return append([][]byte{keys[i]}, slices.Delete(slices.Clone(keys), i, i+1)...), nil
	})
}

// RemoveKey has this member forget a key that does not seal. One that is not there is no error.
func (c *Cluster) RemoveKey(id string) error {
	return c.changeKeys(func(keys [][]byte) ([][]byte, error) {
		switch i := slices.Index(KeyIDs(keys), id); {
		case i == 0:
			return nil, fmt.Errorf("key %s: %w", id, ErrKeySeals)
		case i > 0:
			return slices.Delete(slices.Clone(keys), i, i+1), nil
		}
		return keys, nil
	})
}

// changeKeys changes what is in the file now, which somebody may have written since, and takes it.
func (c *Cluster) changeKeys(how func([][]byte) ([][]byte, error)) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	path := c.config().KeyFile
	keys, err := ReadKeys(path)
	if err != nil {
		return err
	}
	next, err := how(slices.Clone(keys))
	if err != nil {
		return err
	}
	if !slices.EqualFunc(keys, next, bytes.Equal) {
		if err := writeKeyFile(path, next); err != nil {
			return fmt.Errorf("cluster.key_file: %s cannot be written by uid %d (%w); let it lie where the daemon may write, such as its state directory, or change it by hand at every "+
				"proxy, one step after the other, and reload", path, os.Geteuid(), err)
		}
	}
	return c.setKeys(next)
}

// writeKeyFile puts another file in the place of one, whole or not at all.
func writeKeyFile(path string, keys [][]byte) error {
	var text bytes.Buffer
	text.WriteString("# Keys of the gossip; the first one seals, all open.\n")
	for _, k := range keys {
		text.WriteString(base64.StdEncoding.EncodeToString(k) + "\n")
	}
	defer clear(text.Bytes())
	f, err := os.CreateTemp(filepath.Dir(path), ".keys.*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(text.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
