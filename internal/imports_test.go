// Package internal_test holds the whole module's import direction.
package internal_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ircferry/ircferry"

// rooms says which of our packages a room may import, rooms being packages with all below them and the longest name counting. What is
// not named here has no place yet: whoever adds a room decides where it stands.
var rooms = map[string][]string{
	"cmd":              {"cmd", "admin", "proxy", "handoff", "backend", "internal"},
	"admin":            {"admin", "handoff", "backend", "internal/config"},
	"proxy":            {"proxy", "backend", "internal/config"},
	"proxy/admit":      {"proxy/loop", "internal/config"},
	"proxy/lines":      {"proxy/wire"},
	"proxy/leg":        {"proxy/loop", "proxy/wire"},
	"proxy/link":       {"proxy/handshake", "proxy/leg", "proxy/loop", "proxy/wire", "backend", "internal/config"},
	"proxy/loop":       {},
	"proxy/track":      {},
	"proxy/wire":       {},
	"handoff":          {"handoff", "backend", "internal/config"},
	"handoff/protocol": {}, // other people's ircds may import it
	"backend":          {"handoff/protocol", "internal/config"},
	"internal/config":  {"internal/pemfile"},
	"internal/certs":   {"internal/config", "internal/pemfile"},
	"internal/fdpass":  {},
	"internal/keeper":  {},
	"internal/pemfile": {},
	"internal/ircd":    {"handoff/protocol"},
	"internal/cluster": {"internal/config", "internal/pemfile"},
	// Clients and servers for tests, demo and benchmarks.
	"internal/ircclient": {},
	"e2e":                {"internal", "handoff", "admin", "proxy", "backend", "cmd"},
	"configs":            {"internal/config"},
	"scripts":            {"internal"},
}

// doors says where a library may be imported: path prefixes of files, one door each, the longest name counting. Tests of a room count as the room.
var doors = map[string][]string{
	"github.com/spf13/cobra":         {"cmd/"},
	"github.com/spf13/cobra/doc":     {"cmd/internal/manual/"},
	"github.com/spf13/pflag":         {"cmd/internal/manual/"},
	"github.com/goccy/go-yaml":       {"internal/config/"},
	"github.com/prometheus":          {"admin/", "cmd/", "proxy/metrics", "proxy/proxy.go", "proxy/link/metrics", "proxy/link/set.go", "backend/metrics", "backend/set.go", "handoff/metrics"},
	"github.com/ergochat/irc-go":     {"handoff/replay/", "internal/ircd/", "proxy/track/"},
	"github.com/pires/go-proxyproto": {"proxy/admit/header", "backend/proxyheader"},
	"github.com/armon/go-proxyproto": {"internal/ircd/listen"},
	"github.com/hashicorp":           {"internal/cluster/"},
	"github.com/coreos/go-systemd":   {"cmd/"},
	"golang.org/x/sys":               {"proxy/", "cmd/ircferry/", "internal/fdpass/", "internal/keeper/", "handoff/uptime.go"},
	"golang.org/x/crypto":            {"proxy/"},
	"golang.org/x/term":              {"cmd/"},
}

// drawers are names under which everything gathers.
var drawers = []string{"util", "utils", "common", "types", "manager", "helpers", "misc", "shared"}

type goPackage struct {
	ImportPath                                         string
	Dir                                                string
	GoFiles, TestGoFiles, XTestGoFiles, IgnoredGoFiles []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,IgnoredGoFiles", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("output of go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list knows of %d packages only", len(all))
	}
	return all
}

// imports are the import paths of one file, also of one that build tags leave out.
func imports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Errorf("read imports: %v", err)
		return nil
	}
	var all []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// within reports whether pkg is room or below it.
func within(pkg, room string) bool { return pkg == room || strings.HasPrefix(pkg, room+"/") }

// roomOf is the longest room that a package is in.
func roomOf(pkg string) (best string) {
	for r := range rooms {
		if within(pkg, r) && len(r) > len(best) {
			best = r
		}
	}
	return best
}

// mayImport reports whether package from may import ours. handoff/protocol is a leaf that everybody may import but the leaves
// themselves; a room that is named under another one needs no leave for itself.
func mayImport(from, to string) bool {
	room := roomOf(from)
	if room == roomOf(to) || to == "handoff/protocol" && len(rooms[room]) > 0 && !within(room, "proxy") {
		return true
	}
	return slices.ContainsFunc(rooms[room], func(r string) bool { return within(to, r) })
}

