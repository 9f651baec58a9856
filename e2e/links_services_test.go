//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Names and ids of a network of the tests.
const (
	servicesName, servicesSID = "services.example", "00S"
	leafName, leafSID         = "leaf.example", "00B"
	farName, farSID           = "far.example", "00F"
	hubName, hubSID           = "insp.example.org", "1AA"
)

// servicesKind is a version of services that the tests run.
type servicesKind struct {
	name    string // anope, atheme
	release string
	program []string
	root    string // of its files
	missing string // why it is not here
	write   func(k *servicesKind, t *testing.T, dir string, uplink int) (args []string)

	// Its commands where they differ, with who it is about or the channel.
	registerChannel, lock, access, status, loggedIn, loggedOut, topic, kill, akill string
	linked                                                                         string // in its log, once for each link
}

// allServices are those of this machine's Debian and of Debian 13.
var allServices = sync.OnceValue(func() []*servicesKind {
	var kinds []*servicesKind
	for _, root := range []string{"", "trixie"} {
		anope := &servicesKind{name: "anope", root: root, write: (*servicesKind).writeAnope, linked: "Successfully connected to uplink",
			registerChannel: "ChanServ :REGISTER %s the channel", lock: "ChanServ :MODE %s LOCK ADD +p", access: "ChanServ :AOP %s ADD %s", status: "NickServ :STATUS %s", loggedIn: "STATUS %[1]s 3 %[1]s", loggedOut: "STATUS %s 0",
			topic: "ChanServ :TOPIC %s SET %s", kill: "OperServ :KILL %s out", akill: "OperServ :AKILL ADD +1h *@%s spam"}
		atheme := &servicesKind{name: "atheme", root: root, write: (*servicesKind).writeAtheme, linked: "connection to uplink established",
			registerChannel: "ChanServ :REGISTER %s", lock: "ChanServ :SET %s MLOCK +ntp", access: "ChanServ :FLAGS %s %s +AOo", status: "NickServ :ACC %s", loggedIn: "%s ACC 3", loggedOut: "%s ACC 0",
			topic: "ChanServ :TOPIC %s %s", kill: "NickServ :GHOST %s secret99", akill: "OperServ :AKILL ADD *@%s !T 60 spam"}
		for _, k := range []*servicesKind{anope, atheme} {
			k.find()
			kinds = append(kinds, k)
		}
	}
	return kinds
})

// find looks for the program, and asks it for its version.
func (k *servicesKind) find() {
	path, pkg, version := "/usr/sbin/anope", "anope", "--version"
	if k.name == "atheme" {
		path, pkg, version = "/usr/bin/atheme-services", "atheme-services", "-v"
	}
	k.program = []string{path}
	if k.root != "" {
		root, err := exec.Command("../scripts/trixie.sh", "--have", pkg).Output()
		if err != nil {
			k.missing = fmt.Sprintf("no %s of Debian 13 here (make deps installs all)", pkg)
			return
		}
		k.root = strings.TrimSpace(string(root))
		libraries, _ := filepath.Glob(k.root + "/usr/lib/*-linux-gnu")
		loaders, _ := filepath.Glob(k.root + "/lib*/ld-linux*.so.*")
		if len(loaders) == 0 {
			k.missing = "no ld.so in " + k.root
			return
		}
		k.program = []string{loaders[0], "--library-path", strings.Join(libraries, ":"), k.root + path}
	}
	out, err := exec.Command(k.program[0], append(k.program[1:], version)...).CombinedOutput()
	m := regexp.MustCompile(`(?i)(?:anope-|\(atheme )(\d[\d.]*\d)`).FindStringSubmatch(string(out))
	if m == nil {
		k.missing = fmt.Sprintf("no %s here: apt-get install %s (make deps installs all): %v", path, pkg, err)
		return
	}
	if k.release = m[1]; k.root != "" {
		k.release += "-debian13"
	}
}

func (k *servicesKind) String() string { return k.name + "-" + k.release }

// servicesProc is services in a process of its own, as the user that they have on Debian.
type servicesProc struct {
	t    *testing.T
	kind *servicesKind
	dir  string
	args []string
	proc *process
}

// start runs services whose uplink is a port of 127.0.0.1.
func (k *servicesKind) start(t *testing.T, uplink int) *servicesProc {
	t.Helper()
	if k.missing != "" {
		t.Skip(k.missing)
	}
	s := &servicesProc{t: t, kind: k, dir: shortDir(t)}
	s.args = append(append([]string(nil), k.program...), k.write(k, t, s.dir, uplink)...)
	s.run()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s:\n%s", k, lastLines(s.log(), 40))
		}
	})
	return s
}

// run starts the process, or one in place of the one that has ended.
func (s *servicesProc) run() {
	s.t.Helper()
	cmd := s.args
	if os.Getuid() == 0 { // which services refuse to be
		if _, err := user.Lookup("irc"); err != nil {
			s.t.Skip("no user irc here, and services do not run as root")
		}
		own(s.t, s.dir, "irc")
		cmd = append([]string{"setpriv", "--reuid=irc", "--regid=irc", "--clear-groups"}, cmd...)
	}
	s.proc = start(s.t, []string{"HOME=" + s.dir}, cmd[0], cmd[1:]...)
}

