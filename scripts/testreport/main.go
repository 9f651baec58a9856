// Command testreport reads `go test -json` on stdin and prints what `go test` would: the output of what failed and one line per
// package. With CI=true or V=1 it also prints a line per test. It ends with the counts and every skipped test with its reason,
// and appends the latter to the file named by SKIPPED for the summary of `make test`. It exits with 1 if anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// event is one line of test2json; see `go doc test2json`.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

type report struct {
	verbose              bool
	output               map[string][]string // what each running test has printed, by package and test
	lines                []string            // one per package, printed again at the end
	skipped              []string
	passed, failed, tail int
}

func main() {
	r := &report{verbose: os.Getenv("CI") == "true" || os.Getenv("V") == "1", output: map[string][]string{}}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 64<<10), 16<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // go itself speaking: a download, a broken flag
			continue
		}
		r.take(e)
	}
	os.Exit(r.end())
}

func (r *report) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "output":
		r.keep(key, e)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(key, e)
			return
		}
		r.endTest(key, e)
	}
}

// keep holds a test's output until it is known whether it matters. The package's own lines go out at once.
func (r *report) keep(key string, e event) {
	text := strings.TrimSpace(e.Output)
	for _, noise := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(text, noise) {
			return
		}
	}
	if e.Test != "" || !isPackageLine(text) {
		r.output[key] = append(r.output[key], e.Output)
		return
	}
	r.lines = append(r.lines, e.Output)
	fmt.Print(e.Output)
}

func isPackageLine(s string) bool {
	return strings.HasPrefix(s, "ok  ") || strings.HasPrefix(s, "FAIL\t") || strings.HasPrefix(s, "?   ")
}

func (r *report) endTest(key string, e event) {
	out := strings.Join(r.output[key], "")
	delete(r.output, key)
	switch e.Action {
	case "fail":
		r.failed++
		fmt.Print(out)
	case "skip":
		r.skipped = append(r.skipped, fmt.Sprintf("%s %s: %s", shortPackage(e.Package), e.Test, skipReason(out)))
	default:
		r.passed++
	}
	if r.verbose && e.Action != "fail" {
		fmt.Printf("--- %s: %s (%.2fs)\n", strings.ToUpper(e.Action), e.Test, e.Elapsed)
	}
}

func (r *report) endPackage(key string, e event) {
	if e.Action == "fail" {
		r.tail++
		// A panic or a timeout belongs to no test that ended: all that is left of the package is printed.
		for k, out := range r.output {
			if k == key || strings.HasPrefix(k, e.Package+" ") {
				fmt.Print(strings.Join(out, ""))
			}
		}
	}
	for k := range r.output {
		if strings.HasPrefix(k, e.Package+" ") {
			delete(r.output, k)
		}
	}
}

// skipReason takes the text of t.Skip from between "file_test.go:12: " and the "--- SKIP" line.
func skipReason(out string) string {
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") {
			continue
		}
		if _, reason, ok := strings.Cut(line, ".go:"); ok {
			_, reason, _ = strings.Cut(reason, ": ")
			return reason
		}
		return line
	}
	return "no reason given"
}

func shortPackage(p string) string { return strings.TrimPrefix(p, "github.com/ircferry/ircferry/") }

func (r *report) end() int {
	if file := os.Getenv("SKIPPED"); file != "" && len(r.skipped) > 0 {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			fmt.Fprintln(f, strings.Join(r.skipped, "\n"))
			err = f.Close()
		}
		if err != nil {
			fmt.Println("testreport:", err)
		}
	}
	fmt.Println()
	for _, line := range r.lines {
		if !strings.HasPrefix(line, "?") {
			fmt.Print(line)
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	for _, s := range r.skipped {
		fmt.Println("skipped:", s)
	}
	if r.failed > 0 || r.tail > 0 {
		fmt.Println("FAIL")
		return 1
	}
	return 0
}
