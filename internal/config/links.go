package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Link is a server link that ends here on both sides, so that it can be held while its ircd changes: services, or another server.
type Link struct {
	Name     string         `yaml:"name"`     // as the peer calls itself in the network
	Listen   string         `yaml:"listen"`   // host:port; the peer connects here, or with Dial the ircd does
	Dial     string         `yaml:"dial"`     // "host:port" of the peer; "": the peer connects to us
	Allow    []netip.Prefix `yaml:"allow"`    // who may connect; none: LoopbackOnly
	Backends []string       `yaml:"backends"` // whose link it is: the first that is ready and up has it; none: all of the pool that have servers
	Hold     Size           `yaml:"hold"`     // of what the peer says while it is held; default DefaultHold. Beyond it the link is given up
	TLS      *LinkTLS       `yaml:"tls"`      // of the peer's side; nil: plaintext
}

// Servers is where an ircd takes server links.
type Servers struct {
	Address string   `yaml:"address"` // host:port
	TLS     *LinkTLS `yaml:"tls"`     // nil: plaintext
}

// LinkTLS is the TLS of one side of a server link. Who listens needs Cert and Key.
type LinkTLS struct {
	Cert         string        `yaml:"cert"` // PEM file: who we are; with Dial and for servers optional
	Key          string        `yaml:"key"`
	Fingerprints []Fingerprint `yaml:"fingerprints"` // the other end's certificate is one of these; then nothing else of it matters
	CA           string        `yaml:"ca"`           // for who dials and names no fingerprint: PEM file of the roots; "": those of the system
	ServerName   string        `yaml:"server_name"`  // likewise; "": the host that is dialled
}

// DefaultHold is some minutes of a large network's chat, or a burst of 300,000 users.
const DefaultHold Size = 64 << 20

// LoopbackOnly is who may connect for a link that says nothing of it.
func LoopbackOnly() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// LinkBackends are the backends whose link l is, in the order in which a new connection tries them.
func (p Pool) LinkBackends(l Link) (names []string) {
	if len(l.Backends) > 0 {
		return l.Backends
	}
	for _, b := range p.Backends {
		if b.Servers != nil {
			names = append(names, b.Name)
		}
	}
	return names
}

// Size is a number of bytes, written with its unit: 64MiB.
type Size int64

var sizeUnits = []struct {
	unit string
	of   Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String writes the size the way it is written in the file.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && s%u.of == 0 {
			return fmt.Sprintf("%d%s", s/u.of, u.unit)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes the size with its unit.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a whole number with its unit.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(string(text), u.unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
		if err != nil || n < 0 || n > 1<<20 {
			break
		}
		*s = Size(n) * u.of
		return nil
	}
	return fmt.Errorf("%q is not a size; write a whole number with its unit: 512KiB, 64MiB, 1GiB", text)
}

// Fingerprint is the SHA-256 of a certificate in lower-case hex, as openssl and ircds write it but for colons and case.
type Fingerprint string

// UnmarshalText reads 64 digits, with or without colons between the bytes.
func (f *Fingerprint) UnmarshalText(text []byte) error {
	hex := strings.ToLower(strings.ReplaceAll(string(text), ":", ""))
	if len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return fmt.Errorf("%q is not the SHA-256 of a certificate; openssl x509 -noout -fingerprint -sha256 -in cert.pem prints it", text)
	}
	*f = Fingerprint(hex)
	return nil
}
