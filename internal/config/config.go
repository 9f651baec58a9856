// Package config reads the one YAML file of ircferry.
//
// Default returns a complete configuration, Load decodes a file over it and refuses unknown keys with line, column and the
// nearest known key, Verify says what cannot be. A field's tag oneof lists the words that it may be, reload:"no" marks what a
// running daemon cannot change (NeedsRestart). A start and a reload use the same functions, so a file that Load and Verify
// accept is one that a reload accepts too.
package config

import (
	"net/netip"
	"time"
)

// Config is the whole file. A value is immutable after Load: a reload builds a new one.
type Config struct {
	Listeners []Listener      `yaml:"listeners"`
	Loops     int             `yaml:"loops" reload:"no"` // event loops; 0: one per core; a change needs a restart
	Pools     map[string]Pool `yaml:"pools"`
	Moves     Moves           `yaml:"moves"`
	State     string          `yaml:"state" reload:"no"` // directory of journal and admin states; a change needs a restart
	Admin     Admin           `yaml:"admin" reload:"no"`
	HTTP      HTTP            `yaml:"http" reload:"no"`
	Log       Log             `yaml:"log"`
	Cluster   *Cluster        `yaml:"cluster"` // nil: this proxy is alone
}

// Listener is an accepting socket with its PROXY policy and limits.
type Listener struct {
	Name          string         `yaml:"name"`
	Address       string         `yaml:"address"` // host:port, ":6667" is all addresses of both families
	Pool          string         `yaml:"pool"`
	ProxyProtocol *ProxyProtocol `yaml:"proxy_protocol"` // nil: a PROXY header is refused with a close reason
	TLS           *ListenerTLS   `yaml:"tls"`            // nil: plaintext
	Limits        Limits         `yaml:"limits"`
}

// ProxyProtocol says who must send a PROXY header. From a peer outside From a header is refused, and a peer inside From
// must send one within 5 s. A connection that is about such a peer itself (LOCAL, UNKNOWN), or whose header is not there yet, is not limited by
// PerIP and PerIPRate, and SpareConnections of them come beside Connections.
type ProxyProtocol struct {
	From []netip.Prefix `yaml:"from"`
}

// SpareConnections is how many connections of peers that send PROXY headers are taken beside the Connections of a listener: those whose header is
// still to come, and those that are about no client, as checks are. A balancer whose checks were refused because the listener is full would
// take us out, and users with it. What is more than these counts as clients do, so that whoever comes through a balancer cannot use up the
// descriptors.
const SpareConnections = 64

// Limits bound what one listener takes. 0 is no limit.
type Limits struct {
	Connections  int            `yaml:"connections"`
	PerIP        int            `yaml:"per_ip"`       // simultaneous, by address (IPv6: by /64), after the PROXY header
	PerIPRate    Rate           `yaml:"per_ip_rate"`  // new connections, for example 32/10m
	Registration Duration       `yaml:"registration"` // until 001
	Exempt       []netip.Prefix `yaml:"exempt"`       // from PerIP and PerIPRate: bouncers, web gateways
}

// Pool is the backends that are one choice for a client.
type Pool struct {
	Topology Topology  `yaml:"topology" oneof:"standalone linked"`
	Balance  Balance   `yaml:"balance" oneof:"leastconn roundrobin source"` // for linked
	Check    Check     `yaml:"check"`
	Backends []Backend `yaml:"backends"`
	Links    []Link    `yaml:"links"` // server links that end here; none: nobody links through us
}

// Topology says how the backends of a pool are related.
type Topology string

const (
	Standalone Topology = "standalone" // one backend serves at a time, the others stand by
	Linked     Topology = "linked"     // all are one IRC network, clients are spread over them
)

// Balance is how a linked pool chooses.
type Balance string

const (
	LeastConn  Balance = "leastconn"
	RoundRobin Balance = "roundrobin"
	Source     Balance = "source" // by the client's address
)

// CheckType is how a backend is probed.
type CheckType string

const (
	CheckHandoff CheckType = "handoff" // HELLO on the control connection
	CheckTCP     CheckType = "tcp"
	CheckIRC     CheckType = "irc" // CAP LS up to a verdict of the ircd, now and then a whole registration, and QUIT
)

