//go:build manual

package main

import (
	"os"

	"github.com/ircferry/ircferry/cmd/internal/manual"
)

// main writes ferryctl's pages and completions, as nobody's environment changes them.
func main() {
	c := &ctl{streams: streams{getenv: func(string) string { return "" }}}
	os.Exit(manual.Main(c.root(), "1"))
}
