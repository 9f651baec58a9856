package wire

import (
	"sync"
	_ "unsafe" // for linkname
)

// crypto/tls lets nobody choose a TLS 1.3 suite, and these are the lists that it chooses from. The standard library keeps them
// within reach for such uses (go.dev/issue/67401).

//go:linkname defaultCipherSuitesTLS13 crypto/tls.defaultCipherSuitesTLS13
var defaultCipherSuitesTLS13 []uint16

//go:linkname defaultCipherSuitesTLS13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var defaultCipherSuitesTLS13NoAES []uint16

var suites13 sync.Mutex

// with13 runs f while crypto/tls has one TLS 1.3 suite only.
func with13(suite uint16, f func()) {
	suites13.Lock()
	defer suites13.Unlock()
	aes, noAES := defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES
	defer func() { defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES = aes, noAES }()
	defaultCipherSuitesTLS13, defaultCipherSuitesTLS13NoAES = []uint16{suite}, []uint16{suite}
	f()
}