func TestImportDirection(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if from == "internal" || from == "" {
			continue // tests about all of the module
		}
		if roomOf(from) == "" {
			t.Errorf("%s is in no room", from)
			continue
		}
		if slices.Contains(drawers, path.Base(from)) {
			t.Errorf("%s: a package is named after what it provides", from)
		}
		for _, file := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			if strings.HasSuffix(file, "_test.go") {
				continue // a test may use everything that does not make a cycle
			}
			for _, i := range imports(t, filepath.Join(p.Dir, file)) {
				if to, ours := strings.CutPrefix(i, module+"/"); ours && !mayImport(from, to) {
					t.Errorf("%s/%s imports %s: imports go down (cmd, admin, proxy and handoff, backend, internal)", from, file, to)
				}
			}
		}
	}
}

func TestOneDoorPerLibrary(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, file := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles, p.IgnoredGoFiles) {
			name := path.Join(from, file)
			test := strings.HasSuffix(file, "_test.go")
			for _, i := range imports(t, filepath.Join(p.Dir, file)) {
				first, _, _ := strings.Cut(i, "/")
				if !strings.Contains(first, ".") || within(i, module) {
					continue // the standard library, and ours
				}
				if !throughDoor(name, i, test) {
					t.Errorf("%s imports %s, which has its door elsewhere or none", name, i)
				}
			}
		}
	}
}

func throughDoor(file, imported string, test bool) bool {
	door := ""
	for library := range doors {
		if within(imported, library) && len(library) > len(door) {
			door = library
		}
	}
	return slices.ContainsFunc(doors[door], func(p string) bool {
		return strings.HasPrefix(file, p) || test && path.Dir(file) == path.Dir(p)
	})
}

// The rules themselves: a rule that lets everything pass would be green for ever.
func TestRulesForbidWhatTheyShould(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/ircferry", "proxy", true},
		{"cmd/ircferry", "internal/ircd", true},
		{"admin", "handoff", true},
		{"admin", "proxy", false},
		{"proxy", "proxy/wire", true},
		{"proxy", "backend", true},
		{"proxy", "handoff", false},
		{"proxy", "handoff/protocol", false},
		{"proxy", "internal/ircd", false},
		{"proxy", "admin", false},
		{"proxy", "proxy/admit", true},
		{"proxy/admit", "proxy/loop", true},
		{"proxy/admit", "proxy", false},
		{"proxy/admit", "proxy/wire", false},
		{"proxy/admit", "backend", false},
		{"proxy/admit", "handoff/protocol", false},
		{"proxy/wire", "internal/config", false},
		{"proxy/wire", "proxy", false},
		{"handoff", "proxy", false},
		{"handoff/native", "handoff", true},
		{"handoff/native", "handoff/protocol", true},
		{"handoff/protocol", "backend", false},
		{"handoff/protocol", "handoff", false},
		{"backend", "handoff/protocol", true},
		{"backend", "handoff", false},
		{"backend", "proxy", false},
		{"internal/config", "backend", false},
		{"internal/ircd", "handoff/protocol", true},
		{"internal/ircd", "backend", false},
		{"handoff", "cmd/ircferry", false},
		{"e2e", "cmd/ircferry", true},
	} {
		if got := mayImport(c.from, c.to); got != c.want {
			t.Errorf("%s imports %s: %v, want %v", c.from, c.to, got, c.want)
		}
	}
	for _, c := range []struct {
		file, library string
		test, want    bool
	}{
		{"proxy/admit/header.go", "github.com/pires/go-proxyproto", false, true},
		{"proxy/relay.go", "github.com/pires/go-proxyproto", false, false},
		{"proxy/admit/limiter_test.go", "github.com/pires/go-proxyproto", true, true},
		{"proxy/relay_test.go", "github.com/pires/go-proxyproto", true, false},
		{"handoff/journal.go", "github.com/pires/go-proxyproto", false, false},
		{"internal/config/load.go", "github.com/goccy/go-yaml/ast", false, true},
		{"backend/set.go", "github.com/stretchr/testify", true, false},
		{"cmd/ircferry/root.go", "github.com/spf13/cobra", false, true},
		{"cmd/ircferry/root.go", "github.com/spf13/cobra/doc", false, false},
	} {
		if got := throughDoor(c.file, c.library, c.test); got != c.want {
			t.Errorf("%s imports %s: %v, want %v", c.file, c.library, got, c.want)
		}
	}
}
