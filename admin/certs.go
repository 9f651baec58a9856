package admin

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Certs is the certificates of the listeners.
type Certs interface {
	// Certificates lists them as they are now, by listener in the order of the configuration, each listener's default first.
	Certificates() []Certificate
}

// Certificate is one certificate of one listener.
type Certificate struct {
	Listener    string     `json:"listener"`
	Default     bool       `json:"default"` // for clients that ask for a name that no certificate of the listener has, or for none
	Names       []string   `json:"names"`
	Issuer      string     `json:"issuer"`
	Algorithm   string     `json:"algorithm"` // of its key, "ECDSA P-256"
	NotBefore   time.Time  `json:"not_before"`
	NotAfter    time.Time  `json:"not_after"`
	Fingerprint string     `json:"fingerprint"` // SHA-256, lower-case hex
	CertFile    string     `json:"cert_file"`
	KeyFile     string     `json:"key_file"`
	Loaded      time.Time  `json:"loaded"`
	Broken      string     `json:"broken,omitempty"` // what is wrong with the files, which is why the certificate that was read before goes on
	BrokenSince *time.Time `json:"broken_since,omitempty"`
}

// NameList is the names in one word for a person, "irc.example" or "irc.example and 3 more".
func (c Certificate) NameList() string {
	switch n := len(c.Names); {
	case n == 0:
		return ""
	case n > 3:
		return fmt.Sprintf("%s and %d more", c.Names[0], n-1)
	}
	return strings.Join(c.Names, ", ")
}

// expiryWarning is when a certificate should have been renewed; ACME clients renew theirs a month before the end.
const expiryWarning = 14 * 24 * time.Hour

// Left is how long a certificate is still valid, in words: "in 59 days", "expired"; and whether that is too short.
func (c Certificate) Left(now time.Time) (words string, short bool) {
	switch left := c.NotAfter.Sub(now); {
	case left < 0:
		return "expired", true
	case now.Before(c.NotBefore):
		return "not valid yet", true
	case left < 48*time.Hour:
		return fmt.Sprintf("in %d hours", int(left.Hours())), true
	default:
		return fmt.Sprintf("in %d days", int(left.Hours()/24)), left < expiryWarning
	}
}

// warning is what an operator must do about the certificate, "" for nothing.
func (c Certificate) warning(now time.Time) string {
	what := fmt.Sprintf("certificate of listener %s (%s)", c.Listener, c.NameList())
	words, short := c.Left(now)
	switch {
	case c.Broken != "":
		return what + ": the files cannot be used, the one that was read before goes on: " + c.Broken
	case now.Before(c.NotBefore):
		return what + " is not valid before " + c.NotBefore.UTC().Format("2006-01-02 15:04 MST")
	case now.After(c.NotAfter):
		return what + " has expired on " + c.NotAfter.UTC().Format("2006-01-02 15:04 MST")
	case short:
		return what + " expires " + words
	}
	return ""
}

func (s *Server) certificates() []Certificate {
	if s.opt.Certs == nil {
		return []Certificate{}
	}
	return orEmpty(s.opt.Certs.Certificates())
}

func (s *Server) getCerts(*http.Request) (any, error) {
	if s.opt.Certs == nil {
		return nil, errUnsupported
	}
	return s.certificates(), nil
}
