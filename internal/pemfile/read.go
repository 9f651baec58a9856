package pemfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Read reads a file of at most max bytes. It does not wait, also not for the writer of a pipe that has the name of a file. If it may not be
// opened, the error says whose fault that is.
func Read(path string, max int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, closed(path, err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(max)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > max {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, max)
	}
	return data, nil
}

// closed names the directory that may not be entered, also one that a link leads into, such as certbot's archive.
func closed(path string, err error) error {
	for range 10 {
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			parent := filepath.Dir(dir)
			if syscall.Access(dir, 1) != nil && (parent == dir || syscall.Access(parent, 1) == nil) {
				return fmt.Errorf("%w: the directory %s%s may not be entered by uid %d; copy the files to where it may (docs/operating.md, Renewal)",
					err, dir, mode(dir), os.Geteuid())
			}
			if parent == dir {
				break
			}
		}
		to, e := os.Readlink(path)
		if e != nil {
			break
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return fmt.Errorf("%w: %s%s may not be read by uid %d", err, path, mode(path), os.Geteuid())
}

func mode(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf(" (%04o, uid %d gid %d)", info.Mode().Perm(), stat.Uid, stat.Gid)
	}
	return fmt.Sprintf(" (%04o)", info.Mode().Perm())
}
