package wire_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ircferry/ircferry/proxy/wire"
)

// program is a TLS client of somebody else, with pipes.
type program struct {
	*exec.Cmd
	stdin  io.WriteCloser
	stdout io.Reader
	said   <-chan string // lines of its standard error
}

func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.CommandContext(t.Context(), name, args...)}
	var err error
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = out
	errs, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1000)
	p.said = said
	go func() {
		defer close(said)
		for s := bufio.NewScanner(errs); s.Scan(); {
			said <- s.Text()
		}
	}()
	kill := time.AfterFunc(patience, func() { p.Process.Kill() })
	t.Cleanup(func() { kill.Stop() })
	return p
}

// until waits for a line with this word in it.
func (p *program) until(t *testing.T, word string) {
	t.Helper()
	for line := range p.said {
		if strings.Contains(line, word) {
			return
		}
	}
	t.Fatalf("the client ends and has not said %s", word)
}

// end has the client end, which it must do well, and with nothing more to say.
func (p *program) end(t *testing.T, reports <-chan report, resumes bool) {
	t.Helper()
	p.stdin.Close()
	if rest, err := io.ReadAll(p.stdout); len(rest) > 0 || err != nil {
		t.Errorf("behind the end: %d bytes, %v", len(rest), err)
	}
	check(t, await(t, reports).Over, resumes)
	for range p.said { // to its end
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// pieces are n pieces of text, of whole lines.
func pieces(text []byte, n int) (all [][]byte) {
	for size := len(text) / n; len(all) < n-1; {
		end := wire.Cut(text[:size])
		all, text = append(all, text[:end]), text[end:]
	}
	return append(all, text)
}

// byOpenSSL has s_client as the peer, which changes its keys in between, and every second time asks us for ours. -quiet keeps what it says
// apart from the data, -no_ign_eof brings its commands back.
func byOpenSSL(t *testing.T, r *ring, version string) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs openssl in PATH")
	}
	session := filepath.Join(t.TempDir(), "session")
	for _, resumes := range []bool{false, true} {
		c := newCourse(fmt.Sprintf("openssl %s, resumed %v", version, resumes), version == "1.3", resumes, size/36)
		c.Asks = false
		reports := r.session(t, c)
		args := []string{"s_client", "-connect", await(t, reports).Addr, "-servername", serverName, "-verify_hostname", serverName,
			"-CAfile", filepath.Join(r.dir, "ecdsa.pem"), "-verify_return_error", "-quiet", "-no_ign_eof",
			"-tls" + strings.ReplaceAll(version, ".", "_"), "-sess_out", session}
		if resumes {
			args[len(args)-2] = "-sess_in"
		}
		p := start(t, path, args...)
		for i, piece := range pieces(lines(c.Seed, size), 12) {
			if version == "1.3" && i > 0 {
				io.WriteString(p.stdin, [...]string{"K\n", "k\n"}[i%2])
				p.until(t, "KEYUPDATE") // it has read the command, and nothing behind it for one
			}
			go p.stdin.Write(piece)
			same(t, p.stdout, piece, reports)
		}
		p.end(t, reports, resumes)
	}
}

// byGnuTLS has gnutls-cli as the peer. It sends a record for each line, and writes byte by byte what comes.
func byGnuTLS(t *testing.T, r *ring, version string) {
	path, err := exec.LookPath("gnutls-cli")
	if err != nil {
		t.Skip("needs gnutls-cli in PATH")
	}
	c := newCourse("gnutls "+version, version == "1.3", true, size/36)
	c.Asks = false
	reports := r.session(t, c)
	host, port, err := net.SplitHostPort(await(t, reports).Addr)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, path, host, "-p", port, "--sni-hostname", serverName, "--verify-hostname", serverName,
		"--x509cafile", filepath.Join(r.dir, "ecdsa.pem"), "--logfile", filepath.Join(t.TempDir(), "log"), "--inline-commands",
		"--priority", "NORMAL:-VERS-ALL:+VERS-TLS"+version)
	text := lines(c.Seed, size)
	go func() {
		for i, piece := range pieces(text, 12) {
			if version == "1.3" && i > 0 {
				io.WriteString(p.stdin, [...]string{"^rekey^\n", "^rekey1^\n"}[i%2])
			}
			p.stdin.Write(piece)
		}
	}()
	same(t, p.stdout, text, reports)
	p.end(t, reports, false)
}
