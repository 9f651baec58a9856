package internal_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every link of a document to this repository leads to a file, and to a heading if it names one.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`) // with a colon it leads elsewhere
	links := 0
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".md") {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(readText(t, path), -1) {
			links++
			to := path
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(path), m[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s: %v", path, m[0], err)
			} else if m[2] != "" && !anchors(readText(t, to))[m[2]] {
				t.Errorf("%s: %s: no such heading", path, m[0])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if links < 30 {
		t.Errorf("only %d links were found", links)
	}
}

// Every make that the front door shows has its target.
func TestReadmeShowsTargetsThatExist(t *testing.T) {
	makefile := readText(t, "../Makefile")
	shown := regexp.MustCompile("(?m)(?:`|^    (?:.*&& )?)make ([a-z0-9-]+)").FindAllStringSubmatch(readText(t, "../README.md"), -1)
	if len(shown) < 5 {
		t.Errorf("only %d were found", len(shown))
	}
	for _, m := range shown {
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("make %s: no such target", m[1])
		}
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// anchors are the headings of a document as links name them.
func anchors(text string) map[string]bool {
	punctuation := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		names[strings.ReplaceAll(punctuation.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return names
}
