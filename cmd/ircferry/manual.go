//go:build manual

package main

import (
	"os"

	"github.com/ircferry/ircferry/cmd/internal/manual"
)

// main writes ircferry's pages and completions.
func main() { os.Exit(manual.Main(newRootCommand(), "8")) }