// own gives a directory with all that is in it to a user.
func own(t *testing.T, dir, name string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
	if err != nil {
		t.Fatalf("give %s to %s: %v", dir, name, err)
	}
}

// log is all that services have logged.
func (s *servicesProc) log() string {
	return readAll(filepath.Join(s.dir, "log", "*"))
}

// links is how often services have linked, by their log.
func (s *servicesProc) links() int { return strings.Count(s.log(), s.kind.linked) }

// edit makes the replacements in a text, each of which must have something to replace.
func edit(t *testing.T, file, text string, pairs ...string) string {
	t.Helper()
	for n := 0; n < len(pairs); n += 2 {
		re := regexp.MustCompile(pairs[n])
		if !re.MatchString(text) {
			t.Fatalf("%s has no %s", file, pairs[n])
		}
		text = re.ReplaceAllString(text, pairs[n+1])
	}
	return text
}

// writeAnope is the package's own configuration with what a network changes in it, and the uplink of our snippet.
func (k *servicesKind) writeAnope(t *testing.T, dir string, uplink int) []string {
	t.Helper()
	conf := filepath.Join(dir, "conf")
	for _, d := range []string{"db", "log"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ours := strings.ReplaceAll(readFile("../configs/services/anope.conf"), "7100", fmt.Sprint(uplink))
	for file, pairs := range map[string][]string{
		"services.conf": {`(?s)\nuplink\s*\{.*?\n\}`, "\n" + ours, `name = "services.example.com"`, `name = "` + servicesName + `"`, `/var/run/anope/anope.pid`, dir + "/anope.pid",
			`retrywait = 60s`, `retrywait = 5s`, `usemail = yes`, `usemail = no`, `(?m)^(\s*)#id = "00A"`, `${1}id = "` + servicesSID + `"`,
			`/etc/anope/services.motd`, conf + "/services.motd", `$`, "\noper { name = \"boss\"; type = \"Services Root\"; }\n"},
		"nickserv.conf": {`forceemail = yes`, `forceemail = no`, `regdelay = 30s`, `regdelay = 0s`},
		"operserv.conf": {`defaultsessionlimit = \d+`, `defaultsessionlimit = 0`},
		"modules.conf":  {`$`, "\nmodule { name = \"m_sasl\" }\n"},
		"chanserv.conf": nil, "botserv.conf": nil, "global.conf": nil, "hostserv.conf": nil, "memoserv.conf": nil, "services.motd": nil,
	} {
		text := readFile(filepath.Join(k.root, "/etc/anope", file))
		writeFile(t, filepath.Join(conf, file), edit(t, file, text, pairs...))
	}
	return []string{"--nofork", "--confdir=" + conf, "--dbdir=" + dir + "/db", "--logdir=" + dir + "/log",
		"--modulesdir=" + k.root + "/usr/lib/anope", "--localedir=" + k.root + "/usr/share/anope/locale"}
}

// writeAtheme is the package's example with what a network changes in it, and the uplink of our snippet. Modules are named by their paths,
// since Atheme has that of its own Debian built in.
func (k *servicesKind) writeAtheme(t *testing.T, dir string, uplink int) []string {
	t.Helper()
	for _, d := range []string{"var", "log"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	found, _ := filepath.Glob(k.root + "/usr/lib/*/atheme/modules")
	examples, _ := filepath.Glob(k.root + "/usr/share/doc/atheme-services/examples/atheme.conf.example")
	if len(found) != 1 || len(examples) != 1 {
		t.Fatalf("Atheme's modules are %q and its examples %q", found, examples)
	}
	ours := strings.NewReplacer("7100", fmt.Sprint(uplink), "irc.example", hubName).Replace(readFile("../configs/services/atheme.conf"))
	text := edit(t, examples[0], readFile(examples[0]),
		`(?s)/\*.*?\*/`, "", `(?m)^\s*(#|//).*$`, "", `loadmodule "modules/(misc/httpd|transport/xmlrpc)";`, "",
		`loadmodule "modules/backend/opensex";`, "loadmodule \"modules/protocol/inspircd\";\nloadmodule \"modules/backend/opensex\";",
		`loadmodule "modules/`, `loadmodule "`+found[0]+`/`,
		`name = "services.int";`, `name = "`+servicesName+`";`, `numeric = "00A";`, `numeric = "`+servicesSID+`";`, `services\.int`, servicesName,
		`(?s)uplink "irc6.*?\};`, "", `(?s)uplink "irc.example.net".*?\};`, ours, `casemapping = rfc1459`, `casemapping = ascii`, `flood_msgs = \d+`, `flood_msgs = 0`, `recontime = \d+`, `recontime = 5`,
		`(?s)logfile [^}]*\};`, "", `(?s)operator "[^}]*\};`, `operator "boss" { operclass = "sra"; };`,
		`$`, fmt.Sprintf("\nlogfile \"%s/log/all.log\" { all; };\n", dir))
	writeFile(t, filepath.Join(dir, "atheme.conf"), text)
	return []string{"-n", "-c", dir + "/atheme.conf", "-p", dir + "/atheme.pid", "-l", dir + "/var/main.log", "-D", dir + "/var"}
}
