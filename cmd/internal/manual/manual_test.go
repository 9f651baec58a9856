package manual

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func small() *cobra.Command {
	none := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "ship", Short: "sail *now*", Long: "ship sails <here>.\n\nEXIT CODES\n  0    done\n  124  late\nand goes [on] as_it_was.", Run: none}
	row := &cobra.Command{Use: "row", Short: "row", Run: none}
	row.Flags().Bool("fast", false, "pull")
	row.Flags().String("to", "", "an island_or_two, or * for all")
	root.AddCommand(row, &cobra.Command{Use: "sink", Hidden: true, Run: none})
	return root
}

// What --help says stands in the page: lines that are indented as lines, headings as sections, and none of Markdown's signs taken for markup.
func TestPagesSayWhatHelpSays(t *testing.T) {
	dir := t.TempDir()
	page := Page{Section: "8", Source: "ship 7", Date: time.Unix(1700000000, 0).UTC()}
	if err := Write(small(), page, dir); err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(data), `\&`, "") // which nobody sees
	}
	for path, wants := range map[string][]string{
		"man/man8/ship.8":                     {`.TH "SHIP" "8" "2023-11-14" "ship 7"`, `sail *now*`, "ship sails <here>.", "\n.SH EXIT CODES\n", "\n0    done\n124  late\n", "goes [on] as_it_was."},
		"man/man8/ship-row.8":                 {".TP\n\\fB--fast\\fP\npull\n", "\nan island_or_two, or * for all\n", "ship(8)"},
		"bash-completion/completions/ship":    {"complete -o default -F __start_ship ship"},
		"zsh/vendor-completions/_ship":        {"#compdef ship"},
		"fish/vendor_completions.d/ship.fish": {"complete -c ship"},
	} {
		text := read(path)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", path, want, text)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "man/man8/ship-sink.8")); err == nil {
		t.Error("a hidden command has a page")
	}
}

// A package must be the same whenever it is built: without a date nothing is written.
func TestPagesAreDatedByTheTree(t *testing.T) {
	for _, epoch := range []string{"", "yesterday", "12x"} {
		err := fromArguments(small(), "8", []string{t.TempDir(), "7"}, epoch)
		if err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH=") {
			t.Errorf("SOURCE_DATE_EPOCH=%q: %v", epoch, err)
		}
	}
	if err := fromArguments(small(), "8", []string{"only"}, "1"); err == nil {
		t.Error("one argument is taken for two")
	}
	if err := fromArguments(small(), "8", []string{t.TempDir(), "7"}, "1700000000"); err != nil {
		t.Error(err)
	}
}
