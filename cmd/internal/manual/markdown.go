package manual

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// plain makes Markdown, which doc.GenManTree takes texts for, of the plain texts of a command and all below it.
func plain(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.Short = escape(cmd.Short)
	cmd.Long = markdown(cmd.Long)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { f.Usage = escape(f.Usage) })
	for _, c := range cmd.Commands() {
		plain(c)
	}
}

// heading is a line such as "EXIT CODES" in the text of --help.
var heading = regexp.MustCompile(`^[A-Z][A-Z ]+$`)

// markdown is a text of --help as Markdown that looks the same: indented lines stay lines, headings are sections, and nothing in the prose is markup.
func markdown(text string) string {
	var out []string
	code := false
	fence := func(on bool) {
		if on != code {
			out = append(out, "```")
		}
		code = on
	}
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "  "):
			fence(true)
			out = append(out, strings.TrimPrefix(line, "  "))
		case heading.MatchString(line):
			fence(false)
			out = append(out, "# "+line)
		default:
			fence(false)
			out = append(out, escape(line))
		}
	}
	fence(false)
	return strings.Join(out, "\n")
}

var markup = regexp.MustCompile("[\\\\`*_<>\\[\\]]")

// escape keeps what prose has of Markdown's signs as they are.
func escape(text string) string { return markup.ReplaceAllString(text, `\$0`) }
