package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

var (
	title  = regexp.MustCompile(`(?m)^(\.TH "[^"]*" "[^"]*") "[^"]*"`)
	option = regexp.MustCompile(`(?m)^(?:\.PP\n)?(\\fB-.*?)(?:\[=false\])?\n\t`)
)

// mend sets what doc.GenManTree leaves crude in the pages of a command and of those below it: options are a list, with what they do
// indented, a switch has no value, and the date is one that man(7) knows.
func mend(dir, command string, page Page) error {
	for _, pattern := range []string{command + "." + page.Section, command + "-*." + page.Section} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("pages of %s: %w", command, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("pages of %s: %w", command, err)
			}
			text = title.ReplaceAll(text, []byte(`$1 "`+page.Date.Format("2006-01-02")+`"`))
			text = option.ReplaceAll(text, []byte(".TP\n$1\n"))
			if err := os.WriteFile(path, text, 0o644); err != nil {
				return fmt.Errorf("pages of %s: %w", command, err)
			}
		}
	}
	return nil
}
