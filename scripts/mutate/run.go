package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

type verdict int

const (
	survived verdict = iota
	killed
	timedOut   // counts as killed
	unviable   // does not compile
	tooLate    // not tried, the time for all is over
	verdictEnd // how many there are
)

// bench is a copy of the tree that one mutant at a time is tried in. What mutated code does to its files harms nobody.
type bench struct {
	dir     string
	command string        // go
	tests   string        // package
	timeout time.Duration // for each batch; 0: three times what it takes without a change, and longestWait
	vetted  bool          // without a change go vet has nothing to say
}

// longestWait is more than tests wait for any one thing: one that waits in vain fails by itself, and tells which it is.
const longestWait = 40 * time.Second

// newBench copies what git knows of the tree, as it is in the working directory.
func newBench(ctx context.Context, tree, dir, command, tests string) (*bench, error) {
	list := exec.CommandContext(ctx, "git", "-C", tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("list files of %s: %w", tree, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if err := copyFile(filepath.Join(tree, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("copy the tree: %w", err)
		}
	}
	return &bench{dir: dir, command: command, tests: tests}, nil
}

func copyFile(from, to string) error {
	info, err := os.Stat(from)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, info.Mode().Perm())
}

// try runs the tests with the mutant in place. The note names the first test that noticed it, or what the compiler says.
func (b *bench) try(ctx context.Context, m mutant, batches []batch) (verdict, string, error) {
	path := filepath.Join(b.dir, m.file)
	src, err := os.ReadFile(path)
	if err != nil {
		return 0, "", fmt.Errorf("read source: %w", err)
	}
	changed := bytes.Join([][]byte{src[:m.from], []byte(m.text), src[m.to:]}, nil)
	if err := os.WriteFile(path, changed, 0o644); err != nil {
		return 0, "", fmt.Errorf("write mutant: %w", err)
	}
	defer func() { _ = os.WriteFile(path, src, 0o644) }()
	binary := filepath.Join(b.dir, "mutant.test")
	if out, err := b.build(ctx, binary); err != nil {
		return unviable, lastLine(out), ctx.Err()
	}
	for _, next := range batches {
		switch v, out := b.test(ctx, binary, next); {
		case v == timedOut && m.keepsLock() && atALock.MatchString(out):
			return killed, "somebody waits for the lock for ever", ctx.Err()
		case v != survived:
			return v, firstFailure(out), ctx.Err()
		}
	}
	if out, err := b.vet(ctx); err != nil && b.vetted {
		return killed, "go vet: " + lastLine(out), ctx.Err()
	}
	return survived, "", ctx.Err()
}

// atALock is a goroutine in the dump of tests whose time is over.
var atALock = regexp.MustCompile(`(?m)^goroutine \d+ .*\[sync\.(Mutex|RWMutex)\.R?Lock`)

// vet is what `make test` asks of the code besides its tests.
func (b *bench) vet(ctx context.Context) (string, error) {
	return b.run(ctx, 5*time.Minute, b.command, "vet", b.tests)
}

func (b *bench) build(ctx context.Context, binary string, flags ...string) (string, error) {
	args := append([]string{"test", "-c", "-vet=off", "-o", binary}, flags...)
	return b.run(ctx, 5*time.Minute, b.command, append(args, b.tests)...)
}

// test runs tests that build has built, where `go test` would.
func (b *bench) test(ctx context.Context, binary string, of batch) (verdict, string) {
	timeout := b.timeout
	if timeout == 0 {
		timeout = 3*of.took + longestWait
	}
	out, err := b.run(ctx, timeout+10*time.Second, binary, "-test.failfast", "-test.v", "-test.run", of.pattern, "-test.timeout", timeout.String())
	switch {
	case err == nil:
		return survived, out
	case errors.Is(err, context.DeadlineExceeded) || strings.Contains(out, "panic: test timed out after"):
		return timedOut, out
	}
	return killed, out
}

// run ends the whole process group, because mutated tests may leave processes of theirs behind.
func (b *bench) run(ctx context.Context, within time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	temporary, err := os.MkdirTemp("", "m") // short, for the sake of unix sockets
	if err != nil {
		return "", fmt.Errorf("make temporary directory: %w", err)
	}
	defer os.RemoveAll(temporary)
	var out bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = b.dir
	if name != b.command {
		c.Dir = filepath.Join(b.dir, b.tests)
	}
	c.Env = append(os.Environ(), "TMPDIR="+temporary)
	c.Stdout, c.Stderr = &out, &out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	err = c.Run()
	if c.Process != nil {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.String(), err
}

var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)|^(panic: .*)$`)

func firstFailure(out string) string {
	m := failure.FindStringSubmatch(out)
	if m == nil {
		return lastLine(out)
	}
	return m[1] + m[2]
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}
