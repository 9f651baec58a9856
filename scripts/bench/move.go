package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	talkRate = 1000 // lines/s of all clients together; each goes to the 19 others of its channel
	talkTime = 2 * time.Second
)

// moved is what this program reads of a move's report.
type moved struct {
	State     string                          `json:"state"`
	Attempted int                             `json:"attempted"`
	Moved     int                             `json:"moved"`
	Failed    int                             `json:"failed"`
	Pause     struct{ P50, P99, Max float64 } `json:"pause_ms"`
	Error     string                          `json:"error"`
	Took      map[string]float64              `json:"step_ms"`
	Links     []struct {
		State string  `json:"state"`
		Away  float64 `json:"away_ms"`
	} `json:"links"`
}

const moveConfig = `listeners:
  - name: irc
    address: "%s"
    pool: main
    limits: {connections: 0, per_ip: 0, per_ip_rate: 0, registration: 0}
loops: 0
pools:
  main:
    topology: standalone
    backends:
      - {name: a, handoff: "unix:%s/a.sock"}
      - {name: b, handoff: "unix:%s/b.sock"}
state: %s/state
admin: {socket: %s/admin.sock}
http: {address: ""}
log: {level: warn}
`

// moveUsers replaces users to and fro between two embedded ircds in processes of their own, under traffic.
func (b *bench) moveUsers(users int) ([]string, error) {
	fmt.Printf("\n== %d users replaced between two embedded ircds\n", users)
	dir, address, err := b.startFerry(func(dir, name string) error {
		_, _, err := b.start(false, filepath.Join(b.bin, "ircferry"), "demo-ircd", "--name", name, "--handoff", fmt.Sprintf("unix:%s/%s.sock", dir, name))
		return err
	})
	if err != nil {
		return nil, err
	}
	t, err := newTalkers(address, users)
	if t != nil {
		defer t.close()
	}
	if err != nil {
		return nil, err
	}
	all, err := b.moveRounds(t, dir)
	if err != nil {
		return nil, err
	}
	return moveTable("", users, all, t), nil
}

// moveRounds moves all to and fro and waits for what is said last.
func (b *bench) moveRounds(t *talkers, dir string) (all []moved, err error) {
	for round := range 2 * b.rounds {
		from, to := "a", "b"
		if round%2 == 1 {
			from, to = to, from
		}
		m, err := b.moveOnce(t, dir, from, to)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	if err := t.listen(20*time.Second, func() bool { return t.delivered >= t.expected() }); err != nil {
		fmt.Printf("deliveries missing: %v\n", err)
	}
	for _, line := range t.visible[:min(10, len(t.visible))] {
		fmt.Printf("visible: %s\n", line)
	}
	return all, nil
}

// startFerry starts two ircds by run, whose control sockets are a.sock and b.sock, and the daemon, and returns the directory of their
// sockets and the clients' address. oldnew are changes of the daemon's configuration, as of strings.NewReplacer.
func (b *bench) startFerry(run func(dir, name string) error, oldnew ...string) (dir, address string, err error) {
	b.spread = true // daemon and ircds use the machine as they would in service
	defer func() { b.spread = false }()
	if dir, err = os.MkdirTemp(b.dir, "move"); err != nil {
		return "", "", fmt.Errorf("make directory: %w", err)
	}
	for _, name := range []string{"a", "b"} {
		if err = run(dir, name); err != nil {
			return "", "", err
		}
	}
	address = freeAddress()
	file := filepath.Join(dir, "ircferry.yaml")
	text := strings.NewReplacer(oldnew...).Replace(fmt.Sprintf(moveConfig, address, dir, dir, dir, dir))
	if err = os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", "", fmt.Errorf("write configuration: %w", err)
	}
	if _, _, err = b.start(false, filepath.Join(b.bin, "ircferry"), "run", "-c", file); err != nil {
		return "", "", err
	}
	return dir, address, b.awaitWelcome(proxy{name: "ircferry", address: address})
}

