// Package manual writes what a distribution's package ships about a command besides its binary: a manual page for it and for each of
// its subcommands, and the completions of three shells. It is linked into the programs of the build tag "manual" only, which
// `make deb` runs: what it needs to render pages is in no binary that is installed.
package manual

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Page is what all pages of a command have in common.
type Page struct {
	Section string    // "1" for a user's commands, "8" for an administrator's
	Source  string    // name and version, at the foot
	Date    time.Time // at the foot
}

// Main is a program that writes the files of root below the directory in its first argument, as Write does, and returns the exit code:
//
//	PROGRAM DIR VERSION
//
// The pages are dated by SOURCE_DATE_EPOCH (seconds since 1970), without which nothing is written: the same tree gives the same files.
func Main(root *cobra.Command, section string) int {
	err := fromArguments(root, section, os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "manual of %s: %v\n", root.Name(), err)
		return 1
	}
	return 0
}

func fromArguments(root *cobra.Command, section string, args []string, epoch string) error {
	if len(args) != 2 {
		return fmt.Errorf("arguments %q: DIR and VERSION are needed", args)
	}
	var seconds int64
	if _, err := fmt.Sscanf(epoch+"\n", "%d\n", &seconds); err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH=%q: seconds since 1970 are needed", epoch)
	}
	return Write(root, Page{Section: section, Source: "ircferry " + args[1], Date: time.Unix(seconds, 0).UTC()}, args[0])
}

// Write writes the pages and completions of root, which it changes, below share, the later /usr/share: man/man8, bash-completion/completions,
// zsh/vendor-completions, fish/vendor_completions.d. Directories are made.
func Write(root *cobra.Command, page Page, share string) error {
	for _, script := range []struct {
		path     string
		generate func(io.Writer) error
	}{
		{"bash-completion/completions/" + root.Name(), func(w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
		{"zsh/vendor-completions/_" + root.Name(), root.GenZshCompletion},
		{"fish/vendor_completions.d/" + root.Name() + ".fish", func(w io.Writer) error { return root.GenFishCompletion(w, true) }},
	} {
		if err := writeFile(filepath.Join(share, script.path), script.generate); err != nil {
			return err
		}
	}
	pages := filepath.Join(share, "man", "man"+page.Section)
	if err := os.MkdirAll(pages, 0o755); err != nil {
		return fmt.Errorf("directory of pages: %w", err)
	}
	plain(root)
	header := doc.GenManHeader{Section: page.Section, Source: page.Source, Manual: root.Short, Date: &page.Date}
	if err := doc.GenManTree(root, &header, pages); err != nil {
		return fmt.Errorf("pages of %s: %w", root.Name(), err)
	}
	return mend(pages, root.Name(), page)
}

func writeFile(path string, generate func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("directory of completions: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("completions: %w", err)
	}
	if err := errors.Join(generate(f), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
