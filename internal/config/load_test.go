package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// example is the file of the documentation.
const example = `
listeners:
  - name: irc
    address: ":6667"
    pool: main
    proxy_protocol: {from: [10.0.0.0/8]}   # absent: a PROXY header is refused with a clear close reason
    limits: {connections: 20000, per_ip: 16, per_ip_rate: 32/10m, registration: 60s,    # 0: no limit
             exempt: [127.0.0.0/8]}        # bouncers, web gateways; counted after the PROXY header
loops: 0
pools:
  main:
    topology: standalone
    balance: leastconn
    check: {type: handoff, inter: 2s, rise: 2, fall: 3, timeout: 2s}    # handoff | tcp | irc
    backends:
      - {name: a, handoff: "unix:/run/irc-a/handoff.sock", weight: 100}   # native: control here,
      - {name: b, handoff: "unix:/run/irc-b/handoff.sock", backup: true}  # streams where its HELLO says
      - {name: c, address: "127.0.0.1:6670", identity: proxy-v2}          # no driver: relay only
moves: {deadline: 60s, max_pause: 5s, park: 10m}
state: /var/lib/ircferry
admin: {socket: /run/ircferry/admin.sock, group: ""}
http: {address: 127.0.0.1:9667}
log: {level: info, format: text}
`

