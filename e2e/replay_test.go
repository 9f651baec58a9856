//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/ircclient"
)

// stockIRCd is an ircd without any module of ours that can be started again in its place.
type stockIRCd struct {
	t       *testing.T
	port    int
	command []string
	more    string   // of the backend
	caps    []string // that half of the talkers have
	lists   string   // that a channel has
	monitor bool     // it has MONITOR
	proc    *process
}

func (i *stockIRCd) backend() string {
	return fmt.Sprintf(`{name: a, address: "127.0.0.1:%d", driver: replay%s}`, i.port, i.more)
}

func (i *stockIRCd) run() {
	i.t.Helper()
	i.proc = start(i.t, nil, i.command[0], i.command[1:]...)
	awaitPort(i.t, i.port, i.proc)
}

// restart is a restart in place: ferryctl's command ends the process, and a service manager starts the next.
func (i *stockIRCd) restart(f *ferry) result {
	i.t.Helper()
	old := i.proc
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		<-old.done
		i.run()
	}()
	r := f.move("restart", "main/a", "--exec", fmt.Sprintf("kill %d", old.cmd.Process.Pid))
	<-restarted
	return r
}

// stockIRCds are those that are in Debian.
var stockIRCds = []struct {
	name string
	make func(t *testing.T) *stockIRCd
}{
	{"ngircd", func(t *testing.T) *stockIRCd {
		program := need(t, "ngircd", "ngircd")
		port, conf := ircdConfig(t, "ngircd.conf", "ng.example.org")
		return &stockIRCd{t: t, port: port, command: []string{program, "--nodaemon", "--config", conf}, caps: []string{"multi-prefix"}, lists: "beI",
			more: ", identity: webirc, webirc_after: user, webirc_password_file: " + secret(t, "webpass")}
	}},
	{"inspircd", func(t *testing.T) *stockIRCd {
		v := inspVersions()[0]
		v.need(t)
		port, conf := v.stockConfig(t)
		writeFile(t, conf, readFile(conf)+`<module name="monitor"><module name="banexception"><module name="inviteexception"><module name="cloaking">`+
			`<cloak mode="half" key="0123456789abcdef0123456789abcdef0123" prefix="cl-" suffix=".ip">`+"\n")
		return &stockIRCd{t: t, port: port, command: []string{v.wrapper(t, filepath.Dir(conf)), "--config=" + conf, "--nofork", "--runasroot"},
			caps: []string{"echo-message", "server-time", "multi-prefix"}, lists: "beI", monitor: true, more: ", identity: proxy-v2"}
	}},
	{"hybrid", func(t *testing.T) *stockIRCd {
		port, command := hybridCommand(t, func(conf string) string {
			return strings.NewReplacer("flags = no_tilde", "flags = exceed_limit, can_flood, no_tilde", "recvq = 8000 bytes", "recvq = 8000 bytes; max_channels = 60").Replace(conf)
		})
		return &stockIRCd{t: t, port: port, command: command, caps: []string{"multi-prefix", "away-notify"}, lists: "beI", monitor: true,
			more: ", identity: webirc, webirc_password_file: " + secret(t, "webpass")}
	}},
}

const replayTalkers, replayRooms = 49, 10

// Issue 14, shown 1: a stock ircd is restarted under 50 clients in 10 channels who talk all the while, and each byte that they hear is compared: nothing of
// it is the restart's. Afterwards the ircd answers as before, but for what the table of the README says.
func TestReplayRestarts(t *testing.T) {
	for _, c := range stockIRCds {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			runs, _ := strconv.Atoi(os.Getenv("IRCFERRY_REPLAY_RUNS"))
			restartTalking(t, c.name, c.make(t), max(runs, 2))
		})
	}
}

