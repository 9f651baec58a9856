package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// bench is one run of this program.
type bench struct {
	bin     string
	haproxy string // path
	version string // of HAProxy
	before  string // path of the ircferry that is compared with
	rounds  int
	proxies []string
	dir     string  // temporary: configurations, state, logs
	pin     bool    // the proxy gets core 1 for itself
	quiet   float64 // cores that others may use
	spread  bool    // new processes get all cores
	serial  int
	running []*exec.Cmd
}

// before is among the names of proxies where there is an ircferry of another commit.
const before = "before"

func newBench(bin, haproxy, beforePath string, rounds int, proxies []string) (*bench, error) {
	abs, err := filepath.Abs(bin)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", bin, err)
	}
	dir, err := os.MkdirTemp("", "ircferry-bench-")
	if err != nil {
		return nil, fmt.Errorf("make work directory: %w", err)
	}
	b := &bench{bin: abs, haproxy: haproxy, before: beforePath, rounds: rounds, dir: dir}
	if beforePath != "" {
		proxies = append(proxies, before)
	}
	for _, p := range proxies {
		if err := b.look(p); err != nil {
			fmt.Printf("skipped: %s: %v\n", p, err)
			continue
		}
		b.proxies = append(b.proxies, p)
	}
	_, err = exec.LookPath("taskset")
	b.pin = err == nil && cores() >= 2
	if !b.pin {
		fmt.Println("not pinned to cores: needs taskset and two cores, so the ratios mean less")
	}
	return b, nil
}

// look finds a proxy's binary and says which version it is.
func (b *bench) look(name string) error {
	if name == "haproxy" && b.haproxy == "" {
		path, err := exec.LookPath("haproxy")
		if err != nil {
			path = "/usr/sbin/haproxy"
		}
		b.haproxy = path
	}
	path, ask := b.path(name), "version"
	if name == "haproxy" {
		ask = "-v"
	}
	out, err := exec.Command(path, ask).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w", path, ask, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	fmt.Printf("%s: %s (%s)\n", name, first, path)
	if fields := strings.Fields(first); name == "haproxy" && len(fields) > 2 {
		b.version = fields[2] // HAProxy version 3.2.1-... 2026/01/01 - https://haproxy.org/
	}
	return nil
}

func (b *bench) path(name string) string {
	switch name {
	case "haproxy":
		return b.haproxy
	case before:
		return b.before
	}
	return filepath.Join(b.bin, name)
}

// close ends what still runs, by the process ids that were started here, and removes the work directory.
func (b *bench) close() {
	for _, c := range b.running {
		end(c)
	}
	_ = os.RemoveAll(b.dir)
}

func end(c *exec.Cmd) {
	if c.ProcessState == nil {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
}

// start runs a command, on core 1 if asked for and possible; its stderr goes to a file in the work directory.
func (b *bench) start(core1 bool, name string, args ...string) (*exec.Cmd, *bufio.Reader, error) {
	switch {
	case core1 && b.pin:
		name, args = "taskset", append([]string{"-c", "1", name}, args...)
	case b.spread && b.pin: // else they would inherit the generator's core
		name, args = "taskset", append([]string{"-c", fmt.Sprintf("0-%d", cores()-1), name}, args...)
	}
	b.serial++
	log, err := os.Create(filepath.Join(b.dir, fmt.Sprintf("%d.log", b.serial)))
	if err != nil {
		return nil, nil, fmt.Errorf("create log: %w", err)
	}
	defer log.Close()
	c := exec.Command(name, args...)
	c.Stderr = log
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("pipe of %s: %w", name, err)
	}
	if err := c.Start(); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", name, err)
	}
	b.running = append(b.running, c)
	return c, bufio.NewReader(out), nil
}

// proxy is a running proxy with the echo backend behind it.
type proxy struct {
	name    string
	address string
	tls     *tls.Config // what clients offer; nil: plaintext
	pid     int
	procs   []*exec.Cmd
}

func (p proxy) stop() {
	for _, c := range p.procs {
		end(c)
	}
}

// startProxy starts a backend and a proxy before it, and returns when a client has been welcomed through both.
func (b *bench) startProxy(name string, p part) (proxy, error) {
	backend, address := freeAddress(), freeAddress()
	args := []string{"-backend", backend}
	if p.fan {
		args = append(args, "-fan")
	}
	bc, out, err := b.start(false, filepath.Join(b.bin, "bench"), args...)
	if err != nil {
		return proxy{}, err
	}
	if _, err := out.ReadString('\n'); err != nil {
		return proxy{}, fmt.Errorf("backend does not start: %w", err)
	}
	dir, err := os.MkdirTemp(b.dir, name)
	if err != nil {
		return proxy{}, fmt.Errorf("make directory: %w", err)
	}
	px := proxy{name: name, address: address}
	haproxyTLS, relayTLS := "", ""
	if p.tls {
		if haproxyTLS, relayTLS, err = b.listenerTLS(); err != nil {
			return proxy{}, err
		}
		px.tls = clientTLS()
	}
	file := filepath.Join(dir, name+".conf")
	command := []string{b.path(name), "-db", "-f", file}
	text := fmt.Sprintf(haproxyConfig, address, haproxyTLS, backend)
	if name != "haproxy" {
		command = []string{b.path(name), "run", "-c", file}
		text = fmt.Sprintf(relayConfig, address, relayTLS, backend, dir, dir)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return proxy{}, fmt.Errorf("write configuration: %w", err)
	}
	pc, _, err := b.start(true, command[0], command[1:]...)
	if err != nil {
		return proxy{}, err
	}
	px.pid, px.procs = pc.Process.Pid, []*exec.Cmd{pc, bc}
	return px, b.awaitWelcome(px)
}

func (b *bench) awaitWelcome(px proxy) error {
	last := errors.New("no answer")
	for range 100 {
		c, err := net.DialTimeout("tcp", px.address, time.Second)
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			if px.tls != nil {
				c = tls.Client(c, px.tls)
			}
			_, _ = c.Write([]byte("NICK w\r\nUSER w 0 * :w\r\n"))
			_, err = bufio.NewReader(c).ReadString('\n')
			_ = c.Close()
		}
		if err == nil {
			return nil
		}
		last = err
		time.Sleep(100 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(b.dir, strconv.Itoa(b.serial)+".log"))
	return fmt.Errorf("no welcome through %s: %w\n%s", px.name, last, log)
}

const haproxyConfig = `global
    nbthread 1
    maxconn 9900
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-bind-curves X25519
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend irc
    bind %s%s
    default_backend ircd
backend ircd
    server a %s check inter 2s
`

const relayConfig = `listeners:
  - name: irc
    address: "%s"
    pool: main
%s    limits: {connections: 0, per_ip: 0, per_ip_rate: 0, registration: 0}
loops: 1
pools:
  main:
    topology: standalone
    check: {type: tcp, inter: 2s}
    backends:
      - {name: a, address: "%s", identity: none}
state: %s/state
admin: {socket: %s/admin.sock}
http: {address: ""}
log: {level: warn}
`

// freeAddress is a port that was free a moment ago.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}
