//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/internal/certs/certtest"
)

// seldom are metrics that a daemon has only when something has happened, or when there are others.
var seldom = regexp.MustCompile(`^ircferry_((backend_(check|dial)_failures|backend_refused_clients|tls_(handshakes|records_refused)|listener_rejected|sessions_ended)_total|cluster_[a-z_]+)$`)

// Issue 10: the dashboard and the alerts ask for metrics, and for labels of them, that a daemon really has.
func TestFieldDashboardAsksForWhatThereIs(t *testing.T) {
	a, b := startEmbedded(t, "a"), startEmbedded(t, "b")
	dir := shortDir(t)
	cert, key := certtest.SelfSigned(t, certtest.Options{Names: []string{"irc.test"}}).Write(t, dir, "irc")
	f := newFerry(t, "", a.backend(), b.backend())
	web, ircs, services := freePort(t), freePort(t), freePort(t)
	text := strings.Replace(readFile(f.configFile()), `http: {address: ""}`, fmt.Sprintf(`http: {address: "127.0.0.1:%d"}`, web), 1)
	text = strings.Replace(text, "pools:", fmt.Sprintf("  - {name: ircs, address: \"127.0.0.1:%d\", pool: main, tls: {certs: [{cert: %s, key: %s}]}}\npools:", ircs, cert, key), 1)
	text = strings.Replace(text, "    backends:", fmt.Sprintf("    links: [{name: services.example, listen: \"127.0.0.1:%d\"}]\n    backends:", services), 1)
	text = strings.Replace(text, "{name: a, ", fmt.Sprintf("{name: a, servers: {address: \"127.0.0.1:%d\"}, ", freePort(t)), 1)
	f.writeConfig(text)
	f.kept()
	login(t, f.port, "127.0.0.1", "ann").fence()
	f.move("drain", "main/a", "--to", "b")
	_, scraped := get(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", web))

	has := map[string]map[string]bool{} // labels by metric
	for line := range strings.Lines(scraped) {
		m := regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? `).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if has[m[1]] == nil {
			has[m[1]] = map[string]bool{"instance": true, "job": true}
		}
		for _, l := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(m[2], -1) {
			has[m[1]][l[1]] = true
		}
	}
	if len(has) < 40 {
		t.Fatalf("scraped %d metrics only", len(has))
	}
	queries := map[string]string{} // expression -> legend
	var d struct {
		Panels []struct {
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal([]byte(readFile("../configs/grafana-dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			queries[q.Expr] = q.LegendFormat
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^ *expr: (.*)$`).FindAllStringSubmatch(readFile("../configs/prometheus-alerts.yaml"), -1) {
		queries[m[1]] = ""
	}
	if len(queries) < 50 {
		t.Fatalf("%d queries only", len(queries))
	}
	for expr, legend := range queries {
		known := map[string]bool{"instance": true, "job": true}
		for _, name := range regexp.MustCompile(`\b(?:ircferry|process)_[a-z_]+`).FindAllString(expr, -1) {
			if has[name] == nil && !seldom.MatchString(name) {
				t.Errorf("no %s in what a daemon shows: %s", name, expr)
			}
			for l := range has[name] {
				known[l] = true
			}
		}
		if regexp.MustCompile(seldom.String()[1 : len(seldom.String())-1]).MatchString(expr) {
			continue
		}
		for _, m := range regexp.MustCompile(`(?:by|on) \(([^)]*)\)|([a-z_]+)=~?"|\{\{ *([a-z_]+) *\}\}`).FindAllStringSubmatch(expr+legend, -1) {
			for label := range strings.FieldsFuncSeq(m[1]+m[2]+m[3], func(r rune) bool { return r == ',' || r == ' ' }) {
				if !known[label] {
					t.Errorf("label %s: %s %s", label, expr, legend)
				}
			}
		}
	}
}
