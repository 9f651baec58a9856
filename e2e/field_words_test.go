//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Issue 10, 11: the dry run of a relay drain has the exit code of the drain, and who is drained does not serve.
func TestFieldWordsOfARelayDrain(t *testing.T) {
	var backends []string
	for _, name := range []string{"a", "b"} {
		port := freePort(t)
		p := startEmbedded(t, name, "--listen", fmt.Sprintf("127.0.0.1:%d", port))
		awaitPort(t, port, p.proc)
		backends = append(backends, fmt.Sprintf(`{name: %s, address: "127.0.0.1:%d"}`, name, port))
	}
	f := startFerry(t, nil, "", backends...)
	login(t, f.port, "127.0.0.1", "ann").fence()
	serves := func(name string) string {
		out, _ := f.ctl("status")
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "main/"+name) {
				return line
			}
		}
		return ""
	}
	if !strings.Contains(serves("a"), "serving") {
		t.Errorf("before: %s", serves("a"))
	}
	if out, code := f.ctl("drain", "main/a", "--dry-run"); code != 4 || !strings.Contains(out, "would stay until they leave") {
		t.Errorf("dry run: exit %d\n%s", code, out)
	}
	if out, code := f.ctl("drain", "main/a"); code != 4 {
		t.Errorf("drain: exit %d\n%s", code, out)
	}
	if strings.Contains(serves("a"), "serving") {
		t.Errorf("drained: %s", serves("a"))
	}
	login(t, f.port, "127.0.0.1", "ben").fence()
	if !strings.Contains(serves("b"), "serving") {
		t.Errorf("after: %s", serves("b"))
	}
}
