package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// maxWeight is as far as weights still mean something: a ratio of one to a thousand.
const maxWeight = 1000

func (c *checker) pools(cfg Config) {
	if len(cfg.Pools) == 0 {
		c.errorf("pools", "there are none; name at least one, with backends")
	}
	used := map[string]bool{}
	for _, l := range cfg.Listeners {
		used[l.Pool] = true
	}
	ircds := map[string]string{} // control or client address -> key
	for _, name := range slices.Sorted(maps.Keys(cfg.Pools)) {
		key := "pools." + name
		if err := checkName(name); err != nil {
			c.errorf(key, "the name %v", err)
		}
		if !used[name] && len(cfg.Listeners) > 0 {
			c.warnf(key, "no listener leads here")
		}
		c.pool(key, cfg.Pools[name], ircds)
	}
}

func (c *checker) pool(key string, p Pool, ircds map[string]string) {
	if len(p.Backends) == 0 {
		c.errorf(key+".backends", "there are none; name at least one, with name and handoff or address")
		return
	}
	c.check(key+".check", p)
	names, mine := map[string]string{}, map[string]string{}
	weight := 0
	for i, b := range p.Backends {
		bkey := fmt.Sprintf("%s.backends[%d]", key, i)
		c.name(bkey, b.Name, names)
		c.backend(bkey, b)
		weight += max(b.Weight, 0)
		at := b.Handoff + b.Address
		if other, ok := mine[at]; ok && at != "" {
			c.errorf(bkey, "%s is the ircd of %s too", at, other)
		} else if other, ok := ircds[at]; ok && at != "" {
			c.warnf(bkey, "%s is the ircd of %s too: each pool counts only its own sessions", at, other)
		}
		mine[at], ircds[at] = bkey, bkey
	}
	if weight == 0 {
		c.warnf(key+".backends", "every weight is 0: no client gets in")
	}
}

func (c *checker) check(key string, p Pool) {
	k := p.Check
	if k.Rise < 1 {
		c.errorf(key+".rise", "%d; write 1 or more", k.Rise)
	}
	if k.Fall < 1 {
		c.errorf(key+".fall", "%d; write 1 or more", k.Fall)
	}
	if k.Timeout == 0 {
		c.errorf(key+".timeout", "0: no check could ever succeed; write a duration")
	}
	for _, b := range p.Backends {
		if inter := p.CheckFor(b).Inter; k.Timeout > inter {
			c.errorf(key+".timeout", "%s is longer than inter, %s: the next check would be due before this one is over", k.Timeout, inter)
			break
		}
	}
	if k.Type == CheckHandoff && !slices.ContainsFunc(p.Backends, Backend.Native) {
		c.errorf(key+".type", "handoff, but no backend of the pool has handoff: write tcp or irc")
	}
}

func (c *checker) backend(key string, b Backend) {
	if b.Weight < 0 || b.Weight > maxWeight {
		c.errorf(key+".weight", "%d is not from 0 to %d", b.Weight, maxWeight)
	}
	switch {
	case b.Handoff == "" && b.Address == "":
		c.errorf(key, "has neither handoff nor address; write handoff: unix:/path for an ircd with the driver, address: host:port for one without")
	case b.Handoff != "" && b.Address != "":
		c.errorf(key, "has both handoff and address; with handoff the ircd itself tells where its streams go")
	case b.Handoff != "":
		c.native(key, b)
	default:
		if err := checkHostPort(b.Address, false); err != nil {
			c.errorf(key+".address", "%v", err)
		}
		c.leadsTo(key+".address", b.Address)
		c.backendTLS(key, b)
	}
	c.flags(key, b)
	switch {
	case b.Driver != "" && b.Native():
		c.errorf(key+".driver", "%s, but a backend with handoff gives its users away itself; leave it out", b.Driver)
	case b.Driver == DriverReplay && b.TLS != nil:
		c.errorf(key+".driver", "replay cannot come in by TLS yet; leave tls out, or write driver: relay")
	}
	if b.HandoffPassFile != "" && !b.Native() {
		c.errorf(key+".handoff_pass_file", "there is no handoff that it could be told to")
	}
	if b.Identity == IdentityWebIRC {
		c.webirc(key, b)
		return
	}
	if b.WebIRCPasswordFile != "" {
		c.errorf(key+".webirc_password_file", "identity is not webirc")
	}
	if b.WebIRCAfter != "" {
		c.errorf(key+".webirc_after", "identity is not webirc")
	}
}

// leadsTo looks at the zone of an address to connect to. An interface that is not there may come.
func (c *checker) leadsTo(key, address string) {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return
	}
	switch err := c.zone(a.Addr()); {
	case err != nil && a.Addr().Zone() == "":
		c.errorf(key, "%q: %v", address, err)
	case err != nil:
		c.warnf(key, "%q: %v", address, err)
	}
}

func (c *checker) native(key string, b Backend) {
	c.controlAddress(key, b)
	if address, ok := strings.CutPrefix(b.Handoff, "tcp:"); ok {
		c.leadsTo(key+".handoff", address)
	}
	if b.Identity != "" {
		c.errorf(key+".identity", "%s, but a backend with handoff hears the client's address in OPEN; leave it out", b.Identity)
	}
	if b.HandoffPassFile != "" {
		c.passwordFile(key+".handoff_pass_file", b.HandoffPassFile)
	}
}

func (c *checker) webirc(key string, b Backend) {
	key += ".webirc_password_file"
	if b.WebIRCPasswordFile == "" {
		c.errorf(key, "identity webirc needs it: a file with the password that the ircd expects of us")
		return
	}
	c.passwordFile(key, b.WebIRCPasswordFile)
}

func (c *checker) passwordFile(key, path string) {
	if _, err := ReadPassword(path); err != nil {
		c.errorf(key, "%v", err)
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		c.warnf(key, "%s can be read by others (%04o); chmod 0600 is enough", path, info.Mode().Perm())
	}
}

// maxPassword leaves room in a 512 byte line for the rest of WEBIRC.
const maxPassword = 256

// ReadPassword reads a password of one line. Its errors never hold the password.
func ReadPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPassword+3))
	if err != nil {
		return "", fmt.Errorf("read password %s: %w", path, err)
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if err := checkPassword(data); err != nil {
		return "", fmt.Errorf("password in %s %w", path, err)
	}
	return string(data), nil
}

// checkPassword refuses what cannot be one middle parameter of an IRC line.
func checkPassword(p []byte) error {
	switch {
	case len(p) == 0:
		return errors.New("is empty")
	case bytes.HasPrefix(p, []byte("\xef\xbb\xbf")):
		return errors.New("begins with a byte order mark, which would be part of it; write the file without")
	case len(p) > maxPassword:
		return fmt.Errorf("is longer than %d bytes", maxPassword)
	case bytes.ContainsAny(p, " \r\n\x00"):
		return errors.New("has a space or a second line in it; it must be one word")
	case p[0] == ':':
		return errors.New("begins with a colon, which an IRC line would swallow")
	}
	return nil
}
