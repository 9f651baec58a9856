package admin

import (
	"time"

	"github.com/ircferry/ircferry/handoff"
)

// Status is the whole daemon in one document.
type Status struct {
	Version       Version       `json:"version"`
	Instance      string        `json:"instance"` // our name in HELLO; random for each start, and kept over upgrades
	PID           int           `json:"pid"`
	State         string        `json:"state"`   // running | stopping
	Started       time.Time     `json:"started"` // of the service: an upgrade is no start
	UptimeSeconds float64       `json:"uptime_seconds"`
	Binary        Binary        `json:"binary"`
	Upgrades      Upgrades      `json:"upgrades"`
	Keeper        *Keeper       `json:"keeper,omitempty"`    // none: there is to be none
	Recovered     *Recovery     `json:"recovered,omitempty"` // none: this process came in no killed or restarted one's place
	Config        ConfigInfo    `json:"config"`
	Descriptors   Descriptors   `json:"descriptors"`
	Listeners     []Listener    `json:"listeners"`
	Certificates  []Certificate `json:"certificates"` // of the listeners with TLS
	Pools         []Pool        `json:"pools"`
	Sessions      Counts        `json:"sessions"`
	Cluster       *Cluster      `json:"cluster,omitempty"` // missing: this proxy is alone
	Moves         []Move        `json:"moves"`             // those that run or are parked, then the newest ended, at most statusMoves in all
	Warnings      []string      `json:"warnings"`          // sentences for a person
}

// ConfigInfo is the running configuration and how the last attempt to change it went.
type ConfigInfo struct {
	Path      string    `json:"path"`
	SHA256    string    `json:"sha256"` // of the file that is running
	Loaded    time.Time `json:"loaded"`
	LastError string    `json:"last_error,omitempty"` // of the last reload, if it changed nothing
}

// Descriptors is how many file descriptors the process has open and how many it may have.
type Descriptors struct {
	Used  int `json:"used"`
	Limit int `json:"limit"`
}

// Listener is an accepting socket.
type Listener struct {
	Name        string            `json:"name"`
	Address     string            `json:"address"`
	Pool        string            `json:"pool"`
	Accepting   bool              `json:"accepting"`
	Note        string            `json:"note,omitempty"` // why it does not accept
	Connections int               `json:"connections"`
	Limit       int               `json:"limit"` // 0: none
	Accepted    uint64            `json:"accepted_total"`
	Rejected    map[string]uint64 `json:"rejected_total,omitempty"` // by reason
}

// Pool is the backends that are one choice for a client.
type Pool struct {
	Name     string    `json:"name"`
	Topology string    `json:"topology"`          // standalone | linked
	Serving  string    `json:"serving,omitempty"` // who takes new clients; none if it is not ready, or the pool linked
	Gated    bool      `json:"gated"`             // a move is under way: new clients wait for its end
	Backends []Backend `json:"backends"`
	Links    []Link    `json:"server_links,omitempty"`
}

// The Drivers of backends whose users can be held: native ones can be moved too, those of replay are made again behind a restart in place.
const (
	driverNative = "native"
	driverReplay = "replay"
)

// Backend is one ircd.
type Backend struct {
	Name      string     `json:"name"` // within its pool
	Pool      string     `json:"pool"`
	Driver    string     `json:"driver"` // native | replay | none
	Address   string     `json:"address"`
	Stream    string     `json:"stream,omitempty"`   // the address that clients' streams go to now, of those that a name may have
	Admin     string     `json:"admin"`              // ready | drain | maint: what the operator wants
	Oper      string     `json:"oper"`               // up | down: what the checks say
	Cause     string     `json:"cause,omitempty"`    // why it is down
	Warnings  []string   `json:"warnings,omitempty"` // sentences for a person, also of one that is up
	Serving   bool       `json:"serving"`
	Backup    bool       `json:"backup"`
	Weight    int        `json:"weight"`
	Sessions  int        `json:"sessions"`
	Software  string     `json:"software,omitempty"` // from here on: its last HELLO
	Version   string     `json:"version,omitempty"`
	Server    string     `json:"server,omitempty"` // its name on the IRC network
	Epoch     string     `json:"epoch,omitempty"`
	Users     int        `json:"users,omitempty"`
	Unmovable int        `json:"unmovable,omitempty"` // users who came in past us
	Channels  int        `json:"channels,omitempty"`
	Links     int        `json:"links,omitempty"`
	Closing   *Closing   `json:"closing,omitempty"` // its sessions are being closed by an operator
	Hello     *time.Time `json:"hello,omitempty"`   // when it was answered
}

// FullName is "pool/name", as commands take it.
func (b Backend) FullName() string { return b.Pool + "/" + b.Name }

// Usable reports whether a new client could be sent there now.
func (b Backend) Usable() bool { return b.Admin == "ready" && b.Oper == "up" && b.Weight > 0 }

// Counts is how many sessions are in each state; the states add up to Total.
type Counts struct {
	Total  int            `json:"total"`
	States map[string]int `json:"states"`
}

// Session is one client, as it was when its event loop was asked.
type Session struct {
	ID         string    `json:"id"`
	Client     string    `json:"client"` // address and port, after the PROXY header
	Listener   string    `json:"listener"`
	Backend    string    `json:"backend,omitempty"` // "pool/name"; none while it waits or is parked
	State      string    `json:"state"`
	Registered bool      `json:"registered"` // 001 was seen
	Started    time.Time `json:"started"`
	BytesIn    uint64    `json:"bytes_in"`  // from the client
	BytesOut   uint64    `json:"bytes_out"` // to the client
	HeldBytes  int       `json:"held_bytes"`
	TLS        string    `json:"tls,omitempty"`    // version and cipher; none: plaintext
	CertFP     string    `json:"certfp,omitempty"` // SHA-256 of the client's certificate
	Nick       string    `json:"nick,omitempty"`   // only if the ircd was asked (show session, nick filter)
}

// SessionPage is one page of sessions, in the order of their ids.
type SessionPage struct {
	Sessions []Session `json:"sessions"`
	Matched  int       `json:"matched"`        // over all pages
	Next     string    `json:"next,omitempty"` // give it as after= for the next page
}

// Move is a move and the revision of this picture of it.
type Move struct {
	handoff.Report
	Rev string `json:"rev"` // changes whenever anything else here does; give it as after= to wait for the next
}

// Version says what runs.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	API      string `json:"api"` // "v1"
}

// Reloaded is what a reload did. An error instead means that nothing was changed.
type Reloaded struct {
	SHA256       string   `json:"sha256"`
	Changed      []string `json:"changed"`       // what is different now, for a person
	NeedsRestart []string `json:"needs_restart"` // keys whose new value only a restart brings
	Warnings     []string `json:"warnings"`      // sentences for a person
}

// Found is a nick that a native backend knows.
type Found struct {
	Backend string // "pool/name"
	U       string // stream id, the session's id
	Nick    string // as the ircd writes it
}