func restartTalking(t *testing.T, name string, ircd *stockIRCd, runs int) {
	ircd.run()
	f := startFerry(t, nil, "", ircd.backend())
	eye := login(t, f.port, "127.0.9.1", "eye")
	for n := range replayRooms {
		eye.send("JOIN " + room(n, replayRooms))
		eye.expect(" 366 ")
	}
	w := startTalk(t, replayTalkers, replayRooms, talk{
		at: func(int) (string, *tls.Config) { return fmt.Sprintf("127.0.0.1:%d", f.port), nil },
		caps: func(n int) []string {
			if n%2 == 1 {
				return ircd.caps
			}
			return nil
		},
		ready: func(c *ircclient.Client) error {
			if strings.HasSuffix(c.Nick, "7") {
				if _, err := c.Ask("AWAY :gone  fishing, back soon"); err != nil {
					return err
				}
			}
			if strings.HasSuffix(c.Nick, "3") {
				_, err := c.Ask("MODE " + c.Nick + " +iw")
				return err
			}
			return nil
		},
		all: func() { furnish(eye, ircd) },
	})
	before := probe(t, eye)
	for n := range runs {
		r := ircd.restart(f)
		t.Logf("restart %d: pause p50 %.0f ms, max %.0f ms, by steps %v", n+1, r.PauseMS.P50, r.PauseMS.Max, r.Took)
		w.talkOn(300)
	}
	w.closing(fmt.Sprintf("ircd=%s kind=restart runs=%d", name, runs))
	after := probe(t, eye)
	if !slices.Equal(before, after) {
		t.Errorf("the ircd answered before the restarts\n%s\nand afterwards\n%s", strings.Join(minus(before, after), "\n"), strings.Join(minus(after, before), "\n"))
	}
	w.goAway()
}

// furnish gives the rooms what rooms have.
func furnish(eye *irc, ircd *stockIRCd) {
	for _, line := range []string{
		"MODE #room0 +ov user10 user20", "MODE #room1 +l 90", "MODE #room2 +k secret", "MODE #room5 +i", "MODE #room6 +s-t", "MODE #room7 +m", "MODE #room7 +vvv user7 user17 user27",
		"MODE #room7 +vv user37 user47", "MODE #room0 +v eye", "MODE #room9 +o user9", "MODE #room8 -o eye",
	} {
		eye.send(line)
	}
	for n := range 8 {
		eye.send(fmt.Sprintf("TOPIC #room%d :the topic of  room %d", n, n))
	}
	for _, mode := range ircd.lists {
		for _, mask := range []string{"evil!*@*", "*!*@192.0.2.1", "third!*@example.org"} {
			eye.send(fmt.Sprintf("MODE #room3 +%c %s", mode, mask))
		}
	}
	if ircd.monitor {
		eye.send("MONITOR + ghost,user3,user99")
		eye.send("MONITOR - user99")
	}
	eye.send("AWAY :the eye sleeps")
	eye.fence()
}

// minus are the lines of a that are not in b.
func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// probe asks for all that can be asked for, and leaves out what the README's table says that it changes: times, and the order of names and of modes.
func probe(t *testing.T, eye *irc) (answers []string) {
	t.Helper()
	ask := func(question string, numerics ...string) {
		eye.fence()
		from := eye.count()
		eye.send(question)
		eye.fence()
		for _, line := range eye.since(from) {
			words := strings.Fields(line)
			if len(words) < 4 || !slices.Contains(numerics, words[1]) {
				continue
			}
			switch words = words[3:]; strings.Fields(line)[1] {
			case "333", "367", "348", "346":
				words = words[:len(words)-1] // when
			case "353", "319":
				slices.Sort(words)
				for i := range words {
					words[i] = strings.TrimPrefix(words[i], ":")
				}
				slices.Sort(words)
			case "324":
				letters := strings.Split(words[1], "")
				slices.Sort(letters)
				words[1] = strings.Join(letters, "")
				slices.Sort(words)
				for i := range words {
					words[i] = strings.TrimPrefix(words[i], ":")
				}
			}
			answers = append(answers, question+": "+strings.Fields(line)[1]+" "+strings.Join(words, " "))
		}
	}
	for n := range replayRooms {
		c := room(n, replayRooms)
		ask("MODE "+c, "324")
		ask("TOPIC "+c, "332", "333", "331")
		ask("NAMES "+c, "353")
		for _, mode := range "beI" {
			ask(fmt.Sprintf("MODE %s %c", c, mode), "367", "348", "346", "482")
		}
	}
	for n := range replayTalkers {
		ask(fmt.Sprintf("WHOIS user%d", n), "311", "319", "301", "330", "671", "338", "378")
	}
	ask("MODE eye", "221")
	ask("MONITOR L", "732")
	ask("WHOIS eye", "311", "319", "301")
	if len(answers) < 100 {
		t.Fatalf("the ircd has answered %q", answers)
	}
	return answers
}
