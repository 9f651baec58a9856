package cluster

import (
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/ircferry/ircferry/internal/config"
)

// middle is a time at which a certificate is valid: whether it has expired is told apart from whether it fits.
func middle(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
}

// soon is when a certificate is called one that ends soon, as those of listeners are.
const soon = 14 * 24 * time.Hour

// Check reads the files of a cluster and says what cannot be of them (errors) and what should not be (warnings). It connects to nobody.
func Check(cfg config.Config) []config.Finding { return check(cfg, time.Now()) }

func check(cfg config.Config, now time.Time) (found []config.Finding) {
	k := cfg.Cluster
	if k == nil {
		return nil
	}
	add := func(s config.Severity, key, format string, args ...any) {
		found = append(found, config.Finding{Severity: s, Key: "cluster." + key, Text: fmt.Sprintf(format, args...)})
	}
	if k.KeyFile != "" { // what is missing, config.Verify says
		if _, err := ReadKeys(k.KeyFile); err != nil {
			add(config.SeverityError, "key_file", "%v", err)
		}
		for key, path := range map[string]string{"key_file": k.KeyFile, "rpc.key": k.RPC.Key, "tickets_file": k.TicketsFile} {
			if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
				add(config.SeverityWarning, key, "%s can be used by everybody (%04o); chmod 0600", path, info.Mode().Perm())
			}
		}
	}
	if k.TicketsFile != "" {
		if _, err := ReadTickets(k.TicketsFile); err != nil {
			add(config.SeverityError, "tickets_file", "%v", err)
		}
	}
	if k.RPC.Cert == "" || k.RPC.Key == "" || k.RPC.CA == "" {
		return found
	}
	id, err := readIdentity(*k)
	if err != nil {
		add(config.SeverityError, "rpc", "%v", err)
		return found
	}
	switch leaf := id.pair.Leaf; {
	case now.After(leaf.NotAfter):
		add(config.SeverityWarning, "rpc.cert", "%s has expired on %s: the other proxies refuse it", k.RPC.Cert, leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		add(config.SeverityWarning, "rpc.cert", "%s is not valid before %s: the other proxies refuse it", k.RPC.Cert, leaf.NotBefore.UTC().Format(time.DateOnly))
	case leaf.NotAfter.Sub(now) < soon:
		add(config.SeverityWarning, "rpc.cert", "%s expires on %s", k.RPC.Cert, leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return found
}
