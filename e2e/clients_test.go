//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// What a real client says while the moves go on: "<nick> 1" to "<nick> <saidLines>", one each saidEvery.
const (
	saidLines = 150
	saidEvery = 200 * time.Millisecond
	channel   = "#ferry"
)

// realClient is an IRC client from the distribution, joined to the channel.
type realClient struct {
	nick string
	// talk begins to say the numbered lines and returns at once.
	talk func()
	// log is what the client has shown of the channel so far, all is that and whatever else it has shown or logged.
	log, all func() string
	// settled is in all when the client has done with joining; "" if there is nothing to wait for.
	settled string
}

// door is where a client comes in.
type door struct {
	port int
	ca   string // file of the authority that it trusts; "": without TLS
	cert string // file with the certificate that it shows, and its key; "": none
}

func weechat(t *testing.T, port int) realClient { return weechatAt(t, "wee", door{port: port}) }
func irssi(t *testing.T, port int) realClient   { return irssiAt(t, "irs", door{port: port}) }

// clients are those of the clients that can TLS, at a listener with it. Each has a certificate of its own.
func (s *secured) clients(t *testing.T) []realClient {
	t.Helper()
	at := func() door {
		cert, _, _ := writeCert(t, shortDir(t), certtest.SelfSigned(t, certtest.Options{}))
		return door{s.port, s.ca, cert}
	}
	return []realClient{weechatAt(t, "wes", at()), irssiAt(t, "irx", at())}
}

// weechatAt runs weechat-headless. It has no input of its own, so each SIGUSR1 makes it say the next line.
func weechatAt(t *testing.T, nick string, d door) realClient {
	program := need(t, "weechat-headless", "weechat-headless")
	dir := shortDir(t)
	secure := ""
	if d.ca != "" {
		secure = "ferry.ssl = on\nferry.ssl_verify = on\nferry.ssl_cert = \"" + d.cert + "\"\n"
	}
	writeFile(t, filepath.Join(dir, "irc.conf"), fmt.Sprintf(`[look]
smart_filter = off
[server_default]
anti_flood_prio_high = 0
anti_flood_prio_low = 0
[server]
ferry.addresses = "127.0.0.1/%d"
ferry.nicks = "%s"
ferry.username = "wee"
ferry.realname = "wee"
ferry.autojoin = "%s"
ferry.autoconnect = on
%s`, d.port, nick, channel, secure))
	writeFile(t, filepath.Join(dir, "logger.conf"), "[file]\nflush_delay = 0\npath = \"${weechat_data_dir}/logs\"\n")
	writeFile(t, filepath.Join(dir, "plugins.conf"), "[var]\ne2e.n = \"1\"\n")
	writeFile(t, filepath.Join(dir, "weechat.conf"), fmt.Sprintf(
		"[network]\ngnutls_ca_user = \"%s\"\n[signal]\nsigusr1 = \"/command -buffer irc.ferry.%s irc /msg %s %s ${plugins.var.e2e.n};"+
			"/mute /set plugins.var.e2e.n ${calc:${plugins.var.e2e.n}+1}\"\n", d.ca, channel, channel, nick))
	p := start(t, []string{"TERM=dumb", "HOME=" + dir}, program, "-d", dir)
	shown := func() string { return readFile(filepath.Join(dir, "logs", "irc.ferry."+channel+".weechatlog")) }
	return realClient{
		nick: nick,
		talk: func() {
			eventually(t, 20*time.Second, nick+" has opened the channel", func() bool { return shown() != "" }) // that others see it is not enough
			everyTick(t, func(n int) {
				p.signal(syscall.SIGUSR1)
				// Two signals that wait for a busy process are one, so the next comes when this one was heard.
				for t.Context().Err() == nil && times(shown(), nick)[n] == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			})
		},
		log: shown,
		all: func() string { return readAll(filepath.Join(dir, "logs", "*")) },
	}
}

