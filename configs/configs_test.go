// Package configs holds the reference configuration, the systemd unit, alert rules and snippets for ircds; here are their tests. The
// reference is tested where it is read, in internal/config.
package configs

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// systemd-analyze has nothing to say of the unit, but for the program, which need not be installed here.
func TestUnitIsVerified(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here; install systemd to run this test")
	}
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"ircferry.service", "ircferry-keeper.service"} {
		text := read(t, name)
		exec0 := regexp.MustCompile(`(?m)^ExecStart=\S+`)
		if len(exec0.FindAllString(text, -1)) != 1 {
			t.Fatalf("%s does not have one ExecStart", name)
		}
		unit := filepath.Join(dir, name)
		if err := os.WriteFile(unit, []byte(exec0.ReplaceAllString(text, "ExecStart=/bin/true")), 0o600); err != nil {
			t.Fatal(err)
		}
		units = append(units, unit)
	}
	// Unknown keys and values are told as warnings with exit code 0: any word on the units fails.
	cmd := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no"}, units...)...)
	out, err := cmd.CombinedOutput()
	var told []string
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "ircferry.service") || strings.Contains(line, "ircferry-keeper.service") { // what is wrong with other units of this machine is not ours
			told = append(told, line)
		}
	}
	if err != nil || len(told) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The drop-in for InspIRCd, on a unit like that of its package.
func TestDropInIsVerified(t *testing.T) {
	for _, path := range []string{"inspircd/inspircd.service.conf", "ergo/ergo.service.conf"} {
		if text := read(t, path); strings.Contains(text, "bin/ferryctl") {
			t.Errorf("%s has the path of one PREFIX of make install; \"-\" would hide that it is not there", path)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here; install systemd to run this test")
	}
	text := strings.ReplaceAll(read(t, "inspircd/inspircd.service.conf"), "-+ferryctl", "-+/bin/true")
	unit := filepath.Join(t.TempDir(), "inspircd.service")
	dropin := filepath.Join(unit+".d", "ircferry.conf")
	if err := os.Mkdir(unit+".d", 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{unit: "[Service]\nType=simple\nExecStart=/bin/sleep 9\nRestart=on-failure\n", dropin: text} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "inspircd.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// What the daemon's promises rest on.
func TestUnitSaysWhatTheDaemonNeeds(t *testing.T) {
	text := read(t, "ircferry.service")
	for _, want := range []string{
		"Type=notify", "WatchdogSec=", "ExecReload=/bin/kill -HUP $MAINPID", "LimitNOFILE=1048576", "LimitMEMLOCK=infinity", "LimitCORE=0",
		"StateDirectory=ircferry", "StateDirectoryMode=0700", "RuntimeDirectory=ircferry", "Restart=on-failure", "KillMode=mixed", "RestartKillSignal=SIGUSR1", "StartLimitBurst=300",
		"NoNewPrivileges=yes", "ProtectSystem=strict", "MemoryDenyWriteExecute=yes", "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
	} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(want)).MatchString(text) {
			t.Errorf("no %s", want)
		}
	}
	if bound := regexp.MustCompile(`(?m)^(PartOf|BindsTo|Requires|PropagatesStopTo)=.*keeper`).FindString(text); bound != "" {
		t.Errorf("%s: a keeper that goes with the daemon keeps nothing", bound)
	}
	keeper := read(t, "ircferry-keeper.service")
	for _, want := range []string{"Type=notify", "Restart=always", "StartLimitIntervalSec=0", "User=ircferry", "RuntimeDirectory=ircferry-keeper", "RuntimeDirectoryMode=0700", "LimitNOFILE=1048576",
		"LimitCORE=0", "OOMScoreAdjust=-900", "RestrictAddressFamilies=AF_UNIX", "CapabilityBoundingSet=$"} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(keeper) {
			t.Errorf("the keeper has no %s", want)
		}
	}
	if strings.Contains(keeper, "PartOf=") || strings.Contains(keeper, "BindsTo=") {
		t.Error("a keeper that goes with the daemon keeps nothing")
	}
	const socket = "/run/ircferry-keeper/keeper.sock"
	if !strings.Contains(text, "--keeper-socket "+socket) || !strings.Contains(keeper, "--socket "+socket) {
		t.Errorf("the units do not meet at %s", socket)
	}
	d := config.Default()
	if d.State != "/var/lib/ircferry" || !strings.HasPrefix(d.Admin.Socket, "/run/ircferry/") {
		t.Errorf("the defaults %s and %s are not the unit's directories", d.State, d.Admin.Socket)
	}
}

