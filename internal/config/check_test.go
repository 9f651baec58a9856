package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// plenty is a machine where everything is allowed.
func plenty() system {
	return system{
		descriptors: func() uint64 { return 1 << 20 },
		zone:        func(name string) bool { return name == "lo" },
		group:       func(string) error { return nil },
		writable:    func(string) error { return nil },
	}
}

// sound is a configuration that Verify has nothing to say of on such a machine.
func sound(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	c := Default()
	c.State, c.Admin.Socket = dir+"/state", dir+"/admin.sock"
	c.Listeners = []Listener{{Name: "irc", Address: ":6667", Pool: "main", Limits: DefaultLimits()}}
	p := Pool{}
	p.setDefaults()
	p.Backends = []Backend{{Name: "a", Handoff: "unix:/run/a.sock", Weight: 100}, {Name: "b", Address: "irc.example:6667", Weight: 100}}
	c.Pools = map[string]Pool{"main": p}
	return c
}

// pool changes the pool main.
func pool(f func(*Pool)) func(*Config) {
	return func(c *Config) {
		p := c.Pools["main"]
		f(&p)
		c.Pools["main"] = p
	}
}

func backend(f func(*Backend)) func(*Config) {
	return pool(func(p *Pool) { f(&p.Backends[1]) })
}

func TestVerifyHasNothingToSayOfASoundConfiguration(t *testing.T) {
	if found := verify(sound(t), plenty()); len(found) > 0 {
		t.Errorf("%v", found)
	}
}

