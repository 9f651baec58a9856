package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shownCall is ferryctl with its arguments where a text shows it as code: in backquotes, in quotes, in a code block, in a unit.
var shownCall = regexp.MustCompile("(?m)(?:[`\"]|^ {4,}(?:.*[ /'\"])?|^Exec\\w+=.*/)ferryctl ([a-z-](?:[^`\"'#;|>&\n(]|'[^'\n]*')*)")

// Every command and flag of ferryctl that the documents and the shipped configurations show is there.
func TestDocumentsShowCommandsThatExist(t *testing.T) {
	shown := 0
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range shownCall.FindAllStringSubmatch(string(text), -1) {
			shown++
			checkCall(t, file, m[1])
		}
	}
	if shown < 40 {
		t.Errorf("only %d calls were found", shown)
	}
}

func documents(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		shipped := strings.HasPrefix(path, "../../configs/") && !strings.HasSuffix(path, ".go")
		if err == nil && !e.IsDir() && (shipped || strings.HasSuffix(path, ".md")) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// checkCall looks a call up that may go on as text: two blanks end it.
func checkCall(t *testing.T, file, args string) {
	t.Helper()
	args, _, _ = strings.Cut(args, "  ")
	c := &ctl{streams: streams{getenv: func(string) string { return "" }}}
	cmd, rest, err := c.root().Find(strings.Fields(args))
	if err != nil || cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		t.Errorf("%s: ferryctl %s: no such command (%v)", file, args, err)
		return
	}
	for _, flag := range regexp.MustCompile(`(?:^| )--([a-z-]+)`).FindAllStringSubmatch(args, -1) {
		if cmd.Flags().Lookup(flag[1]) == nil && cmd.InheritedFlags().Lookup(flag[1]) == nil {
			t.Errorf("%s: ferryctl %s: no flag --%s", file, args, flag[1])
		}
	}
}