// Check is a pool's health check, in HAProxy's words. Zero Type and Inter are resolved per backend: handoff for a native
// backend and tcp for the others; 2s, and 30s for ircds without the driver, which count connections from one address.
type Check struct {
	Type    CheckType `yaml:"type" oneof:"handoff tcp irc"`
	Inter   Duration  `yaml:"inter"`
	Rise    int       `yaml:"rise"`
	Fall    int       `yaml:"fall"`
	Timeout Duration  `yaml:"timeout"`

	Register Duration `yaml:"register"` // how often a check by irc registers a user; 0: never
}

// Identity is how a backend without a driver is told who the client is.
type Identity string

const (
	IdentityNone    Identity = "none"
	IdentityProxyV1 Identity = "proxy-v1"
	IdentityProxyV2 Identity = "proxy-v2"
	IdentityWebIRC  Identity = "webirc"
)

// Driver is what becomes of the users of a backend that has no handoff socket when it is restarted.
type Driver string

const (
	DriverRelay  Driver = "relay"  // they end with it
	DriverReplay Driver = "replay" // they are made again on it, from what their streams have told
)

// Backend is one ircd. Exactly one of Handoff and Address is set.
type Backend struct {
	Name               string       `yaml:"name"`
	Handoff            string       `yaml:"handoff"`                                        // "unix:/path" or "tcp:host:port" of the control socket (native driver)
	HandoffPassFile    string       `yaml:"handoff_pass_file"`                              // the secret that the ircd wants in HELLO; "": it wants none
	Address            string       `yaml:"address"`                                        // "host:port" of a client port (relay only)
	Identity           Identity     `yaml:"identity" oneof:"none proxy-v1 proxy-v2 webirc"` // "": none
	TLS                *BackendTLS  `yaml:"tls"`                                            // nil: plaintext
	Driver             Driver       `yaml:"driver" oneof:"relay replay"`                    // of a backend with Address; "": relay
	WebIRCPasswordFile string       `yaml:"webirc_password_file"`
	WebIRCAfter        string       `yaml:"webirc_after" oneof:"user"` // "": WEBIRC is the first line; "user": after USER (ngIRCd)
	WebIRCFlags        []WebIRCFlag `yaml:"webirc_flags" oneof:"secure ports certfp"`
	ProxyTLVs          []ProxyTLV   `yaml:"proxy_tlvs" oneof:"ssl authority alpn certfp"`
	Weight             int          `yaml:"weight"` // default 100; 0: no new clients
	Backup             bool         `yaml:"backup"`
	Servers            *Servers     `yaml:"servers"` // where its ircd takes server links; nil: none of the pool's links are its
}

// Native reports whether users of this backend can be moved with HANDOFF/1.
func (b Backend) Native() bool { return b.Handoff != "" }

// Replays reports whether users of this backend are made again on it behind a restart.
func (b Backend) Replays() bool { return b.Driver == DriverReplay && !b.Native() }

// Moves bounds every move.
type Moves struct {
	Deadline Duration `yaml:"deadline"`  // end to end until the point of no return
	MaxPause Duration `yaml:"max_pause"` // a freeze that lasts longer before the point of no return is reverted
	Park     Duration `yaml:"park"`      // how long parked sessions are kept
	Visible  Visible  `yaml:"visible" oneof:"refuse allow"`
}

// Visible says whether a hold or a restart is made although users would see it, as --allow-visible does for one command.
type Visible string

const (
	VisibleRefuse Visible = "refuse"
	VisibleAllow  Visible = "allow"
)

// Admin is the control socket.
type Admin struct {
	Socket string `yaml:"socket"`
	Group  string `yaml:"group"` // "": mode 0600, else 0660 and this group
}

// HTTP is the read-only port: metrics, healthz, readyz.
type HTTP struct {
	Address string `yaml:"address"` // "": none
}

// Log is how the daemon logs.
type Log struct {
	Level  string `yaml:"level" oneof:"debug info warn error"` // debug | info | warn | error
	Format string `yaml:"format" oneof:"text json"`            // text | json
}

// Duration is a time.Duration that is written with its unit ("5s"); a bare 0 is allowed, any other bare number is an error.
type Duration time.Duration

// D returns the value as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// Rate is a number of events in a period, written as "32/10m". The zero Rate is no limit.
type Rate struct {
	N   int
	Per time.Duration
}
