//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const configuration = "/etc/ircferry/ircferry.yaml"

// TestDebianPackage builds the package and takes it through its life: in a clean root without a running systemd, and under a real one
// with a client on.
func TestDebianPackage(t *testing.T) {
	need(t, "dpkg-deb", "dpkg")
	first := buildDeb(t)
	next := nextDeb(t, first)
	t.Run("InACleanRoot", func(t *testing.T) { t.Parallel(); debInCleanRoot(t, first, next) })
	t.Run("UnderSystemd", func(t *testing.T) { t.Parallel(); debUnderSystemd(t, first, next) })
	t.Run("IsTheSameWheneverBuilt", func(t *testing.T) {
		t.Parallel()
		again, err := os.ReadFile(buildDeb(t))
		if err != nil {
			t.Fatal(err)
		}
		if before := readFile(first); !bytes.Equal([]byte(before), again) {
			t.Errorf("two packages of one tree differ (%d and %d bytes)", len(before), len(again))
		}
	})
}

func debInCleanRoot(t *testing.T, first, next string) {
	m := newCleanRoot(t)
	m.give(first, "root/first.deb")
	m.give(next, "root/next.deb")
	if out := m.well("dpkg -i /root/first.deb"); !strings.Contains(out, "ircferry: not started.") {
		t.Errorf("nobody is told how to go on:\n%s", out)
	}
	const guarded = "640 root:ircferry"
	owner := func() { t.Helper(); m.says("stat -c '%a %U:%G' "+configuration, guarded) }
	owner()
	m.says("getent passwd ircferry | cut -d: -f6,7", "/var/lib/ircferry:/usr/sbin/nologin")
	m.well("setpriv --reuid=ircferry --regid=ircferry --init-groups grep -q listeners: " + configuration)
	if _, code := m.run("setpriv --reuid=nobody --regid=nogroup --clear-groups cat " + configuration); code == 0 {
		t.Error("everybody can read the configuration")
	}
	m.says("ircferry version | cut -d' ' -f2", "v0.1")
	m.says("dpkg -V ircferry", "")
	m.says("find /usr/bin/ircferry /usr/bin/ferryctl /usr/share/ircferry /usr/share/doc/ircferry ! -user root -o ! -type l -perm /022", "")
	m.says("ls /etc/systemd/system/*/ircferry.service 2>/dev/null || echo not enabled", "not enabled")
	m.pages()
	m.completions()
	m.module()
	m.lint()

	// A configuration that nobody has edited is the new version's; one that somebody has is his.
	m.well("dpkg -i /root/next.deb && grep -q '^# of 0.2' " + configuration)
	owner()
	m.well("sed -i 's/^# of 0.2/# of mine/' " + configuration + " && touch /etc/ircferry/webirc")
	m.well("dpkg -i --force-confold /root/first.deb && grep -q '^# of mine' " + configuration)
	owner()

	m.well("install -d -o ircferry -g ircferry /var/lib/ircferry && touch /var/lib/ircferry/lock && dpkg -r ircferry")
	m.says("ls /usr/bin/ircferry /usr/share/ircferry /usr/lib/systemd/system/ircferry.service 2>/dev/null; true", "")
	m.well("grep -q '^# of mine' " + configuration + " && test -e /var/lib/ircferry/lock")
	m.well("chown root:root " + configuration + " && dpkg -i --force-confold /root/next.deb && grep -q '^# of mine' " + configuration)
	m.says("stat -c %U:%G "+configuration, "root:root") // who has changed that is not overruled
	m.well("dpkg -P ircferry")
	m.says("ls -d /var/lib/ircferry /etc/ircferry/* 2>/dev/null; true", "/etc/ircferry/webirc") // which is not the package's
	m.well("dpkg -i /root/next.deb")
	owner()
}

// pages renders every page; mandoc warns of what another man would show wrongly.
func (m *machine) pages() {
	m.t.Helper()
	pages := strings.Fields(m.well("dpkg -L ircferry | grep '^/usr/share/man/.*gz$'"))
	if len(pages) < 25 {
		m.t.Errorf("there are %d pages only", len(pages))
	}
	m.says("for page in "+strings.Join(pages, " ")+"; do mandoc -T lint -W warning $page; done", "")
	for page, want := range map[string]string{"8 ircferry": "/etc/ircferry/ircferry.yaml", "1 ferryctl": "EXIT CODES", "1 ferryctl-drain": "--dry-run"} {
		if out := m.well("mandoc -T ascii $(man -w " + page + ") | col -b"); !strings.Contains(out, want) {
			m.t.Errorf("page %s does not say %q:\n%s", page, want, out)
		}
	}
}

// completions asks each shell what it makes of a word that has begun.
func (m *machine) completions() {
	m.t.Helper()
	m.put("bash", `. /usr/share/bash-completion/bash_completion
_comp_load ferryctl || exit 3
COMP_LINE="ferryctl undr" COMP_POINT=13 COMP_WORDS=(ferryctl undr) COMP_CWORD=1
$(complete -p ferryctl | sed 's/.*-F \([^ ]*\).*/\1/') ferryctl undr ferryctl 2>/dev/null # compopt is for a line that somebody types
echo "${COMPREPLY[0]%% *}"`)
	m.put("zsh", `autoload -Uz compinit && compinit -u -D && echo "$_comps[ferryctl]" && autoload -Uz +X _ferryctl`)
	m.put("fish", `complete -C "ferryctl undr" | cut -f1`)
	for shell, want := range map[string]string{"bash": "undrain", "zsh": "_ferryctl", "fish": "undrain"} {
		m.give(m.dir+"/root/"+shell, "root/"+shell)
		m.says(shell+" /root/"+shell, want)
	}
}

