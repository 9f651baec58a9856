package config

import (
	"fmt"
	"path/filepath"
)

// listenerTLS says what cannot be of a listener's tls. What is in the files is for who reads them.
func (c *checker) listenerTLS(key string, t *ListenerTLS) {
	if t == nil {
		return
	}
	if len(t.Certs) == 0 {
		c.errorf(key+".certs", "there are none; name at least one, with cert and key")
	}
	seen := map[string]string{}
	for i, f := range t.Certs {
		ckey := fmt.Sprintf("%s.certs[%d]", key, i)
		c.pemPath(ckey+".cert", f.Cert)
		c.pemPath(ckey+".key", f.Key)
		if other, ok := seen[f.Cert]; ok && f.Cert != "" {
			c.errorf(ckey, "%s is that of %s too", f.Cert, other)
		}
		seen[f.Cert] = ckey
	}
}

func (c *checker) pemPath(key, path string) {
	switch {
	case path == "":
		c.errorf(key, "is not there; a certificate is two PEM files, cert and key")
	case !filepath.IsAbs(path):
		c.errorf(key, "%q does not begin with /", path)
	}
}