func TestParseExample(t *testing.T) {
	got, err := Parse("x", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	limits := DefaultLimits()
	limits.Connections = 20000
	limits.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	want.Listeners = []Listener{{Name: "irc", Address: ":6667", Pool: "main", Limits: limits,
		ProxyProtocol: &ProxyProtocol{From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}}
	want.Pools = map[string]Pool{"main": {Topology: Standalone, Balance: LeastConn,
		Check: Check{Type: CheckHandoff, Inter: Duration(2 * time.Second), Rise: 2, Fall: 3, Timeout: Duration(2 * time.Second), Register: Duration(10 * time.Minute)},
		Backends: []Backend{
			{Name: "a", Handoff: "unix:/run/irc-a/handoff.sock", Weight: 100},
			{Name: "b", Handoff: "unix:/run/irc-b/handoff.sock", Weight: 100, Backup: true},
			{Name: "c", Address: "127.0.0.1:6670", Identity: IdentityProxyV2, Weight: 100},
		}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// What one list element says must not become the default of the next.
func TestListElementsBeginWithTheirDefaults(t *testing.T) {
	c, err := Parse("x", []byte(`
listeners:
  - {name: a, limits: {per_ip: 0}}
  - {name: b}
  - {name: c, limits: {per_ip_rate: 0, registration: 0}}
pools:
  p: {backends: [{name: a, weight: 0}, {name: b}], check: {fall: 9}}
  q: {}
`))
	if err != nil {
		t.Fatal(err)
	}
	limits := []Limits{DefaultLimits(), DefaultLimits(), DefaultLimits()}
	limits[0].PerIP = 0
	limits[2].PerIPRate, limits[2].Registration = Rate{}, 0
	for i, want := range limits {
		if got := c.Listeners[i].Limits; !reflect.DeepEqual(got, want) {
			t.Errorf("listener %d: got %+v, want %+v", i, got, want)
		}
	}
	if p := c.Pools["p"]; p.Backends[0].Weight != 0 || p.Backends[1].Weight != 100 || p.Check.Fall != 9 || p.Check.Rise != 2 {
		t.Errorf("pool p: %+v", p)
	}
	if q := c.Pools["q"]; q.Topology != Standalone || q.Check.Fall != 3 {
		t.Errorf("pool q: %+v", q)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "pols: {}", `f:1:1: unknown key "pols"; did you mean "pools"?`},
		{"unknown key, nothing near", "xyzzy: 1", `f:1:1: unknown key "xyzzy"`},
		{"unknown key inside", "pools:\n  main:\n    backends:\n      - {name: a, wieght: 5}", `f:4:19: pools.main.backends[0]: unknown key "wieght"; did you mean "weight"?`},
		{"key of another place", "weight: 5", `f:1:1: unknown key "weight"`},
		{"enum", "pools: {m: {topology: standalon}}", `f:1:23: pools.m.topology: "standalon" is not one of standalone, linked; did you mean "standalone"?`},
		{"log level", "log: {level: loud}", `f:1:14: log.level: "loud" is not one of debug, info, warn, error`},
		{"duration without unit", "moves: {park: 10}", `f:1:15: moves.park: "10" has no unit; write 10s for seconds or 10m for minutes`},
		{"duration of nonsense", "moves: {park: soon}", `f:1:15: moves.park: "soon" is not a duration; write a number with its unit: 500ms, 5s, 10m, 1h`},
		{"duration negative", "moves: {park: -5s}", `f:1:15: moves.park: "-5s" is negative; write 0 or more`},
		{"rate without period", "listeners: [{limits: {per_ip_rate: 32}}]", `f:1:36: listeners[0].limits.per_ip_rate: "32" has no period; write a number and a period: 32/10m, 200/s, or 0 for no limit`},
		{"rate with a bare period", "listeners: [{limits: {per_ip_rate: 32/10}}]", `f:1:36: listeners[0].limits.per_ip_rate: period of "32/10": "10" has no unit; write 10s for seconds or 10m for minutes`},
		{"network", "listeners: [{limits: {exempt: [10.0.0.300]}}]", `f:1:32: listeners[0].limits.exempt[0]: "10.0.0.300" is not a network; write an address and a length: 10.0.0.0/8, 2001:db8::/32`},
		{"network with host bits", "listeners: [{limits: {exempt: [10.1.2.3/8]}}]", `f:1:32: listeners[0].limits.exempt[0]: "10.1.2.3/8" has bits after its length; write 10.0.0.0/8`},
		{"number", "loops: many", `f:1:8: loops: "many" is not a whole number`},
		{"number quoted", `loops: "2"`, `f:1:8: loops: "2" is not a whole number`},
		{"fraction", "loops: 1.5", `f:1:8: loops: "1.5" is not a whole number`},
		{"bool", "pools: {m: {backends: [{backup: perhaps}]}}", `f:1:33: pools.m.backends[0].backup: "perhaps" is not true or false`},
		{"no value", "moves:\nlog: {level: info}", `f:1:7: moves: has no value; leave the key out for its default`},
		{"list for keys", "moves: [1]", `f:1:8: moves: a list where keys with values belong`},
		{"keys for list", "listeners: {name: irc}", `f:1:12: listeners: keys with values where a list belongs; write [...] or lines that begin with '-'`},
		{"keys for value", "state: {a: b}", `f:1:8: state: keys with values where one value belongs`},
		{"twice", "loops: 1\n\"loops\": 2", `f:2:1: mapping key "loops" already defined at [1:1]`},
		{"merge key", "a: &a {}\nlog: {<<: *a}", `merge keys are not understood`},
		{"alias of nothing", "state: *x", `alias *x: no such anchor`},
		{"tag", "loops: !!int 3", `tags are not understood`},
		{"second document", "loops: 1\n---\nloops: 2", `f:3:1: a second document`},
		{"empty", "# nothing\n", `f:1:1: the file is empty`},
		{"not yaml", "a: b: c", `f:1:4: mapping value is not allowed in this context`},
		{"list", "- a", `f:1:1: a list where keys with values belong`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("f", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if strings.HasPrefix(c.want, "f:") && c.name != "not yaml" && c.name != "second document" && c.name != "empty" && err != nil && err.Error() != c.want {
				t.Errorf("got  %v\nwant %s and nothing else", err, c.want)
			}
		})
	}
}

// All that is wrong is told at once, in the order of the file.
func TestParseTellsAllErrors(t *testing.T) {
	_, err := Parse("f", []byte("loops: x\npols: {}\nmoves: {park: 3}\n"))
	want := `f:1:8: loops: "x" is not a whole number
f:2:1: unknown key "pols"; did you mean "pools"?
f:3:15: moves.park: "3" has no unit; write 3s for seconds or 3m for minutes`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestAnchorsAndAliases(t *testing.T) {
	c, err := Parse("f", []byte(`
listeners:
  - {name: a, limits: &l {per_ip: 3, exempt: &e [10.0.0.0/8, 192.0.2.1]}}
  - {name: b, limits: *l}
  - {name: c, limits: {exempt: *e}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Listeners[1].Limits.PerIP != 3 || len(c.Listeners[2].Limits.Exempt) != 2 || c.Listeners[2].Limits.PerIP != 16 {
		t.Errorf("%+v", c.Listeners)
	}
	if one := c.Listeners[2].Limits.Exempt[1].String(); one != "192.0.2.1/32" {
		t.Errorf("a single address became %s", one)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("missing file: %v", err)
	}
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte("pols: {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1:1: ") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("huge file: %v", err)
	}
}

func TestDurationsAndRatesAreWrittenAsTheyAreRead(t *testing.T) {
	for _, s := range []string{"0s", "500ms", "5s", "1m30s", "10m", "1h", "1h30m", "36h"} {
		var d Duration
		if err := d.UnmarshalText([]byte(s)); err != nil || d.String() != s {
			t.Errorf("%s: got %s, %v", s, d, err)
		}
	}
	for in, want := range map[string]string{"32/10m": "32/10m", "200/s": "200/1s", "0": "0", "0/1m": "0", "5/1h": "5/1h"} {
		var r Rate
		if err := r.UnmarshalText([]byte(in)); err != nil || r.String() != want {
			t.Errorf("%s: got %s, %v", in, r, err)
		}
	}
	for _, s := range []string{"", "x", "5", "1/0s", "-1/1s", "1/-5s", "1/", "/1s", "1/2/3"} {
		var r Rate
		if err := r.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("rate %q became %s", s, r)
		}
	}
}

func TestCheckForBackend(t *testing.T) {
	native, relay := Backend{Handoff: "unix:/x"}, Backend{Address: "x:1"}
	for _, c := range []struct {
		typ   CheckType
		b     Backend
		want  CheckType
		inter string
	}{
		{"", native, CheckHandoff, "2s"}, {"", relay, CheckTCP, "30s"}, {CheckHandoff, relay, CheckTCP, "30s"},
		{CheckIRC, relay, CheckIRC, "30s"}, {CheckIRC, native, CheckHandoff, "2s"}, {CheckTCP, native, CheckHandoff, "2s"},
	} {
		got := Pool{Check: Check{Type: c.typ}}.CheckFor(c.b)
		if got.Type != c.want || got.Inter.String() != c.inter {
			t.Errorf("%q for native=%t: got %s every %s, want %s every %s", c.typ, c.b.Native(), got.Type, got.Inter, c.want, c.inter)
		}
	}
	if got := (Pool{Check: Check{Type: CheckIRC, Inter: Duration(time.Second)}}).CheckFor(relay).Inter; got.D() != time.Second {
		t.Errorf("inter was not kept: %s", got)
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"rise", "ride", "inter", "timeout", ""}
	for word, want := range map[string]string{"rixe": "rise", "ris": "rise", "riseee": "rise", "itner": "inter", "timeuot": "timeout", "x": "", "": "", "completely": "",
		strings.Repeat("x", 1000): ""} {
		got := didYouMean(word, known)
		if want != "" {
			want = `; did you mean "` + want + `"?`
		}
		if got != want {
			t.Errorf("%.20q: got %q, want %q", word, got, want)
		}
	}
}

// FuzzParse: any bytes are a configuration or an error with a place, never a panic and never long; what is accepted holds no negative duration.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	if data, err := os.ReadFile(referenceFile); err == nil {
		f.Add(data)
		f.Add(commented.ReplaceAll(data, []byte("$1$2")))
	}
	for _, s := range []string{"a: &x\n  b: *x", "<<: *x", "? a\n: b", "a: |\n  b", "!!map {}", "listeners:\n- &a\n- *a", "pools: {\"\": {}}", "{", "a: [", "\xff", "---\n...\n---"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		began := time.Now()
		c, err := Parse("f", data)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("an error without a place: %v", err)
			}
			return
		}
		if c.Moves.Park < 0 || c.Moves.Deadline < 0 || c.Moves.MaxPause < 0 {
			t.Errorf("negative: %+v", c.Moves)
		}
	})
}
