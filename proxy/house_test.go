package proxy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// declared are the functions of the data path's rooms, as "receiver.name".
func declared(t *testing.T, dirs ...string) (names map[string]bool, files map[string]*ast.File) {
	t.Helper()
	names, files = map[string]bool{}, map[string]*ast.File{}
	for _, dir := range dirs {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(paths) == 0 {
			t.Fatal(dir, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files[path] = f
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
					names[receiver(fn)+"."+fn.Name.Name] = true
				}
			}
		}
	}
	return names, files
}

func receiver(fn *ast.FuncDecl) string {
	e := fn.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// doc.go tells the way of a line in at most twelve functions each way. Whoever takes one of them away tells it anew.
func TestTheWayOfALineIsTold(t *testing.T) {
	names, files := declared(t, ".", "leg", "lines", "wire")
	doc := files["doc.go"].Doc.Text()
	begin, end := strings.Index(doc, "# The way of a line"), strings.Index(doc, "# What is promised")
	if begin < 0 || end < begin {
		t.Fatal("doc.go has no section about the way of a line")
	}
	to, back, ok := strings.Cut(doc[begin:end], "And back:")
	if !ok {
		t.Fatal("the way back is not told")
	}
	step := regexp.MustCompile(`(?m)^\t([A-Za-z]+\.[A-Za-z]+)`)
	for _, way := range []string{to, back} {
		steps := step.FindAllStringSubmatch(way, -1)
		if len(steps) < 5 || len(steps) > 12 {
			t.Errorf("%d functions on a way, want at most 12", len(steps))
		}
		for _, s := range steps {
			if !names[s[1]] {
				t.Errorf("doc.go names %s, which is not there", s[1])
			}
		}
	}
}

// The figures of the house: who looks for a thing finds it by the name of its file, and no type knows everything.
func TestTheHouseStaysInOrder(t *testing.T) {
	names, files := declared(t, ".", "leg", "lines")
	methods := 0
	for name := range names {
		if strings.HasPrefix(name, "worker.") {
			methods++
		}
	}
	if methods >= 70 {
		t.Errorf("worker has %d methods", methods)
	}
	asks := 0
	for path, f := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\n"); n > 350 {
			t.Errorf("%s has %d lines", path, n)
		}
		if strings.HasPrefix(path, "phase") || path == "info.go" || path == "books.go" {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "state" {
				if id, ok := sel.X.(*ast.Ident); ok && id.Name == "s" {
					asks++
				}
			}
			return true
		})
	}
	if asks >= 20 {
		t.Errorf("s.state is read in %d places outside of phases and reports", asks)
	}
	for _, state := range stateNames[StateHeader:stateOver] {
		if _, err := os.Stat("phase_" + strings.ReplaceAll(state, "_", "") + ".go"); err != nil {
			t.Errorf("state %s has no file of its own: %v", state, err)
		}
	}
}
