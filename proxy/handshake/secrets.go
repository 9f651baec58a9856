package handshake

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// Lines of the key log that are about what we take over: SSLKEYLOGFILE format, RFC 9850.
const (
	lineTLS12           = "CLIENT_RANDOM"
	lineClientHandshake = "CLIENT_HANDSHAKE_TRAFFIC_SECRET"
	lineServerHandshake = "SERVER_HANDSHAKE_TRAFFIC_SECRET"
	lineClientTraffic   = "CLIENT_TRAFFIC_SECRET_0"
	lineServerTraffic   = "SERVER_TRAFFIC_SECRET_0"
)

// secret is 32 or 48 bytes.
type secret struct {
	b [48]byte
	n int
}

func (s *secret) bytes() []byte { return s.b[:s.n] }

// secrets are those of one handshake, as crypto/tls tells them: they are its KeyLogWriter. Only the handshake's goroutine uses it.
type secrets struct {
	master                           secret // TLS 1.2
	clientHandshake, serverHandshake secret // TLS 1.3
	clientTraffic, serverTraffic     secret
}

var errKeyLog = errors.New("key log line not understood")

// Write takes one line. crypto/tls calls it once for each.
func (s *secrets) Write(line []byte) (int, error) {
	label, values, _ := bytes.Cut(line, []byte{' '})
	var to *secret
	switch string(label) {
	case lineTLS12:
		to = &s.master
	case lineClientHandshake:
		to = &s.clientHandshake
	case lineServerHandshake:
		to = &s.serverHandshake
	case lineClientTraffic:
		to = &s.clientTraffic
	case lineServerTraffic:
		to = &s.serverTraffic
	default:
		return len(line), nil
	}
	_, value, _ := bytes.Cut(bytes.TrimRight(values, "\n"), []byte{' '})
	if len(value) > hex.EncodedLen(len(to.b)) {
		return 0, errKeyLog
	}
	n, err := hex.Decode(to.b[:], value)
	if err != nil || n < 32 {
		return 0, errKeyLog
	}
	to.n = n
	return len(line), nil
}

// resume takes the master secret out of a resumed session of TLS 1.2, for which crypto/tls writes no line. The encoding is crypto/tls's own
// and may change with it: version, kind, suite, time of creation, then the secret with its length before it. Were it to change, nothing
// would open and no such session be taken over; a test holds it.
func (s *secrets) resume(ss *tls.SessionState) {
	const at = 2 + 1 + 2 + 8
	b, err := ss.Bytes()
	if err != nil || len(b) < at+1 || binary.BigEndian.Uint16(b) != tls.VersionTLS12 {
		return
	}
	if n := int(b[at]); n == len(s.master.b) && len(b) > at+n {
		s.master.n = copy(s.master.b[:], b[at+1:at+1+n])
	}
	clear(b)
}

func (s *secrets) wipe() { *s = secrets{} }
