//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// inspVersion is a version of InspIRCd that the tests run.
type inspVersion struct {
	major     int
	release   string   // as 3.15
	program   string   // what runs it
	args      []string // before its own
	modules   string   // the directory of its modules
	built     string   // the name of our module as make calls it
	sanitizer string   // AddressSanitizer's library
	missing   string   // why it is not here
}

// inspVersions are InspIRCd 3 and 4: the one of this machine, and that of Debian 13 out of its own root.
var inspVersions = sync.OnceValue(func() []*inspVersion {
	here := installedInspIRCd()
	versions := []*inspVersion{
		{major: 3, missing: "no InspIRCd 3 here: apt-get install inspircd inspircd-dev g++ (make deps installs all)"},
		{major: 4, missing: "no InspIRCd 4 here"},
	}
	for i, v := range versions {
		if v.major == here.major {
			versions[i] = here
		} else if v.major == 4 {
			versions[i] = trixieInspIRCd()
		}
	}
	return versions
})

func installedInspIRCd() *inspVersion {
	v := &inspVersion{modules: "/usr/lib/inspircd/modules", built: "m_handoff.so"}
	v.program, _ = exec.LookPath("inspircd")
	if v.program == "" {
		v.program = "/usr/sbin/inspircd"
	}
	v.tellsRelease()
	if out, err := exec.Command("g++", "-print-file-name=libasan.so").Output(); err == nil {
		v.sanitizer = strings.TrimSpace(string(out))
	}
	for _, path := range []string{"/usr/include/inspircd/inspircd.h", "/usr/bin/g++"} {
		if _, err := os.Stat(path); err != nil {
			v.missing = fmt.Sprintf("no %s here: apt-get install inspircd-dev g++ (make deps installs all)", path)
		}
	}
	return v
}

// tellsRelease asks the program itself.
func (v *inspVersion) tellsRelease() {
	out, _ := exec.Command(v.program, append(v.args, "--version")...).Output()
	var minor int
	if n, _ := fmt.Sscanf(string(out), "InspIRCd-%d.%d", &v.major, &minor); n == 2 {
		v.release = fmt.Sprintf("%d.%d", v.major, minor)
	}
}

// trixieInspIRCd is run by the root's own ld.so, in the same file system and network as all else.
func trixieInspIRCd() *inspVersion {
	v := &inspVersion{major: 4, built: "m_handoff-4.so"}
	cmd := exec.Command("../scripts/trixie.sh", "--have", "inspircd", "inspircd-dev", "g++", "libfmt-dev")
	var why strings.Builder
	cmd.Stderr = &why
	out, err := cmd.Output()
	if err != nil {
		v.missing = "InspIRCd 4 of Debian 13: " + strings.TrimSpace(why.String())
		return v
	}
	root := strings.TrimSpace(string(out))
	libraries, _ := filepath.Glob(root + "/usr/lib/*-linux-gnu")
	loaders, _ := filepath.Glob(root + "/lib*/ld-linux*.so.*")
	if len(loaders) == 0 {
		v.missing = "InspIRCd 4 of Debian 13: no ld.so in " + root
		return v
	}
	v.modules = root + "/usr/lib/inspircd/modules"
	v.program = loaders[0]
	v.args = []string{"--library-path", strings.Join(libraries, ":"), root + "/usr/sbin/inspircd"}
	v.tellsRelease()
	if asan, _ := filepath.Glob(root + "/usr/lib/*-linux-gnu/libasan.so.*"); len(asan) > 0 {
		v.sanitizer = asan[0]
	}
	if v.major != 4 {
		v.missing = "InspIRCd 4 of Debian 13: it says that it is " + v.release
	}
	return v
}

// onBoth runs a test with InspIRCd 3 and with InspIRCd 4, side by side and beside others: most of each is waiting for InspIRCd's tick of a second.
func onBoth(t *testing.T, test func(t *testing.T, v *inspVersion)) {
	t.Helper()
	t.Parallel()
	sideBySide(t, test)
}

// sideBySide is onBoth for what works more than it waits: the two versions, and nothing beside them.
func sideBySide(t *testing.T, test func(t *testing.T, v *inspVersion)) {
	t.Helper()
	for _, v := range inspVersions() {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			v.need(t)
			test(t, v)
		})
	}
}

// onFirst runs a test with the first version that is here: it is about ircferry, and takes long.
func onFirst(t *testing.T, test func(t *testing.T, v *inspVersion)) {
	t.Helper()
	t.Parallel()
	for _, v := range inspVersions() {
		if v.missing == "" {
			test(t, v)
			return
		}
	}
	inspVersions()[0].need(t)
}

