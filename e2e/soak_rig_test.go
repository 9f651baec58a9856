//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const soakTalkers, soakRooms = 24, 4

// soakGap is how long nobody may hear nothing: three mischiefs of 3 s one after the other, the times of a move, and a busy machine. The leases of
// imports, which nobody may have to wait for, are longer.
const soakGap = 18 * time.Second

// soak is a daemon, two ircds behind taps, those who stay and those who come and go.
type soak struct {
	t       *testing.T
	rnd     *rand.Rand // of the rounds: only their goroutine uses it
	f       *ferry
	secure  *secured
	ircds   map[string]managed
	taps    map[string]*tap
	serving string
	talkers *talkers
	guests  *guests
	files   int // descriptors of the daemon before anybody came

	mischief sync.WaitGroup // of the present round
	outcomes map[string]int

	mu   sync.Mutex
	log  []string      // of the present round
	away time.Duration // how long an ircd is away that has ended
}

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	s := &soak{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), secure: newSecured(t), ircds: map[string]managed{}, taps: map[string]*tap{}, serving: "a", outcomes: map[string]int{}}
	var backends []string
	for _, name := range []string{"a", "b"} {
		s.ircds[name] = startManaged(t, name)
		s.taps[name] = newTap(t, s.ircds[name].handoff())
		backends = append(backends, fmt.Sprintf("{name: %s, handoff: %q}", name, s.taps[name].handoff()))
	}
	for name := range s.ircds {
		s.hasStarted(name)
		s.manage(name)
	}
	s.f = newFerry(t, s.secure.text, backends...)
	text := strings.Replace(readFile(s.f.configFile()), "level: debug", "level: info", 1)
	s.f.writeConfig(text + "moves: {deadline: 15s, max_pause: 2s, park: 2m}\n") // so that what is stopped longer reverts a move
	s.f.run(nil)
	s.usable()
	s.files = s.descriptors()
	s.talkers = startMixed(t, s.f.port, s.secure, soakTalkers, soakRooms)
	s.f.ctl("drain", "main/b", "--to", "a") // if b was chosen
	s.usable()
	s.guests = startGuests(s, seed)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last round:\n%s", s.story())
			t.Logf("the moves of the daemon:\n%s", s.moves())
		}
	})
	return s
}

// managed is a native ircd that is started again whenever it has ended.
type managed interface {
	handoff() string
	run()
	running() *process
}

func (e *embedded) running() *process { return e.proc }

func startManaged(t *testing.T, name string) managed {
	t.Helper()
	if os.Getenv("IRCFERRY_SOAK_IRCD") == "inspircd" {
		return inspVersions()[0].start(t, name)
	}
	return startEmbedded(t, name)
}

// hasStarted waits until an ircd answers, not by its tap.
func (s *soak) hasStarted(name string) {
	path := strings.TrimPrefix(s.ircds[name].handoff(), "unix:")
	control := &nativeInspIRCd{dir: filepath.Dir(path)} // all call their socket the same
	eventually(s.t, 10*time.Second, name+" answers HELLO", func() bool {
		_, err := control.hello()
		return err == nil
	})
}

// note tells what happened in a round.
func (s *soak) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
}

func (s *soak) story() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, "\n")
}

func (s *soak) other() string {
	if s.serving == "a" {
		return "b"
	}
	return "a"
}

func (s *soak) pause(d time.Duration) {
	select {
	case <-s.t.Context().Done():
	case <-time.After(d):
	}
}

func (s *soak) process(name string) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ircds[name].running()
}

// manage starts an ircd again whenever it has ended, as a service manager does.
func (s *soak) manage(name string) {
	var managed sync.WaitGroup
	s.t.Cleanup(managed.Wait)
	managed.Go(func() {
		for {
			select {
			case <-s.process(name).done:
			case <-s.t.Context().Done():
			}
			if s.t.Context().Err() != nil {
				return
			}
			s.taps[name].refuse()
			s.note("%s has ended", name)
			s.pause(s.rest())
			s.mu.Lock()
			s.ircds[name].run()
			s.mu.Unlock()
			s.hasStarted(name)
			s.taps[name].open()
			s.note("%s is there again", name)
		}
	})
}

// rest is how long an ircd that has ended is away.
func (s *soak) rest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away
}

// moves are the lines of the daemon's log that are not about the ends of sessions.
func (s *soak) moves() string {
	var b strings.Builder
	for line := range strings.Lines(s.f.proc.out.String()) {
		if !strings.Contains(line, "component=proxy") {
			b.WriteString(line)
		}
	}
	return lastLines(b.String(), 40)
}

// soakMove is a move as ferryctl shows it.
type soakMove struct {
	ID, State string
	Started   time.Time
}

func (m soakMove) underWay() bool { return m.State == "running" || m.State == "parked" }

func (s *soak) shown() (all []soakMove) {
	out, _ := s.f.ctl("-o", "json", "show", "moves")
	_ = json.Unmarshal([]byte(out), &all)
	return all
}

// descriptors counts those of the daemon.
func (s *soak) descriptors() int {
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.f.proc.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(files)
}
