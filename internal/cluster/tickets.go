package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/ircferry/ircferry/internal/pemfile"
)

const (
	maxTicketSecrets = 4  // each makes four keys, and a ticket is tried with all of them
	minTicketSecret  = 32 // characters: base64 of 24 bytes, or hex of 16
)

// ReadTickets reads the secrets that the keys of TLS tickets are made from: one a line; empty lines and those that begin with # are none. The first one
// seals. Errors hold nothing of what is in the file.
func ReadTickets(path string) (secrets [][]byte, err error) {
	data, err := pemfile.Read(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("cluster.tickets_file: %w", err)
	}
	defer clear(data)
	for i, line := range bytes.Split(data, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if len(line) < minTicketSecret {
			return nil, fmt.Errorf("cluster.tickets_file: %s line %d: a secret has at least %d characters, this one %d; openssl rand -base64 32 makes one", path, i+1, minTicketSecret, len(line))
		}
		secrets = append(secrets, bytes.Clone(line))
	}
	switch {
	case len(secrets) == 0:
		return nil, fmt.Errorf("cluster.tickets_file: %s has no secret; openssl rand -base64 32 makes one", path)
	case len(secrets) > maxTicketSecrets:
		return nil, fmt.Errorf("cluster.tickets_file: %s has %d secrets, at most %d are taken; remove old ones", path, len(secrets), maxTicketSecrets)
	}
	return secrets, nil
}

// TicketIDs name secrets without telling them, in their order.
func TicketIDs(secrets [][]byte) []string {
	ids := make([]string, len(secrets))
	for i, s := range secrets {
		sum := sha256.Sum256(append([]byte("ircferry ticket secret id\x00"), s...))
		ids[i] = hex.EncodeToString(sum[:4])
	}
	return ids
}
