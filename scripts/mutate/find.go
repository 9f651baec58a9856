package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// mutant is one change of one file.
type mutant struct {
	file     string // below the tree
	line     int
	what     string
	from, to int    // bytes that are replaced
	text     string // by this
	old      string
}

func (m mutant) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", m.file, m.line, m.what, strings.Join(strings.Fields(m.old), " "))
}

// keepsLock: a lock is not given back, so whoever wants it next waits for ever. Tests that hang at one have noticed it.
func (m mutant) keepsLock() bool {
	return strings.HasPrefix(m.what, "call left out") && strings.HasSuffix(m.old, "nlock()")
}

// find answers all mutants of the package in dir, in the order of files and lines. Test files and files that are not built here have none.
func find(tree, dir string) ([]mutant, error) {
	pkg, err := build.ImportDir(filepath.Join(tree, dir), 0)
	if err != nil {
		return nil, fmt.Errorf("read package %s: %w", dir, err)
	}
	var all []mutant
	for _, name := range pkg.GoFiles {
		file := filepath.Join(dir, name)
		src, err := os.ReadFile(filepath.Join(tree, file))
		if err != nil {
			return nil, fmt.Errorf("read source: %w", err)
		}
		found, err := findInFile(file, src)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func findInFile(name string, src []byte) ([]mutant, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	s := &source{name: name, src: src, fset: fset, stays: map[ast.Stmt]bool{}}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			s.mustStay(fn.Body)
			ast.Inspect(fn.Body, s.visit)
		}
	}
	return s.found, nil
}

type source struct {
	name  string
	src   []byte
	fset  *token.FileSet
	stays map[ast.Stmt]bool
	found []mutant
}

// mustStay: a function's last return cannot be left out.
func (s *source) mustStay(body *ast.BlockStmt) {
	if n := len(body.List); n > 0 {
		if last, ok := body.List[n-1].(*ast.ReturnStmt); ok {
			s.stays[last] = true
		}
	}
}

// opposite of a comparison, and the other of and and or.
var opposite = map[token.Token]string{
	token.EQL: "!=", token.NEQ: "==", token.LSS: ">=", token.GEQ: "<", token.GTR: "<=", token.LEQ: ">", token.LAND: "||", token.LOR: "&&",
}

func (s *source) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.FuncLit:
		s.mustStay(n.Body)
	case *ast.ForStmt:
		s.stays[n.Post] = true // only a simple statement can stand there
	case *ast.BinaryExpr:
		if op, ok := opposite[n.Op]; ok {
			s.add("turned round to "+op, n, n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), op)
		}
	case *ast.IfStmt:
		if onlySpeaks(n) {
			if n.Init != nil {
				ast.Inspect(n.Init, s.visit)
			}
			return false
		}
		cond := s.text(n.Cond)
		if _, comparison := n.Cond.(*ast.BinaryExpr); !comparison { // else the operator is turned round
			s.add("condition negated", n.Cond, n.Cond.Pos(), n.Cond.End(), "!("+cond+")")
		}
		if len(n.Body.List) == 1 && n.Else == nil {
			s.stays[n.Body.List[0]] = true // "never taken" says the same
		}
		s.add("never taken", n.Cond, n.Cond.Pos(), n.Cond.End(), "false && ("+cond+")")
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && !speaks(call) {
			s.leaveOut("call left out", n)
		}
	case *ast.DeferStmt:
		s.leaveOut("call left out", n)
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			s.leaveOut("left out", n)
		}
	case *ast.IncDecStmt, *ast.ReturnStmt, *ast.BranchStmt, *ast.SendStmt:
		s.leaveOut("left out", n.(ast.Stmt))
	}
	return true
}

// speaks: a line of a log, which no test need notice, or a panic, behind which code may not compile.
func speaks(call *ast.CallExpr) bool {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name == "panic"
	case *ast.SelectorExpr:
		switch f.Sel.Name {
		case "Debug", "Info", "Warn", "Error", "Log", "LogAttrs":
			return true
		}
	}
	return false
}

// onlySpeaks: whether a line of a log is written.
func onlySpeaks(n *ast.IfStmt) bool {
	for _, st := range n.Body.List {
		x, ok := st.(*ast.ExprStmt)
		if !ok {
			return false
		}
		call, ok := x.X.(*ast.CallExpr)
		if !ok || !speaks(call) {
			return false
		}
		if _, ends := call.Fun.(*ast.Ident); ends { // panic
			return false
		}
	}
	return n.Else == nil && len(n.Body.List) > 0
}

// leaveOut keeps the statement for the compiler, so that no variable or import is unused.
func (s *source) leaveOut(what string, n ast.Stmt) {
	if s.stays[n] {
		return
	}
	s.add(what, n, n.Pos(), n.End(), "if false { "+s.text(n)+" }")
}

func (s *source) text(n ast.Node) string {
	return string(s.src[s.fset.Position(n.Pos()).Offset:s.fset.Position(n.End()).Offset])
}

func (s *source) add(what string, n ast.Node, from, to token.Pos, text string) {
	s.found = append(s.found, mutant{file: s.name, line: s.fset.Position(from).Line, what: what,
		from: s.fset.Position(from).Offset, to: s.fset.Position(to).Offset, text: text, old: s.text(n)})
}
