package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/ircferry/ircferry/cmd/internal/manual"
)

// Every command has a page, and no word of its help is lost in it.
func TestEveryCommandHasItsPage(t *testing.T) {
	c := &ctl{streams: streams{getenv: func(string) string { return "" }}}
	dir := t.TempDir()
	if err := manual.Write(c.root(), manual.Page{Section: "1", Source: "ircferry", Date: time.Unix(0, 0)}, dir); err != nil {
		t.Fatal(err)
	}
	pages := 0
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		path := filepath.Join(dir, "man/man1", strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1")
		roff, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return
		}
		pages++
		if want, got := words(cmd.Long), words(unroff(string(roff))); !strings.Contains(got, want) {
			t.Errorf("%s does not say\n%s\nbut\n%s", path, want, got)
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				check(sub)
			}
		}
	}
	check(c.root())
	if pages < 20 {
		t.Errorf("%d pages only", pages)
	}
}

var (
	roffMacro  = regexp.MustCompile(`(?m)^\.(?:SH |PP|TP|EX|EE|RS|RE|nf|fi|TH .*).*?`)
	roffEscape = strings.NewReplacer(`\fB`, "", `\fR`, "", `\fP`, "", `\fI`, "", `\-`, "-", `\e`, `\`, `\&`, "", `\[rs]`, `\`, `\(aq`, "'")
)

func unroff(text string) string { return roffEscape.Replace(roffMacro.ReplaceAllString(text, "")) }

func words(text string) string { return strings.Join(strings.Fields(text), " ") }