// moveOnce talks for a while, moves while it goes on talking, and talks on.
func (b *bench) moveOnce(t *talkers, dir, from, to string) (moved, error) {
	var m moved
	if err := t.talkUntil(time.After(talkTime)); err != nil {
		return m, err
	}
	t.delays = t.delays[:0]
	ctl := exec.Command(filepath.Join(b.bin, "ferryctl"), "--socket", filepath.Join(dir, "admin.sock"), "-o", "json", "drain", "main/"+from, "--to", to)
	var out, problem bytes.Buffer
	ctl.Stdout, ctl.Stderr = &out, &problem
	done := make(chan time.Time)
	var failed error
	go func() {
		failed = ctl.Run()
		close(done)
	}()
	if err := t.talkUntil(done); err != nil {
		return m, err
	}
	if err := json.Unmarshal(out.Bytes(), &m); err != nil || failed != nil {
		return m, fmt.Errorf("drain %s: %w: %s%s", from, failed, problem.String(), out.String())
	}
	if err := t.talkUntil(time.After(talkTime)); err != nil {
		return m, err
	}
	slices.Sort(t.delays)
	fmt.Printf("%s to %s: %d of %d moved, %d failed, pause p50 %.0f p99 %.0f max %.0f ms; clients waited at most %.0f ms for a line\n",
		from, to, m.Moved, m.Attempted, m.Failed, m.Pause.P50, m.Pause.P99, m.Pause.Max, ms(t.delays, 100))
	fmt.Printf("  ms by step: freeze %.0f, pull %.0f, push %.0f, release %.0f, commit %.0f, splice %.0f\n",
		m.Took["freeze"], m.Took["pull"], m.Took["push"], m.Took["release"], m.Took["commit"], m.Took["splice"])
	undrain := exec.Command(filepath.Join(b.bin, "ferryctl"), "--socket", filepath.Join(dir, "admin.sock"), "undrain", "main/"+from)
	if out, err := undrain.CombinedOutput(); err != nil {
		return m, fmt.Errorf("undrain %s: %w: %s", from, err, out)
	}
	return m, nil
}

// talkUntil sends talkRate lines a second until the channel answers.
func (t *talkers) talkUntil(done <-chan time.Time) error {
	start := time.Now()
	for sent := 0; ; {
		select {
		case <-done:
			return nil
		default:
		}
		due := int(time.Since(start).Seconds() * talkRate)
		if err := t.say(due - sent); err != nil {
			return err
		}
		sent = due
		if err := t.await(time.Millisecond, nil); err != nil {
			return err
		}
	}
}

func moveTable(of string, users int, all []moved, t *talkers) []string {
	var p50, p99, longest []float64
	failed := 0
	for _, m := range all {
		p50, p99, longest = append(p50, m.Pause.P50), append(p99, m.Pause.P99), append(longest, m.Pause.Max)
		failed += m.Attempted - m.Moved
	}
	row := func(what, value, goal string, ok bool) string {
		return fmt.Sprintf("%-56s %16s %16s %22s %8s %s", what, "", value, "", goal, reached(ok))
	}
	number := func(what string, n int) string { return row(what, fmt.Sprint(n), "0", n == 0) }
	title := fmt.Sprintf("%s%d users replaced, %d moves: ", of, users, len(all))
	return []string{
		fmt.Sprintf("%-56s %16s %13.0f ms", title+"pause p50, median", "", median(p50)),
		row(title+"pause p99, median", fmt.Sprintf("%.0f ms", median(p99)), "< 600", median(p99) < 600),
		row(title+"pause max, worst", fmt.Sprintf("%.0f ms", slices.Max(longest)), "< 1000", slices.Max(longest) < 1000),
		number(title+"not moved", failed),
		number(of+fmt.Sprintf("lost of %d deliveries", t.expected()), t.expected()-t.delivered),
		number(of+"doubled", t.doubled),
		number(of+"out of order", t.reordered),
		number(of+"visible lines", len(t.visible)),
	}
}
