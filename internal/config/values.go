package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// String writes the duration the way it is written in the file.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes the duration with its unit.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration with its unit, or a bare 0.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
		return fmt.Errorf("%q has no unit; write %ss for seconds or %sm for minutes", s, s, s)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration; write a number with its unit: 500ms, 5s, 10m, 1h", s)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative; write 0 or more", s)
	}
	*d = Duration(v)
	return nil
}

// String writes the rate the way it is written in the file; the zero Rate is "0".
func (r Rate) String() string {
	if r.N == 0 {
		return "0"
	}
	return fmt.Sprintf("%d/%s", r.N, Duration(r.Per))
}

// MarshalText writes the rate with its period.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "32/10m", "200/s" or "0".
func (r *Rate) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "0" {
		*r = Rate{}
		return nil
	}
	count, period, ok := strings.Cut(s, "/")
	if !ok {
		return fmt.Errorf("%q has no period; write a number and a period: 32/10m, 200/s, or 0 for no limit", s)
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a rate; write a number and a period: 32/10m, 200/s", s)
	}
	if period == "s" || period == "m" || period == "h" {
		period = "1" + period
	}
	var per Duration
	if err := per.UnmarshalText([]byte(period)); err != nil {
		return fmt.Errorf("period of %q: %w", s, err)
	}
	if per == 0 {
		return fmt.Errorf("%q has a period of 0; write a number and a period: 32/10m", s)
	}
	*r = Rate{N: n, Per: per.D()}
	if n == 0 {
		*r = Rate{}
	}
	return nil
}

// parsePrefix reads a network, or an address as a network of that one address.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is not a network; write an address and a length: 10.0.0.0/8, 2001:db8::/32", s)
	}
	if p.Masked() != p {
		return p, fmt.Errorf("%q has bits after its length; write %s", s, p.Masked())
	}
	return p, nil
}

// ParseHandoff splits a control address of a native backend into what net.Dial takes.
func ParseHandoff(s string) (network, address string, err error) {
	network, address, _ = strings.Cut(s, ":")
	switch network {
	case "unix":
		if !strings.HasPrefix(address, "/") {
			return "", "", fmt.Errorf("%q: the path of a unix socket must begin with /; write unix:/run/irc/handoff.sock", s)
		}
		if len(address) > maxUnixPath {
			return "", "", fmt.Errorf("%q: the kernel takes at most %d bytes in the path of a unix socket", s, maxUnixPath)
		}
	case "tcp":
		if err := checkHostPort(address, false); err != nil {
			return "", "", err
		}
	default:
		return "", "", fmt.Errorf("%q is not a control address; write unix:/path or tcp:host:port", s)
	}
	return network, address, nil
}

// maxUnixPath is sizeof(sockaddr_un.sun_path) without the final NUL.
const maxUnixPath = 107

// checkHostPort says what is wrong with host:port. An empty host is right for something that listens only.
func checkHostPort(s string, listens bool) error {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return fmt.Errorf("%q has no port; write host:port", s)
	}
	host, port := s[:i], s[i+1:]
	if strings.HasPrefix(host, "[") != strings.HasSuffix(host, "]") || (strings.Contains(host, ":") && !strings.HasPrefix(host, "[")) {
		return fmt.Errorf("%q: an IPv6 address stands in brackets; write [2001:db8::1]:6667", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("%q: port %q is not a number from 1 to 65535", s, port)
	}
	if listens {
		return nil
	}
	if host == "" || host == "[]" {
		return fmt.Errorf("%q has no host; write host:port", s)
	}
	if n == 0 {
		return fmt.Errorf("%q: port 0 cannot be connected to", s)
	}
	return nil
}

// checkName says what is wrong with the name of a listener, pool or backend: it stands in metrics, in file names and in "pool/name".
func checkName(s string) error {
	if s == "" {
		return errors.New("has no name")
	}
	if len(s) > maxName {
		return fmt.Errorf("%q is longer than %d bytes", s, maxName)
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return fmt.Errorf("%q has %q in it; use letters, digits, '-', '_' and '.'", s, c)
		}
	}
	return nil
}

// maxName keeps "pool/name" and the names of state files short.
const maxName = 64