func TestVerify(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "webirc")
	write := func(text string, mode os.FileMode) string {
		t.Helper()
		if err := os.WriteFile(secret, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(secret, mode); err != nil {
			t.Fatal(err)
		}
		return secret
	}
	webirc := func(text string, mode os.FileMode) func(*Config) {
		return func(c *Config) {
			path := write(text, mode)
			backend(func(b *Backend) { b.Identity, b.WebIRCPasswordFile = IdentityWebIRC, path })(c)
		}
	}
	told := func(mode os.FileMode) func(*Config) {
		return func(c *Config) {
			path := write("s3cret\n", mode)
			backend(func(b *Backend) { b.Address, b.Handoff, b.HandoffPassFile = "", "unix:/x", path })(c)
		}
	}
	seconds := func(n int) Duration { return Duration(time.Duration(n) * time.Second) }
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // "" for nothing
	}{
		{"no listeners", func(c *Config) { c.Listeners = nil }, "error: listeners: there are none"},
		{"no pools", func(c *Config) { c.Pools = nil }, "error: pools: there are none"},
		{"unknown pool", func(c *Config) { c.Listeners[0].Pool = "mian" }, `error: listeners[0].pool: there is no pool "mian"; did you mean "main"?`},
		{"unused pool", func(c *Config) { c.Pools["other"] = c.Pools["main"] }, "warning: pools.other: no listener leads here"},
		{"listener twice", func(c *Config) { c.Listeners = append(c.Listeners, c.Listeners[0]) }, `error: listeners[1].name: "irc" is the name of listeners[0] too`},
		{"address twice", func(c *Config) {
			c.Listeners = append(c.Listeners, Listener{Name: "b", Address: "127.0.0.1:6667", Pool: "main", Limits: DefaultLimits()})
		}, `error: listeners[1].address: "127.0.0.1:6667" is taken by listeners[0].address too`},
		{"the same port of two addresses", func(c *Config) {
			c.Listeners[0].Address = "127.0.0.1:6667"
			c.Listeners = append(c.Listeners, Listener{Name: "b", Address: "[::1]:6667", Pool: "main", Limits: DefaultLimits()})
		}, ""},
		{"all of IPv4 and one of it", func(c *Config) {
			c.Listeners[0].Address = "0.0.0.0:6667"
			c.Listeners = append(c.Listeners, Listener{Name: "b", Address: "127.0.0.1:6667", Pool: "main", Limits: DefaultLimits()})
		}, "error: listeners[1].address"},
		{"all of IPv4 and one of IPv6", func(c *Config) {
			c.Listeners[0].Address = "0.0.0.0:6667"
			c.Listeners = append(c.Listeners, Listener{Name: "b", Address: "[::1]:6667", Pool: "main", Limits: DefaultLimits()})
		}, ""},
		{"port 0 twice", func(c *Config) {
			c.Listeners[0].Address = ":0"
			c.Listeners = append(c.Listeners, Listener{Name: "b", Address: ":0", Pool: "main", Limits: DefaultLimits()})
		}, ""},
		{"http on a listener's port", func(c *Config) { c.HTTP.Address = "127.0.0.1:6667" }, "error: http.address"},
		{"http for everybody", func(c *Config) { c.HTTP.Address = ":9667" }, "warning: http.address"},
		{"no http", func(c *Config) { c.HTTP.Address = "" }, ""},
		{"address without port", func(c *Config) { c.Listeners[0].Address = "6667" }, `error: listeners[0].address: "6667" has no port; write host:port`},
		{"address of IPv6 without brackets", func(c *Config) { c.Listeners[0].Address = "::1:6667" }, "stands in brackets"},
		{"port of nonsense", func(c *Config) { c.Listeners[0].Address = ":66670" }, `port "66670" is not a number`},
		{"name with a slash", func(c *Config) { c.Listeners[0].Name = "a/b" }, "error: listeners[0].name"},
		{"PROXY from nobody", func(c *Config) { c.Listeners[0].ProxyProtocol = &ProxyProtocol{} }, "error: listeners[0].proxy_protocol.from: nobody is trusted"},
		{"PROXY from everybody", func(c *Config) {
			c.Listeners[0].ProxyProtocol = &ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
		}, "warning: listeners[0].proxy_protocol.from: 0.0.0.0/0 trusts everybody"},
		{"exempt everybody", func(c *Config) { c.Listeners[0].Limits.Exempt = []netip.Prefix{netip.MustParsePrefix("::/0")} }, "warning: listeners[0].limits.exempt"},
		{"negative limit", func(c *Config) { c.Listeners[0].Limits.PerIP = -1 }, "error: listeners[0].limits.per_ip: -1 is negative"},
		{"no registration limit", func(c *Config) { c.Listeners[0].Limits.Registration = 0 }, "warning: listeners[0].limits.registration"},

		{"no backends", pool(func(p *Pool) { p.Backends = nil }), "error: pools.main.backends: there are none"},
		{"backend twice", backend(func(b *Backend) { b.Name = "a" }), `error: pools.main.backends[1].name: "a" is the name of pools.main.backends[0] too`},
		{"ircd twice", backend(func(b *Backend) { b.Address, b.Handoff = "", "unix:/run/a.sock" }), "error: pools.main.backends[1]: unix:/run/a.sock is the ircd of pools.main.backends[0] too"},
		{"ircd in two pools", func(c *Config) {
			c.Pools["two"] = c.Pools["main"]
			c.Listeners = append(c.Listeners, Listener{Name: "two", Address: ":6668", Pool: "two", Limits: DefaultLimits()})
		}, "warning: pools.two.backends[0]: unix:/run/a.sock is the ircd of pools.main.backends[0] too"},
		{"neither", backend(func(b *Backend) { b.Address = "" }), "error: pools.main.backends[1]: has neither handoff nor address"},
		{"both", backend(func(b *Backend) { b.Handoff = "unix:/x" }), "error: pools.main.backends[1]: has both handoff and address"},
		{"handoff of nonsense", backend(func(b *Backend) { b.Address, b.Handoff = "", "/run/x" }), "is not a control address; write unix:/path or tcp:host:port"},
		{"handoff with a relative path", backend(func(b *Backend) { b.Address, b.Handoff = "", "unix:x" }), "must begin with /"},
		{"handoff with a long path", backend(func(b *Backend) { b.Address, b.Handoff = "", "unix:/"+strings.Repeat("x", 107) }), "at most 107 bytes"},
		{"handoff over the network", backend(func(b *Backend) { b.Address, b.Handoff = "", "tcp:192.0.2.1:9" }), "error: pools.main.backends[1].handoff: tcp:192.0.2.1:9 would leave this machine"},
		{"handoff over loopback", backend(func(b *Backend) { b.Address, b.Handoff = "", "tcp:127.0.0.1:9" }), ""},
		{"identity of a native backend", backend(func(b *Backend) { b.Address, b.Handoff, b.Identity = "", "unix:/x", IdentityProxyV1 }), "error: pools.main.backends[1].identity"},
		{"backend without host", backend(func(b *Backend) { b.Address = ":6667" }), "has no host"},
		{"weight", backend(func(b *Backend) { b.Weight = -1 }), "error: pools.main.backends[1].weight: -1 is not from 0 to 1000"},
		{"all weights 0", pool(func(p *Pool) { p.Backends[0].Weight, p.Backends[1].Weight = 0, 0 }), "warning: pools.main.backends: every weight is 0"},
		{"several that could serve", pool(func(p *Pool) { p.Topology = Standalone }), ""},

		{"webirc without file", backend(func(b *Backend) { b.Identity = IdentityWebIRC }), "error: pools.main.backends[1].webirc_password_file: identity webirc needs it"},
		{"webirc file missing", backend(func(b *Backend) { b.Identity, b.WebIRCPasswordFile = IdentityWebIRC, "/nonexistent" }), "error: pools.main.backends[1].webirc_password_file: read password: open /nonexistent"},
		{"webirc file", webirc("s3cret\n", 0o600), ""},
		{"webirc file for all", webirc("s3cret\n", 0o644), "warning: pools.main.backends[1].webirc_password_file"},
		{"webirc file empty", webirc("\n", 0o600), "is empty"},
		{"webirc file of two words", webirc("two words\n", 0o600), "it must be one word"},
		{"webirc file with a colon", webirc(":x\n", 0o600), "begins with a colon"},
		{"webirc file too long", webirc(strings.Repeat("x", 300), 0o600), "longer than 256 bytes"},
		{"password without webirc", backend(func(b *Backend) { b.WebIRCPasswordFile = secret }), "error: pools.main.backends[1].webirc_password_file: identity is not webirc"},
		{"handoff secret", told(0o600), ""},
		{"handoff secret missing", backend(func(b *Backend) { b.Address, b.Handoff, b.HandoffPassFile = "", "unix:/x", "/nonexistent" }), "error: pools.main.backends[1].handoff_pass_file: read password: open /nonexistent"},
		{"handoff secret for all", told(0o644), "warning: pools.main.backends[1].handoff_pass_file"},
		{"handoff secret without handoff", backend(func(b *Backend) { b.HandoffPassFile = secret }), "error: pools.main.backends[1].handoff_pass_file: there is no handoff"},
		{"replay", backend(func(b *Backend) { b.Driver = DriverReplay }), ""},
		{"replay over TLS", backend(func(b *Backend) { b.Driver, b.TLS = DriverReplay, &BackendTLS{} }), "error: pools.main.backends[1].driver: replay cannot come in by TLS yet"},
		{"a driver beside handoff", backend(func(b *Backend) { b.Address, b.Handoff, b.Driver = "", "unix:/x", DriverReplay }), "error: pools.main.backends[1].driver: replay, but a backend with handoff"},
		{"after without webirc", backend(func(b *Backend) { b.WebIRCAfter = "user" }), "error: pools.main.backends[1].webirc_after: identity is not webirc"},

		{"rise", pool(func(p *Pool) { p.Check.Rise = 0 }), "error: pools.main.check.rise: 0; write 1 or more"},
		{"fall", pool(func(p *Pool) { p.Check.Fall = -1 }), "error: pools.main.check.fall"},
		{"check timeout over inter", pool(func(p *Pool) { p.Check.Timeout, p.Check.Inter = seconds(5), seconds(3) }), "error: pools.main.check.timeout: 5s is longer than inter, 3s"},
		{"check timeout over the default inter", pool(func(p *Pool) { p.Check.Timeout = seconds(3) }), "error: pools.main.check.timeout: 3s is longer than inter, 2s"},
		{"check timeout 0", pool(func(p *Pool) { p.Check.Timeout = 0 }), "error: pools.main.check.timeout: 0"},
		{"handoff check of nobody", pool(func(p *Pool) { p.Check.Type, p.Backends = CheckHandoff, p.Backends[1:] }), "error: pools.main.check.type"},
		{"handoff check of a mixed pool", pool(func(p *Pool) { p.Check.Type = CheckHandoff }), ""},

		{"max_pause over deadline", func(c *Config) { c.Moves.MaxPause = seconds(61) }, "error: moves.max_pause: 1m1s is longer than moves.deadline, 1m"},
		{"max_pause longer than an ircd may stand still", func(c *Config) { c.Moves.Deadline, c.Moves.MaxPause = seconds(90), seconds(61) }, "error: moves.max_pause: 1m1s: HANDOFF/1"},
		{"park shorter than a pause", func(c *Config) { c.Moves.Park = seconds(1) }, "warning: moves.park"},
		{"deadline 0", func(c *Config) { c.Moves.Deadline, c.Moves.MaxPause = 0, 0 }, "error: moves.deadline: 0"},
		{"loops", func(c *Config) { c.Loops = -1 }, "error: loops: -1 is negative"},
		{"more loops than cores", func(c *Config) { c.Loops = runtime.NumCPU() + 1 }, "warning: loops: "},
		{"too many loops", func(c *Config) { c.Loops = 1000 }, "error: loops: 1000 are too many"},

		{"state relative", func(c *Config) { c.State = "state" }, `error: state: "state" does not begin with /`},
		{"state is a file", func(c *Config) { c.State = write("x", 0o600) }, "is no directory"},
		{"socket relative", func(c *Config) { c.Admin.Socket = "x" }, "error: admin.socket"},
		{"socket in no directory", func(c *Config) { c.Admin.Socket = "/nonexistent/dir/x" }, "error: admin.socket: there is no directory /nonexistent/dir"},
		{"socket in a directory that systemd makes", func(c *Config) { c.Admin.Socket = "/run/ircferry-nonexistent/x" }, "warning: admin.socket: there is no directory"},
		{"socket path too long", func(c *Config) { c.Admin.Socket = "/" + strings.Repeat("x", 107) }, "at most 107 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := sound(t)
			c.change(&cfg)
			found := verify(cfg, plenty())
			var all []string
			for _, f := range found {
				all = append(all, f.String())
			}
			text := strings.Join(all, "\n")
			switch {
			case c.want == "" && text != "":
				t.Errorf("got %s", text)
			case !strings.Contains(text, c.want):
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
			if strings.Contains(text, "s3cret") || strings.Contains(text, "two words") {
				t.Errorf("a password is in %s", text)
			}
		})
	}
}