// lint asks lintian, which works for some seconds. That the test's package is not compressed is nothing to tell.
func (m *machine) lint() {
	m.t.Helper()
	const quiet = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball"
	out, code := m.runWithin(4*slack, "lintian --allow-root --suppress-tags "+quiet+" --fail-on error,warning,info --display-info /root/first.deb")
	if code != 0 || out != "" {
		m.t.Errorf("lintian: exit %d\n%s", code, out)
	}
}

// module compiles InspIRCd's module as README.Debian says, out of what the package has of it.
func (m *machine) module() {
	m.t.Helper()
	if _, code := m.run("test -e /usr/include/inspircd/config.h && command -v g++"); code != 0 {
		m.t.Log("InspIRCd's module is not compiled: no g++ and inspircd-dev in the root")
		return
	}
	command := strings.TrimSpace(m.well("grep '^ *g++ ' /usr/share/doc/ircferry/README.Debian"))
	m.well(command + " -fsyntax-only")
}

// debUnderSystemd: this machine's Debian, a daemon of the unit that is shipped, and a client that stays.
func debUnderSystemd(t *testing.T, first, next string) {
	m := newMachine(t)
	m.put("var/lib/dpkg/status", readFile("/var/lib/dpkg/status"))
	m.start()
	m.well("rm -f /usr/sbin/policy-rc.d") // which in a container lets no package start or stop a service
	m.well("mkdir -p /var/lib/dpkg/updates /var/lib/dpkg/info /var/lib/dpkg/triggers")
	m.give(first, "root/first.deb")
	m.give(next, "root/next.deb")
	ircd, port := freePort(t), freePort(t)
	start(t, nil, binary("ircferry"), "demo-ircd", "--name", "a", "--listen", fmt.Sprintf("127.0.0.1:%d", ircd))

	m.well("dpkg -i /root/first.deb")
	if _, code := m.run("systemctl --quiet is-active ircferry"); code == 0 {
		t.Error("a daemon runs that nobody has configured")
	}
	m.well(fmt.Sprintf(`printf 'listeners: [{name: irc, address: "127.0.0.1:%d", pool: main}]\npools: {main: {backends: [{name: a, address: "127.0.0.1:%d"}]}}\nhttp: {address: ""}\n' >%s`,
		port, ircd, configuration))
	m.well("ircferry check && systemctl enable --now ircferry")
	eventually(t, 10*time.Second, "the backend is up", func() bool { return strings.Contains(m.well("ferryctl show backends"), " up ") })
	m.says("stat -c %U:%a /var/lib/ircferry", "ircferry:700")
	ann := login(t, port, "127.0.9.1", "ann")

	eventually(t, slack, "the keeper has everything", func() bool { return strings.Contains(m.well("ferryctl status"), "keeper ") })
	keeper := m.well("systemctl show -P MainPID ircferry-keeper")
	pid := m.well("systemctl show -P MainPID ircferry")
	out := m.well("dpkg -i --force-confold /root/next.deb")
	ann.fence()
	m.well("systemctl is-active ircferry")
	became := m.well("systemctl show -P MainPID ircferry") != pid
	if _, code := m.run("ferryctl upgrade --dry-run"); (code != 2) != became {
		t.Errorf("ferryctl upgrade: exit %d; the daemon is another process: %v", code, became)
	}
	told := "is still the old version. It goes on serving"
	if became {
		told = "has become the new version"
	}
	if !strings.Contains(out, told) {
		t.Errorf("the upgrade does not say %q:\n%s", told, out)
	}

	eventually(t, slack, "the keeper is up", func() bool { return strings.Contains(m.well("ferryctl status"), "holds ") })
	for _, command := range []string{"systemctl restart ircferry", "systemctl kill -s KILL ircferry", "dpkg -i --force-confold /root/first.deb"} {
		m.well(command)
		eventually(t, slack, "the keeper is up behind "+command, func() bool {
			out, code := m.run("ferryctl status")
			return code == 0 && strings.Contains(out, "holds ")
		})
		ann.fence()
	}
	if now := m.well("systemctl show -P MainPID ircferry-keeper"); now != keeper {
		t.Errorf("the keeper is process %s, was %s: no package restarts it", now, keeper)
	}

	m.well("dpkg -r ircferry")
	ann.closed(time.Minute)
	ann.sees("ERROR ")
	if _, code := m.run("systemctl --quiet is-active ircferry-keeper"); code == 0 {
		t.Error("the keeper runs without its package")
	}
	if _, code := m.run("systemctl --quiet is-active ircferry"); code == 0 {
		t.Error("it runs without its package")
	}
	m.well("dpkg -P ircferry")
	m.says("ls -d /var/lib/ircferry /etc/ircferry /etc/systemd/system/*/ircferry.service 2>/dev/null; true", "")
	m.says("systemctl --failed --plain --no-legend", "")
}
