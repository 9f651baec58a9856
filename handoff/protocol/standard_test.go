package protocol

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The standard's tables and the code must not drift apart.
func TestStandardHasTheModes(t *testing.T) {
	text := standard(t)
	for _, list := range [][]Mode{ChannelModes, ListModes, UserModes} {
		for _, m := range list {
			param := ""
			if m.Param {
				param = "yes"
			}
			if row := fmt.Sprintf("| `%s` | %c | %s | %s |\n", m.Name, m.Letter, param, m.Meaning); !strings.Contains(text, row) {
				t.Errorf("HANDOFF.md lacks %q", row)
			}
		}
	}
	if rows := len(regexp.MustCompile("(?m)^\\| `[a-z]+` \\| . \\| (yes)? \\| ").FindAllString(text, -1)); rows != len(ChannelModes)+len(ListModes)+len(UserModes) {
		t.Errorf("HANDOFF.md has %d modes", rows)
	}
}

func TestStandardHasTheErrorCodes(t *testing.T) {
	text, code := standard(t), fileText(t, "errors.go")
	inCode := regexp.MustCompile(`Code = "([a-z-]+)"`).FindAllStringSubmatch(code, -1)
	inText := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|[^|\n]*\\|[^|\n]*\\|[^|\n]*\\|$").FindAllStringSubmatch(
		text[strings.Index(text, "## 3."):strings.Index(text, "## 4.")], -1)
	if len(inCode) < 20 || len(inCode) != len(inText) {
		t.Fatalf("%d codes in the package, %d in HANDOFF.md", len(inCode), len(inText))
	}
	for _, m := range inCode {
		if !strings.Contains(text, "| `"+m[1]+"` | ") {
			t.Errorf("HANDOFF.md lacks %s", m[1])
		}
	}
}

func standard(t *testing.T) string { return fileText(t, "HANDOFF.md") }

func fileText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
