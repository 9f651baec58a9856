package certtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Write writes NAME.pem and NAME.key into dir, the key for its owner alone, and returns their paths. Files that are there already are
// replaced as certbot and its like do it: each by a rename, the certificate first.
func (p *Pair) Write(t testing.TB, dir, name string) (cert, key string) {
	t.Helper()
	cert, key, err := p.WriteFiles(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// WriteFiles is Write for programs.
func (p *Pair) WriteFiles(dir, name string) (cert, key string, err error) {
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	if err := replace(cert, p.CertPEM, 0o644); err != nil {
		return "", "", err
	}
	return cert, key, replace(key, p.KeyPEM, 0o600)
}

func replace(path string, data []byte, mode os.FileMode) error {
	if err := os.WriteFile(path+".new", data, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}
