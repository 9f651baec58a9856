package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile bounds what Load reads: a configuration is some kilobytes, more is another file.
const maxFile = 1 << 20

// Error is one thing that is wrong with the text of a file.
type Error struct {
	File      string
	Line, Col int
	Text      string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Text) }

// Errors is all that is wrong with the text of a file, in its order, one to a line.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads the file over the defaults. Its errors are of type Errors, or say why the file cannot be read.
func Load(path string) (Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > maxFile {
		return Config{}, fmt.Errorf("read configuration %s: larger than %d bytes", path, maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse decodes the text of a file over the defaults; name stands in the errors.
func Parse(name string, data []byte) (Config, error) {
	root, err := parse(name, data)
	if err != nil {
		return Config{}, err
	}
	d := decoder{file: name, anchors: map[string]ast.Node{}}
	c := Default()
	d.root(root, &c)
	if len(d.errs) > 0 {
		return Config{}, d.errs
	}
	return c, nil
}

// plain is the text without a byte order mark, which is none of the content (YAML 1.2.2 section 5.2). Other encodings than UTF-8 are called by
// their names: what the parser would say of them nobody understands.
func plain(name string, data []byte) ([]byte, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	head := data[:min(len(data), 4)]
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(data, []byte("\x00\x00\xfe\xff")):
		return nil, Errors{{name, 1, 1, "the file is UTF-32; save it as UTF-8 (iconv -f UTF-32 -t UTF-8)"}}
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")), bytes.IndexByte(head, 0) >= 0:
		return nil, Errors{{name, 1, 1, "the file is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"}}
	}
	for i, l := range bytes.Split(data, []byte("\n")) {
		switch {
		case !utf8.Valid(l):
			return nil, Errors{{name, i + 1, 1, "this line is not UTF-8; save the file as UTF-8 (iconv -f LATIN1 -t UTF-8, if that is what it is)"}}
		case bytes.IndexByte(l, 0) >= 0:
			return nil, Errors{{name, i + 1, 1, "there is a NUL byte in this line; the file is damaged"}}
		}
	}
	return data, nil
}

// parse returns the one document of the file.
func parse(name string, data []byte) (ast.Node, error) {
	data, err := plain(name, data)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil, doc.Body.Type() == ast.DirectiveType && root == nil: // a directive belongs to the document behind it
		case root != nil:
			return nil, Errors{{name, line(doc.Body), 1, "a second document; one file is one configuration"}}
		default:
			root = doc.Body
		}
	}
	if root == nil {
		return nil, Errors{{name, 1, 1, "the file is empty; it needs at least listeners and pools"}}
	}
	return root, nil
}

func syntaxError(name string, err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil || at.GetToken().Position == nil {
		return Errors{{name, 1, 1, err.Error()}}
	}
	pos := at.GetToken().Position
	return Errors{{name, pos.Line, pos.Column, at.GetMessage()}}
}

func line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}