// oneByOne is onBoth for a test that measures: nothing runs beside it.
func oneByOne(t *testing.T, test func(t *testing.T, v *inspVersion)) {
	t.Helper()
	for _, v := range inspVersions() {
		t.Run(v.String(), func(t *testing.T) {
			if v.missing != "" {
				closingLine(t, fmt.Sprintf("ircd=inspircd-%d skipped: %s", v.major, v.missing))
			}
			v.need(t)
			test(t, v)
		})
	}
}

func (v *inspVersion) String() string { return fmt.Sprintf("InspIRCd%d", v.major) }

func (v *inspVersion) need(t *testing.T) {
	t.Helper()
	if v.missing != "" {
		t.Skip(v.missing)
	}
}

// either is what the one or the other version says, or wants to hear.
func (v *inspVersion) either(three, four string) string {
	if v.major == 3 {
		return three
	}
	return four
}

// wrapper is a program in dir that becomes the ircd, also when the ircd starts itself anew by the name that it was called by.
func (v *inspVersion) wrapper(t *testing.T, dir string) string {
	t.Helper()
	words := append([]string{v.program}, v.args...)
	env := ""
	if os.Getenv("IRCFERRY_SANITIZER") != "" {
		env = sanitizerOptions(t, dir)
		if len(v.args) == 0 {
			env += "export LD_PRELOAD=" + v.sanitizer + "\n"
		} else {
			words = append([]string{v.program, "--preload", v.sanitizer}, v.args...)
		}
	}
	if len(v.args) > 0 {
		words = append([]string{words[0], "--argv0", `"$0"`}, words[1:]...)
	} else if env == "" {
		return v.program
	}
	path := filepath.Join(dir, "inspircd")
	writeProgram(t, path, "#!/bin/sh\n"+env+"exec "+strings.Join(words, " ")+" \"$@\"\n", 0o700)
	return path
}

// sanitizerOptions has AddressSanitizer and UBSan write their reports into dir, where those of our module are found at the test's end. Others are
// not ours: InspIRCd itself ends by a fault when it unloads ssl_gnutls.
func sanitizerOptions(t *testing.T, dir string) (exports string) {
	t.Helper()
	t.Cleanup(func() {
		reports, _ := filepath.Glob(filepath.Join(dir, "report.*"))
		for _, path := range reports {
			if text := readFile(path); strings.Contains(text, "m_handoff") || strings.Contains(text, "Handoff::") {
				t.Errorf("a sanitizer reports\n%s", text)
			}
		}
	})
	log := "log_path=" + filepath.Join(dir, "report")
	return "export ASAN_OPTIONS=detect_leaks=0:" + log + " UBSAN_OPTIONS=print_stacktrace=1:" + log + "\n"
}

// handoffModules builds the modules for all versions that are here.
var handoffModules = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("IRCFERRY_MODULES"); dir != "" {
		return dir, nil
	}
	out, err := exec.Command("make", "--no-print-directory", "-C", "..", "modules").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("make modules: %w\n%s", err, out)
	}
	return filepath.Abs("../bin")
})

// module is the path of m_handoff for this version, built now if it has to be.
func (v *inspVersion) module(t *testing.T) string {
	t.Helper()
	v.need(t)
	dir, err := handoffModules()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, v.built)
}

// otherModule is a build of the module that speaks another major version of HANDOFF.
func (v *inspVersion) otherModule(t *testing.T) string {
	t.Helper()
	dir := shortDir(t)
	path := filepath.Join(dir, v.built)
	out, err := exec.Command("make", "--no-print-directory", "-C", "..", "MODULE_OUT="+dir, `CXXFLAGS=-O0 -w -DHANDOFF_MAJOR='"2"'`, path).CombinedOutput()
	if err != nil {
		t.Fatalf("build the module: %v\n%s", err, out)
	}
	return path
}

// stockConfig is the configuration of an InspIRCd without our module, and the port that wants a PROXY v2 header.
func (v *inspVersion) stockConfig(t *testing.T) (port int, conf string) {
	t.Helper()
	port, conf = ircdConfig(t, "inspircd.conf", "insp.example.org")
	writeFile(t, conf, strings.NewReplacer("@MODULES@", v.modules, "@MULTIPREFIX@", v.either("namesx", "multiprefix"), "@LOG@", v.either("default", "normal")).
		Replace(readFile(conf)))
	return port, conf
}

// needGnuTLS ends the test where the version has no TLS of its own.
func (v *inspVersion) needGnuTLS(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(v.modules, "m_ssl_gnutls.so")); err != nil {
		t.Skip("this InspIRCd has no ssl_gnutls")
	}
}
