package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

// Said is what a proxy tells of itself.
type Said struct {
	Instance string // what its sessions' ids begin with
	Version  string
	Pools    string // checksum of what its pools are
}

// meta is what the gossip carries of a member, in at most memberlist.MetaMaxSize bytes (512).
type meta struct {
	Name     string `json:"n"`
	Instance string `json:"i"`
	RPC      string `json:"r"` // address:port
	Version  string `json:"v"`
	Pools    string `json:"p"`
}

// What a meta may hold, so that all of it fits: a name has 64 bytes, an address 50.
const (
	maxInstance = 32
	maxVersion  = 100
	maxPools    = 64
	maxName     = 64
	maxAddress  = 64
)

func short(s string, n int) string { return s[:min(len(s), n)] }

func (m meta) encode() []byte {
	m.Instance, m.Version, m.Pools = short(m.Instance, maxInstance), short(m.Version, maxVersion), short(m.Pools, maxPools)
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings can be written
	}
	return b
}

// decodeMeta reads what another member says of itself. It has the key, and is believed no more than that.
func decodeMeta(b []byte) (m meta, err error) {
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("what it says of itself cannot be read: %w", err)
	}
	switch {
	case len(m.Name) > maxName || len(m.Instance) > maxInstance || len(m.Version) > maxVersion || len(m.Pools) > maxPools || len(m.RPC) > maxAddress:
		return m, errors.New("what it says of itself is too long")
	case !wordy(m.Name) || !wordy(m.Instance) || !wordy(m.Pools):
		return m, errors.New("its name is none")
	}
	if _, err := netip.ParseAddrPort(m.RPC); err != nil {
		return m, fmt.Errorf("its RPC address: %w", err)
	}
	return m, nil
}

// wordy reports whether s is a name as the configuration takes them.
func wordy(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return s != ""
}