// irssiAt runs irssi under tmux, as it does on many a shell server, and types into it.
func irssiAt(t *testing.T, nick string, d door) realClient {
	program, tmux := need(t, "irssi", "irssi"), need(t, "tmux", "tmux")
	dir := shortDir(t)
	host, secure := "127.0.0.1", ""
	if d.ca != "" {
		host = "localhost" // it knows no addresses in certificates
		secure = fmt.Sprintf(`use_tls = "yes"; tls_verify = "yes"; tls_cafile = "%s"; tls_cert = "%s"; `, d.ca, d.cert)
	}
	writeFile(t, filepath.Join(dir, "config"), fmt.Sprintf(`servers = ( { address = "%[6]s"; port = "%[1]d"; chatnet = "ferry"; autoconnect = "yes"; %[5]s} );
chatnets = { ferry = { type = "IRC"; nick = "%[4]s"; } };
channels = ( { name = "%[2]s"; chatnet = "ferry"; autojoin = "yes"; } );
settings = {
  core = { real_name = "irs"; user_name = "irs"; nick = "%[4]s"; };
  "irc/core" = { cmd_queue_speed = "10msec"; cmds_max_at_once = "100"; };
  "fe-common/core" = { autolog = "yes"; autolog_path = "%[3]s/logs/$0.log"; autolog_level = "ALL"; };
};
`, d.port, channel, dir, nick, secure, host))
	run := func(args ...string) {
		t.Helper()
		args = append([]string{"-S", filepath.Join(dir, "tmux"), "-f", "/dev/null"}, args...)
		cmd := exec.Command(tmux, args...)
		cmd.Env = append(cmd.Environ(), "TERM=xterm", "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("tmux %s: %v: %s", args, err, out)
		}
	}
	run("new-session", "-d", "-x", "200", "-y", "50", program+" --home="+dir)
	t.Cleanup(func() { run("kill-server") }) // the server of the socket in dir, which has this one client only
	typed := func(text string) {
		run("send-keys", "-l", text)
		run("send-keys", "Enter")
	}
	raw := filepath.Join(dir, "raw.log")
	return realClient{
		nick:    nick,
		settled: "was synced",
		talk: func() {
			typed("/rawlog open " + raw)
			everyTick(t, func(n int) { typed(fmt.Sprintf("/msg %s %s %d", channel, nick, n)) })
		},
		log: func() string { return readFile(filepath.Join(dir, "logs", channel+".log")) },
		all: func() string { return readAll(filepath.Join(dir, "logs", "*")) + readFile(raw) },
	}
}

// sic prints every line that it gets, but PING.
func sic(t *testing.T, port int) realClient {
	p := start(t, nil, need(t, "sic", "sic"), "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-n", "sic")
	say := func(line string) {
		if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
			t.Errorf("type into sic: %v", err)
		}
	}
	eventually(t, 20*time.Second, "sic is welcomed", func() bool { return strings.Contains(p.out.String(), "001") })
	say(":j " + channel)
	return realClient{
		nick: "sic",
		talk: func() { everyTick(t, func(n int) { say(fmt.Sprintf(":m %s sic %d", channel, n)) }) },
		log:  p.out.String,
		all:  p.out.String,
	}
}

// everyTick calls say with 1 to saidLines in a goroutine that ends before what the test has started is ended.
func everyTick(t *testing.T, say func(n int)) {
	ended := make(chan struct{})
	ctx := t.Context()
	go func() {
		defer close(ended)
		tick := time.NewTicker(saidEvery)
		defer tick.Stop()
		for n := 1; n <= saidLines; n++ {
			select {
			case <-tick.C:
				say(n)
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { <-ended })
}

// eyeTalks has the observer say the numbered lines, too; said answers the last that it has said, or is about to say.
func eyeTalks(t *testing.T, eye *irc) (said func() int) {
	var last atomic.Int64
	everyTick(t, func(n int) {
		last.Store(int64(n))
		eye.send(fmt.Sprintf("PRIVMSG %s :eye %d", channel, n))
	})
	return func() int { return int(last.Load()) }
}

// settles waits until the client talks and has shown all that belongs to joining, and answers what it has shown beside the numbered lines.
func (c realClient) settles(t *testing.T, eye *irc, said func() int) map[string]int {
	t.Helper()
	eye.sees(fmt.Sprintf(":%s 3", c.nick))
	next := said() + 1 // it is behind the answers to all that the client has asked before it talked
	eventually(t, 20*time.Second, c.nick+" has settled", func() bool { return strings.Contains(c.all(), c.settled) && times(c.log(), "eye")[next] > 0 })
	return c.strange()
}

func readAll(pattern string) string {
	files, _ := filepath.Glob(pattern)
	var b strings.Builder
	for _, f := range files {
		b.WriteString(readFile(f))
	}
	return b.String()
}

// reportOnFailure prints what the client has shown if the test fails.
func (c realClient) reportOnFailure(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s showed:\n%s", c.nick, lastLines(c.all(), 60))
		}
	})
}

var (
	numbered = regexp.MustCompile(`\b(wee|irs|sic|wes|irx|eye) [0-9]+$`)
	// In irssi's raw log: what it sends, what it does with an event, and the answers to what it asks for by itself or with a JOIN
	// and to measure its lag.
	asked = regexp.MustCompile(`^(<< |--> |>> (@\S+ )?(:\S+ (315|324|329|352|353|354|366|367|368|PONG)|PING) )`)
)

// strange counts the lines that the client has shown and that are none of the numbered ones, unless it had asked for them.
func (c realClient) strange() map[string]int {
	lines := map[string]int{}
	for line := range strings.Lines(c.all()) {
		line = strings.TrimRight(line, " \r\n")
		if line != "" && !numbered.MatchString(line) && !asked.MatchString(line) {
			lines[line]++
		}
	}
	return lines
}

// times counts how often each line "who n" is in a log.
func times(log, who string) map[int]int {
	count := map[int]int{}
	for line := range strings.Lines(log) {
		m := numbered.FindString(strings.TrimRight(line, " \r\n"))
		if n, err := strconv.Atoi(strings.TrimPrefix(m, who+" ")); err == nil && m != "" {
			count[n]++
		}
	}
	return count
}
