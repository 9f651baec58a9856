package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The part inspircd: users of two real InspIRCds with m_handoff and the modules of a real network, as the end-to-end tests run them.
const (
	inspircdUsers   = 1000
	inspircdEntries = 20 // of each list; there are as many channels as a tenth of the users
	stockModules    = "/usr/lib/inspircd/modules"
)

// errNoInspIRCd is why the part is left out.
var errNoInspIRCd = errors.New("no InspIRCd with m_handoff here: apt-get install inspircd inspircd-dev g++, then make modules")

// moveInspIRCd replaces users to and fro between two InspIRCds, under traffic, and says where the time goes.
func (b *bench) moveInspIRCd() ([]string, error) {
	fmt.Printf("\n== %d users in %d channels with %d list entries each replaced between two InspIRCds\n", inspircdUsers, inspircdUsers/10, inspircdEntries)
	program, module, ok := b.findInspIRCd()
	if !ok {
		return nil, nil
	}
	dir, address, err := b.startFerry(func(dir, name string) error { return b.startInspIRCd(program, module, dir, name, "") })
	if err == nil {
		err = b.beginAtA(dir)
	}
	if err != nil {
		return nil, err
	}
	t, err := newTalkers(address, inspircdUsers)
	if t != nil {
		defer t.close()
	}
	if err == nil {
		err = t.furnish()
	}
	if err != nil {
		return nil, err
	}
	all, err := b.moveRounds(t, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"a", "b"} {
		printSteps(filepath.Join(dir, name, "ircd.log"))
	}
	return moveTable("InspIRCd, ", inspircdUsers, all, t), nil
}

// findInspIRCd says where the program and our module are, or why the part is left out.
func (b *bench) findInspIRCd() (program, module string, ok bool) {
	program, err := exec.LookPath("inspircd")
	if err != nil {
		program = "/usr/sbin/inspircd"
	}
	module = filepath.Join(b.bin, "m_handoff.so")
	for _, path := range []string{program, module, stockModules} {
		if _, err := os.Stat(path); err != nil {
			fmt.Println("left out:", errNoInspIRCd)
			return "", "", false
		}
	}
	return program, module, true
}

// beginAtA has a serve, whichever was up first.
func (b *bench) beginAtA(dir string) error {
	for _, args := range [][]string{{"drain", "main/b", "--to", "a"}, {"undrain", "main/b"}} {
		ctl := exec.Command(filepath.Join(b.bin, "ferryctl"), append([]string{"--socket", filepath.Join(dir, "admin.sock")}, args...)...)
		if out, err := ctl.CombinedOutput(); err != nil {
			return fmt.Errorf("ferryctl %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// startInspIRCd runs an InspIRCd with the configuration of the end-to-end tests, and more behind it.
func (b *bench) startInspIRCd(program, module, dir, name, more string) error {
	run := filepath.Join(dir, name)
	modules := filepath.Join(run, "modules")
	if err := os.MkdirAll(modules, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	ours, err := filepath.Abs(module)
	if err != nil {
		return err
	}
	stock, _ := filepath.Glob(stockModules + "/*.so")
	for _, path := range append(stock, ours) {
		if err := os.Symlink(path, filepath.Join(modules, filepath.Base(path))); err != nil {
			return fmt.Errorf("link module: %w", err)
		}
	}
	_, stream, _ := strings.Cut(freeAddress(), ":")
	_, client, _ := strings.Cut(freeAddress(), ":")
	if err := fill("configs/inspircd/handoff.conf", filepath.Join(run, "handoff.conf"), "/run/inspircd/handoff.sock", filepath.Join(dir, name+".sock"),
		`port="7001"`, `port="`+stream+`"`); err != nil {
		return err
	}
	conf := filepath.Join(run, "inspircd.conf")
	if err := fill("e2e/testdata/inspircd-handoff.conf", conf, "@RUN@", run, "@MODULES@", modules, "@NAME@", "insp.example.org", "@SID@", "1AA",
		"@LOG@", "default", "@PORT@", client, `<sasl target="services.test">`, `<sasl target="services.test">`+more); err != nil {
		return err
	}
	_, _, err = b.start(false, program, "--config="+conf, "--nofork", "--runasroot")
	return err
}

// fill writes a copy of a configuration with other words in it.
func fill(from, to string, oldnew ...string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := os.WriteFile(to, []byte(strings.NewReplacer(oldnew...).Replace(string(data))), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// furnish brings the users into as many channels more as there are, and fills all lists.
func (t *talkers) furnish() error {
	n, more := len(t.fds), inspircdUsers/10-(len(t.fds)+channelSize-1)/channelSize
	for i := range n {
		text := fmt.Appendf(nil, "JOIN #d%d\r\n", i%more)
		for k := range inspircdEntries {
			if i < more { // the first one there is its operator
				text = fmt.Appendf(text, "MODE #d%d +b *!*@%d.d.example\r\n", i, k)
			}
			if i%channelSize == 0 {
				text = fmt.Appendf(text, "MODE #c%d +b *!*@%d.c.example\r\n", i/channelSize, k)
			}
		}
		if err := t.send(i, text); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
	}
	if err := t.listen(30*time.Second, func() bool { return t.joined == 2*n }); err != nil {
		return fmt.Errorf("%d of %d joins: %w", t.joined-n, n, err)
	}
	for quiet := time.Now(); time.Since(quiet) < time.Second; {
		if err := t.await(100*time.Millisecond, func() { quiet = time.Now() }); err != nil {
			return err
		}
	}
	t.visible = nil
	return nil
}

var stepLine = regexp.MustCompile(`m_handoff: ((Exported|Released|Prepared|Committed) [1-9][0-9]* users in [0-9]+ ms)`)

// printSteps shows what the ircd itself says of its steps.
func printSteps(log string) {
	data, _ := os.ReadFile(log)
	for _, m := range stepLine.FindAllSubmatch(data, -1) {
		fmt.Printf("  %s: %s\n", filepath.Base(filepath.Dir(log)), m[1])
	}
}