func TestVerifyAsksTheMachine(t *testing.T) {
	no := errors.New("it says no")
	for _, c := range []struct {
		name   string
		change func(*Config, *system)
		want   string
	}{
		{"state not writable", func(_ *Config, s *system) { s.writable = func(string) error { return no } }, "error: state: "},
		{"group", func(c *Config, s *system) { c.Admin.Group, s.group = "ops", func(string) error { return no } }, "error: admin.group: it says no"},
	} {
		cfg, sys := sound(t), plenty()
		c.change(&cfg, &sys)
		if found := verify(cfg, sys); !HasErrors(found) || !strings.Contains(found[0].String(), c.want) && !strings.Contains(found[len(found)-1].String(), c.want) {
			t.Errorf("%s: got %v", c.name, found)
		}
	}
}

// C5.34: the peak of descriptors is reckoned before it is reached.
func TestC5_34DescriptorsAreReckonedInAdvance(t *testing.T) {
	for _, c := range []struct {
		connections, descriptors int
		severity                 Severity
		want                     string
	}{
		{20000, 20000, SeverityError, "allow 20000, which needs 40"},
		{11000, 20000, SeverityError, "enough for 99"},
		{9000, 20000, SeverityWarning, "enough to move only 66"},
		{6000, 20000, "", ""},
		{0, 1024, "", ""},
		{0, 20, SeverityError, "not enough for this configuration itself"},
		{0, 100, SeverityWarning, "100 descriptors, enough for "},
		{100, 0, "", ""}, // not known
	} {
		cfg, sys := sound(t), plenty()
		cfg.Listeners[0].Limits.Connections = c.connections
		sys.descriptors = func() uint64 { return uint64(c.descriptors) }
		found := verify(cfg, sys)
		switch {
		case c.want == "" && len(found) > 0:
			t.Errorf("%d in %d: got %v", c.connections, c.descriptors, found)
		case c.want == "":
		case len(found) != 1 || found[0].Severity != c.severity || !strings.Contains(found[0].Text, c.want):
			t.Errorf("%d in %d: got %v, want %s %s", c.connections, c.descriptors, found, c.severity, c.want)
		}
	}
}

