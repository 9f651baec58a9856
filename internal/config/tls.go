package config

// ListenerTLS makes a listener take TLS only. The PROXY header, where there is one, comes before it.
type ListenerTLS struct {
	Certs      []Cert     `yaml:"certs"`                            // chosen by the name that the client asks for; the first is the default
	MinVersion TLSVersion `yaml:"min_version" oneof:"1.2 1.3"`      // default 1.2
	ClientCert ClientCert `yaml:"client_cert" oneof:"none request"` // default request
}

// Cert is a certificate with its chain and its key, both PEM files. They are read again by a reload and when they change.
type Cert struct {
	Cert string `yaml:"cert"` // the certificate first, then what leads from it to its root
	Key  string `yaml:"key"`
}

// TLSVersion is the lowest version that is spoken.
type TLSVersion string

const (
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// ClientCert says whether clients are asked for a certificate. None is ever demanded, and none is verified but for its signature:
// its fingerprint is what an ircd knows a user by.
type ClientCert string

const (
	ClientCertNone    ClientCert = "none"
	ClientCertRequest ClientCert = "request"
)

// BackendTLS makes the streams to a backend with address TLS, or the control connection to one with a handoff address over TCP.
type BackendTLS struct {
	CA         string `yaml:"ca"`          // PEM file of the roots that its certificate is verified with; "": those of the system
	ServerName string `yaml:"server_name"` // that its certificate must have and that it is asked for; "": the host of the address
	Cert       string `yaml:"cert"`        // who we are; with a handoff address over TCP only, since an ircd would take it for the user's
	Key        string `yaml:"key"`
}
