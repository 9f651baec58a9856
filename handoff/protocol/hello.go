package protocol

import (
	"log/slog"
	"strings"
)

// Hello is what both ends say first on a control connection. A coordinator sets Role, Name and Pass; an ircd all the others.
type Hello struct {
	V string // protocol version, "1" or "1.x"

	Role string // "coordinator"
	Name string // the coordinator's instance id: its stream ids begin with it, followed by one of . - _ ; of an ircd: its server name
	Pass string // secret

	Software  string
	Version   string // of the software
	SID       string // its id in the IRC network, if it has one
	Epoch     string // random for each process start
	Users     int    // registered users of this ircd itself
	Unmovable int    // of them those that did not come by OPEN or ATTACH of this coordinator
	Channels  int
	Links     int    // linked servers
	Stream    string // addr:port for streams; an unspecified addr means the host that control was dialled at
	SKey      string // secret of the streams
	Caps      []string
	ISupport  []string
	MaxUsers  int // users in one transaction, and on the ircd; 0: not told
	MaxLine   int // bytes of a line that it takes on control; 0: MaxLine
	Feat      []string

	Linked   []string // servers that are linked to it directly; with FeatLinks
	ULined   []string // of them those that it treats as services
	LinkCaps string   // two processes with the same one speak to their peers in the same way
}

// Message is the HELLO line. Zero values are left out, the ircd's counts never.
func (h Hello) Message() Message {
	m := NewMessage("HELLO", "v", h.V)
	set := func(key, value string) {
		if value != "" {
			m.Set(key, value)
		}
	}
	set("role", h.Role)
	set("name", h.Name)
	set("pass", h.Pass)
	if h.Role != "" {
		return m
	}
	set("software", h.Software)
	set("version", h.Version)
	set("sid", h.SID)
	set("epoch", h.Epoch)
	m.SetInt("users", int64(h.Users))
	m.SetInt("unmovable", int64(h.Unmovable))
	m.SetInt("channels", int64(h.Channels))
	m.SetInt("links", int64(h.Links))
	set("stream", h.Stream)
	set("skey", h.SKey)
	m.SetList("caps", h.Caps)
	m.SetList("isupport", h.ISupport)
	if h.MaxUsers > 0 {
		m.SetInt("maxusers", int64(h.MaxUsers))
	}
	if h.MaxLine > 0 {
		m.SetInt("maxline", int64(h.MaxLine))
	}
	m.SetList("feat", h.Feat)
	m.SetList("linked", h.Linked)
	m.SetList("ulined", h.ULined)
	set("linkcaps", h.LinkCaps)
	return m
}

// HelloOf reads a HELLO line.
func HelloOf(m Message) (Hello, error) {
	h := Hello{
		V: m.Get("v"), Role: m.Get("role"), Name: m.Get("name"), Pass: m.Get("pass"),
		Software: m.Get("software"), Version: m.Get("version"), SID: m.Get("sid"), Epoch: m.Get("epoch"),
		Stream: m.Get("stream"), SKey: m.Get("skey"),
		Caps: m.List("caps"), ISupport: m.List("isupport"), Feat: m.List("feat"),
		Linked: m.List("linked"), ULined: m.List("ulined"), LinkCaps: m.Get("linkcaps"),
	}
	for key, to := range map[string]*int{"users": &h.Users, "unmovable": &h.Unmovable, "channels": &h.Channels,
		"links": &h.Links, "maxusers": &h.MaxUsers, "maxline": &h.MaxLine} {
		n, err := m.Uint(key)
		if err != nil || n > 1<<31-1 {
			return Hello{}, m.badValue(key)
		}
		*to = int(n)
	}
	if h.MaxLine != 0 && h.MaxLine < minMaxLine {
		return Hello{}, &Error{Code: CodeBadValue, Text: "HELLO maxline: under 4096"}
	}
	return h, nil
}

// minMaxLine is the least maxline that an ircd may announce: a USER line without its long values must fit.
const minMaxLine = 4096

// Major is the part of the version before the dot.
func (h Hello) Major() string {
	major, _, _ := strings.Cut(h.V, ".")
	return major
}

// Can reports whether the ircd has a feature: open, export, import, peek, find, or one of the Feat constants.
func (h Hello) Can(feat string) bool {
	for _, f := range h.Feat {
		if f == feat {
			return true
		}
	}
	return false
}

// LogValue keeps the secrets out of logs.
func (h Hello) LogValue() slog.Value {
	return slog.GroupValue(slog.String("software", h.Software), slog.String("version", h.Version), slog.String("name", h.Name), slog.String("sid", h.SID),
		slog.String("epoch", h.Epoch), slog.Int("users", h.Users))
}

// String keeps the secrets out of everything that prints a Hello.
func (h Hello) String() string { return h.Message().String() }