// What is taken beside limits.connections counts where somebody is trusted to send PROXY headers.
func TestDescriptorsForBalancersAreReckoned(t *testing.T) {
	enough := func(from []netip.Prefix) int {
		cfg, sys := sound(t), plenty()
		cfg.Listeners[0].Limits.Connections = 1000
		if from != nil {
			cfg.Listeners[0].ProxyProtocol = &ProxyProtocol{From: from}
		}
		for have := uint64(1000); ; have++ {
			sys.descriptors = func() uint64 { return have }
			if !slices.ContainsFunc(verify(cfg, sys), func(f Finding) bool { return f.Severity == SeverityError }) {
				return int(have)
			}
		}
	}
	alone, before := enough(nil), enough([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	if more := before - alone; more < 2*SpareConnections || more > 3*SpareConnections {
		t.Errorf("%d descriptors are enough, with a balancer %d", alone, before)
	}
}

// The machine's own answers, not a test's.
func TestMachine(t *testing.T) {
	m := machine()
	if m.descriptors() == 0 {
		t.Error("the number of descriptors is not known")
	}
	if err := m.group("no-such-group-as-this"); err == nil {
		t.Error("a group that is not there was found")
	}
	if err := m.writable(t.TempDir()); err != nil {
		t.Errorf("own directory: %v", err)
	}
	if err := m.writable("/nonexistent"); err == nil {
		t.Error("/nonexistent can be written")
	}
}