// Alerts and documents speak only of metrics that the program has.
func TestAlertsAndDocumentsNameMetricsThatExist(t *testing.T) {
	known := map[string]bool{}
	metric := regexp.MustCompile(`(?:"ircferry_|\bdesc\(")([a-z_]+)"`) // proxy's desc puts the prefix on
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range metric.FindAllStringSubmatch(read(t, path), -1) {
			known["ircferry_"+m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for file, least := range map[string]int{"prometheus-alerts.yaml": 10, "grafana-dashboard.json": 30, "../docs/operating.md": 10, "../README.md": 0, "../admin/API.md": 0} {
		named := regexp.MustCompile(`\bircferry_[a-z_]+`).FindAllString(read(t, file), -1)
		if len(named) < least {
			t.Errorf("only %d metrics in %s", len(named), file)
		}
		for _, name := range named {
			if !known[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s: no metric %s in the program", file, name)
			}
		}
	}
}

// The backend entries that the snippets show are valid.
func TestSnippetsShowValidBackends(t *testing.T) {
	files, err := filepath.Glob("ircds/*")
	if err != nil || len(files) != 7 {
		t.Fatalf("%v %v", files, err)
	}
	entry := regexp.MustCompile(`(?m)^ ?[#*]   - (\{name: .*\})$`)
	for _, f := range files {
		if f == "ircds/README.md" {
			continue
		}
		found := entry.FindAllStringSubmatch(read(t, f), -1)
		if len(found) == 0 {
			t.Errorf("%s shows no backend", f)
		}
		for _, m := range found {
			c, err := config.Parse(f, []byte("listeners: [{name: l, address: ':0', pool: p}]\npools: {p: {backends: ["+m[1]+"]}}"))
			if err != nil {
				t.Error(err)
				continue
			}
			for _, x := range config.Verify(c) {
				if strings.HasPrefix(x.Key, "pools.") && x.Severity == config.SeverityError && !strings.Contains(x.Text, "/etc/ircferry/webirc") {
					t.Errorf("%s: %s", f, x)
				}
			}
		}
	}
}

// The dashboard is one that Grafana can load: every panel has its place, which no other has, its own number, and asks something.
func TestDashboardIsWhole(t *testing.T) {
	var d struct {
		UID, Title string
		Panels     []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ RefID, Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana-dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID != "ircferry" || len(d.Panels) < 25 {
		t.Errorf("%s: %d panels", d.UID, len(d.Panels))
	}
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" || at[0] >= 24 {
					t.Errorf("%s lies on %s at %v", p.Title, other, at)
				}
				taken[at] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s asks nothing", p.Title)
		}
		for _, q := range p.Targets {
			if strings.Count(q.Expr, "(") != strings.Count(q.Expr, ")") || strings.Count(q.Expr, "{") != strings.Count(q.Expr, "}") || q.RefID == "" {
				t.Errorf("%s: %s", p.Title, q.Expr)
			}
		}
	}
}

// The pool with links is valid, and its ports are those of the other ends.
func TestLinksFitTogether(t *testing.T) {
	c, err := config.Parse("inspircd/links.yaml", []byte(read(t, "inspircd/links.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	pool := c.Pools["main"]
	if len(pool.Links) != 2 || len(pool.Backends) != 1 {
		t.Fatalf("%+v", pool)
	}
	for path, wants := range map[string][]string{
		"inspircd/links.conf":  {`name="services.example"`, `name="leaf.example"`, `port="7000" type="servers"`, `port="7100"`, `port="7101"`},
		"inspircd/leaf.conf":   {`port="7101"`},
		"services/anope.conf":  {"port = 7100"},
		"services/atheme.conf": {"port = 7100;"},
	} {
		for _, want := range wants {
			if !strings.Contains(read(t, path), want) {
				t.Errorf("%s has no %s", path, want)
			}
		}
	}
}

// The example of a cluster is a configuration that nothing is wrong with but what is not on this machine.
func TestClusterExampleIsSound(t *testing.T) {
	cfg, err := config.Load("cluster/ferry1.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range config.Verify(cfg) {
		if strings.HasPrefix(f.Key, "cluster") {
			t.Error(f)
		}
	}
	text := read(t, "cluster/kubernetes.yaml")
	_, text, _ = strings.Cut(text, "ircferry.yaml: |\n")
	text, _, _ = strings.Cut(text, "---\n")
	cfg, err = config.Parse("kubernetes", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range config.Verify(cfg) {
		if strings.HasPrefix(f.Key, "cluster") {
			t.Error(f)
		}
	}
}
