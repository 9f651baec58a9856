package config

import "time"

// Default returns what holds where the file says nothing. It has no listener and no pool: those only a file can name.
func Default() Config {
	return Config{
		Moves: Moves{
			Deadline: Duration(60 * time.Second),
			MaxPause: Duration(5 * time.Second),
			Park:     Duration(10 * time.Minute),
			Visible:  VisibleRefuse,
		},
		State: "/var/lib/ircferry",
		Admin: Admin{Socket: "/run/ircferry/admin.sock"},
		HTTP:  HTTP{Address: "127.0.0.1:9667"},
		Log:   Log{Level: "info", Format: "text"},
	}
}

// DefaultLimits are the limits of a listener that says nothing of them: per address what Ergo's default configuration allows
// (16 at once, 32 in 10 minutes), and as many connections in all as the descriptors allow.
func DefaultLimits() Limits {
	return Limits{
		PerIP:        16,
		PerIPRate:    Rate{N: 32, Per: 10 * time.Minute},
		Registration: Duration(60 * time.Second),
	}
}

// The decoder calls setDefaults on every list element and map value before it decodes into it.

func (l *Listener) setDefaults() { l.Limits = DefaultLimits() }

func (t *ListenerTLS) setDefaults() { t.MinVersion, t.ClientCert = TLS12, ClientCertRequest }

func (p *Pool) setDefaults() {
	p.Topology = Standalone
	p.Balance = LeastConn
	p.Check = Check{Rise: 2, Fall: 3, Timeout: Duration(2 * time.Second), Register: Duration(10 * time.Minute)}
}

func (b *Backend) setDefaults() { b.Weight = 100 }

func (l *Link) setDefaults() { l.Hold = DefaultHold }

// relayInter is the interval of checks of an ircd that counts them. The defaults of UnrealIRCd (3 connections a minute from one
// address), Solanum (4) and ircd-hybrid leave room for it; what goes beyond earns a ban that holds for all clients.
const relayInter = 30 * time.Second

// CheckFor returns the check of one backend of the pool, with type and interval resolved: a native backend is always asked over its
// control connection, and one without a driver never.
func (p Pool) CheckFor(b Backend) Check {
	c := p.Check
	switch {
	case b.Native():
		c.Type = CheckHandoff
	case c.Type == "" || c.Type == CheckHandoff:
		c.Type = CheckTCP
	}
	if c.Inter == 0 {
		c.Inter = Duration(2 * time.Second)
		if c.Type != CheckHandoff {
			c.Inter = Duration(relayInter)
		}
	}
	return c
}
