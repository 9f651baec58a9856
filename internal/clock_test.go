package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wallClock are the methods of time.Time that drop its monotonic part, as Round and Truncate do, which durations have too: a duration
// reckoned behind them jumps with the clock.
var wallClock = []string{"Unix", "UnixMilli", "UnixMicro", "UnixNano", "Local", "In", "UTC"}

// onTheWall may do so: what is told to people or other programs, and never taken for a duration here.
var onTheWall = map[string]string{
	"backend/turned.go":                "since when clients are turned away",
	"admin/metrics.go":                 "a metric's value",
	"admin/certs.go":                   "dates as people read them",
	"admin/page.go":                    "the time that stands on the page",
	"admin/certmetrics.go":             "a metric's value",
	"handoff/coordinator.go":           "the name of a move",
	"handoff/marks.go":                 "when a move began, for its report",
	"handoff/protocol/control.go":      "a token that is only compared",
	"proxy/handshake/tickets.go":       "the age of a ticket key, for another process",
	"proxy/handshake/sharedtickets.go": "the period of a ticket key, for other proxies",
	"cmd/ircferry/upgrades.go":         "metrics' values",
	"cmd/ircferry/others_metrics.go":   "a metric's value",
	"cmd/ferryctl/":                    "times as people read them",
	"cmd/internal/manual/":             "the date on a page",
}

// The clock may jump and nothing stalls, fires early or is closed (lesson C8.58): every timer, deadline and age of the daemon is reckoned
// with the monotonic clock, which Go's times carry until something drops it.
func TestC8_58TimersDoNotFollowTheWallClock(t *testing.T) {
	seen := map[string]bool{}
	for _, room := range []string{"admin", "backend", "cmd", "handoff", "proxy"} {
		err := filepath.WalkDir(filepath.Join("..", room), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() && (strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
				if err == nil {
					err = filepath.SkipDir
				}
				return err
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			name := filepath.ToSlash(path)[len("../"):]
			excused := func() bool {
				for prefix := range onTheWall {
					if strings.HasPrefix(name, prefix) {
						seen[prefix] = true
						return true
					}
				}
				return false
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if ok && slices.Contains(wallClock, sel.Sel.Name) && !isPackage(sel.X) && !excused() {
					t.Errorf("%s: %s drops the monotonic part of a time; if no duration is reckoned from it, say so in onTheWall", fset.Position(call.Pos()), sel.Sel.Name)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for prefix := range onTheWall {
		if !seen[prefix] {
			t.Errorf("onTheWall has %s, where no such call is", prefix)
		}
	}
}

// isPackage reports whether an expression can only be a package's name here: time.Unix makes a time.
func isPackage(x ast.Expr) bool {
	id, ok := x.(*ast.Ident)
	return ok && slices.Contains([]string{"time", "unix"}, id.Name)
}
