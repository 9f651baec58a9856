package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMutantsOfAFile(t *testing.T) {
	const src = `package p
func f(log logger, n int, s []int) int {
	if n > 2 && known(n) {
		return 1
	}
	if known(n) {
		n--
		use(n)
	}
	log.Warn("said")
	if err := check(n > 3); err != nil {
		log.Warn("said")
	}
	s[0] = n
	x := n
	defer use(x)
	return x // nothing to leave out
}
`
	found, err := findInFile("p.go", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range found {
		got = append(got, strings.TrimPrefix(m.String(), "p.go:")+" => "+m.text)
	}
	slices.Sort(got)
	want := []string{
		"14: left out: s[0] = n => if false { s[0] = n }", // not the line of the log before it
		"16: call left out: defer use(x) => if false { defer use(x) }",
		"11: turned round to <=: n > 3 => <=",
		"3: never taken: n > 2 && known(n) => false && (n > 2 && known(n))", // the lone return in it is the same
		"3: turned round to <=: n > 2 => <=",
		"3: turned round to ||: n > 2 && known(n) => ||",
		"6: condition negated: known(n) => !(known(n))",
		"6: never taken: known(n) => false && (known(n))",
		"7: left out: n-- => if false { n-- }",
		"8: call left out: use(n) => if false { use(n) }",
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Two mutants that a test notices, one that go vet does, one that ends by itself, one that hangs at a lock, one that nobody notices, one that never
// ends, and one that does not compile.
func TestRoomIsTried(t *testing.T) {
	tree := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.test/m\n\ngo 1.26\n",
		"p.go": `package p

import (
	"context"
	"sync"
)

func noticed(n int) bool { return n > 2 }
func unnoticed(n int) bool { return n > 5 }
func endless() (n int) {
	for n < 1 {
		n++
	}
	return n
}
func leaky(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return ctx.Err()
}
func locked() {
	var mu sync.Mutex
	for range 2 {
		mu.Lock()
		mu.Unlock()
	}
}
func uncompiled() int {
	switch {
	default:
		return 1
	}
}
`,
		"p_test.go": `package p

import "testing"

func TestNoticed(t *testing.T) {
	if noticed(2) || !noticed(3) || endless() != 1 {
		t.Fail()
	}
	_ = unnoticed(uncompiled())
	_ = leaky(t.Context())
	locked()
}
`,
	} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("git", "-C", tree, "init", "-q").CombinedOutput(); err != nil {
		t.Skipf("no git: %v %s", err, out)
	}
	t.Chdir(tree)
	t.Setenv("CGO_ENABLED", "0") // as make compiles
	t.Setenv("GOFLAGS", "-trimpath")
	r := &room{dir: ".", command: "go", seed: 1, n: 10, jobs: 2, budget: 2 * 60e9, timeout: 2e9}
	if err := r.mutate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.count != [verdictEnd]int{survived: 1, killed: 5, timedOut: 1, unviable: 1} {
		t.Errorf("survived, killed, timed out, unviable, too late: %v", r.count)
	}
	if len(r.survivors) != 1 || !strings.HasPrefix(r.survivors[0], "p.go:9: turned round") {
		t.Errorf("survivors %q", r.survivors)
	}
}

// What reaches the line comes first, the quick ones of it together; all come.
func TestOrderOfTests(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "cover")
	text := "mode: set\nexample.test/m/p.go:3.20,5.2 2 1\nexample.test/m/p.go:7.1,9.2 1 0\nexample.test/m/q.go:7.1,9.2 1 1\n"
	if err := os.WriteFile(profile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	lines, err := reached(profile)
	if err != nil {
		t.Fatal(err)
	}
	o := order{tests: []*probed{
		{name: "TestOther", took: 1e9},
		{name: "TestA", took: 1e9, lines: lines},
		{name: "TestB", took: 1e9, lines: lines},
		{name: "TestC", took: 9e9, lines: lines},
	}}
	for line, want := range map[int][]batch{
		4: {{"^(TestA|TestB)$", 2e9}, {"^(TestC)$", 9e9}, {"^(TestOther)$", 1e9}},
		8: {{"^(TestOther|TestA|TestB|TestC)$", 12e9}},
	} {
		if got := o.batches(mutant{file: "sub/p.go", line: line}); !slices.Equal(got, want) {
			t.Errorf("line %d: %v, want %v", line, got, want)
		}
	}
}
