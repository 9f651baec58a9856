package pemfile

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

var begin, end = []byte("-----BEGIN "), []byte("-----END ")

// Blocks returns all blocks of a file's text, or what is wrong with it. path stands in the commands that mend it.
func Blocks(path string, data []byte) ([]*pem.Block, error) {
	if err := encoding(path, data); err != nil {
		return nil, err
	}
	var all []*pem.Block
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		all = append(all, block)
	}
	begins := bytes.Count(data, begin)
	switch {
	case begins == 0:
		return nil, notPEM(path, data)
	case len(all) == begins && bytes.Count(data, end) == begins:
		return all, nil
	}
	return nil, damaged(path, data, begins)
}

// encoding refuses texts that are no ASCII from their first byte on.
func encoding(path string, data []byte) error {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return fmt.Errorf("it begins with a byte order mark; take it away: sed -i '1s/^\\xef\\xbb\\xbf//' %s", path)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return fmt.Errorf("it is UTF-16; write it as ASCII: iconv -f UTF-16 -t ASCII %s", path)
	}
	return nil
}

// damaged finds the first block that is none, and says why.
func damaged(path string, data []byte, begins int) error {
	if i := bytes.IndexByte(data, '\n'); i < 0 || !bytes.Contains(data[:i], []byte("-----")) && bytes.Contains(data, []byte(`\n`)) {
		if bytes.Contains(data, []byte(`\n`)) {
			return fmt.Errorf(`it has "\n" as two characters in the place of newlines; printf '%%b' "$(cat %s)" writes them`, path)
		}
	}
	if bytes.IndexByte(data, '\n') < 0 && bytes.IndexByte(data, '\r') >= 0 {
		return fmt.Errorf("its lines end in CR alone; tr '\\r' '\\n' <%s writes them as they should be", path)
	}
	for at, n := 0, 1; ; n++ {
		i := bytes.Index(data[at:], begin)
		if i < 0 {
			break
		}
		at += i
		where := fmt.Sprintf("block %d of %d (line %d)", n, begins, 1+bytes.Count(data[:at], []byte("\n")))
		line := data[bytes.LastIndexByte(data[:at], '\n')+1 : at]
		switch {
		case len(line) > 0 && len(bytes.TrimSpace(line)) == 0:
			return fmt.Errorf("%s is indented, and -----BEGIN must stand at the start of its line: sed -i 's/^[ \\t]*//' %s", where, path)
		case bytes.Contains(line, []byte("-----")):
			return fmt.Errorf("%s is joined to the end of the one before it without a newline: sed -i 's/----------BEGIN/-----\\n-----BEGIN/' %s", where, path)
		case len(line) > 0:
			return fmt.Errorf("%s does not stand at the start of its line", where)
		}
		next := bytes.Index(data[at+1:], begin)
		body := data[at:]
		if next >= 0 {
			body = data[at : at+1+next]
		}
		if !slices.ContainsFunc(bytes.Split(body, []byte("\n")), func(l []byte) bool { return bytes.HasPrefix(l, end) }) {
			return fmt.Errorf("%s is cut: it has no -----END line; write the file anew from where it came", where)
		}
		if block, _ := pem.Decode(body); block == nil {
			return fmt.Errorf("%s is damaged: what is in it is no base64, or its -----END line is another one's; write the file anew from where it came", where)
		}
		at++
	}
	return errors.New("it has more -----END lines than -----BEGIN lines: its beginning is cut; write the file anew from where it came")
}
