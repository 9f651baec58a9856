package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const referenceFile = "../../configs/ircferry.yaml"

// commented is a setting that the reference shows but does not switch on: "#key: value" or "#- key: value".
var commented = regexp.MustCompile(`(?m)^( *)#((?:- |  )?[a-z_]+:)`)

func reference(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The reference as it stands says nothing else than the defaults, but for what only a file can name.
func TestReferenceIsTheDefault(t *testing.T) {
	got, err := Load(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listeners = []Listener{{Name: "irc", Address: ":6667", Pool: "main", Limits: DefaultLimits()}}
	pool, a, b := Pool{}, Backend{}, Backend{}
	pool.setDefaults()
	a.setDefaults()
	b.setDefaults()
	a.Name, a.Handoff = "a", "unix:/run/irc-a/handoff.sock"
	b.Name, b.Handoff, b.Backup = "b", "unix:/run/irc-b/handoff.sock", true
	pool.Backends = []Backend{a, b}
	want.Pools = map[string]Pool{"main": pool}
	// An empty list is the same as none.
	if len(got.Listeners) == 1 && len(got.Listeners[0].Limits.Exempt) == 0 {
		got.Listeners[0].Limits.Exempt = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// What the reference shows in comments is valid too.
func TestReferenceCommentedSettingsLoad(t *testing.T) {
	text := commented.ReplaceAllString(reference(t), "$1$2")
	c, err := Parse("reference", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p := c.Pools["main"]
	if c.Listeners[0].ProxyProtocol == nil || p.Check.Type != CheckTCP || len(p.Backends) != 5 || len(p.Backends[2].WebIRCFlags) != 3 || len(p.Backends[3].ProxyTLVs) != 2 || p.Backends[2].WebIRCAfter != "user" ||
		c.Listeners[0].TLS == nil || p.Backends[2].TLS == nil || p.Backends[4].TLS.Cert == "" || c.Cluster == nil || len(c.Cluster.Join) != 3 {
		t.Errorf("a commented setting was not switched on: %+v", c)
	}
}

// Every key of the structs stands in the reference, as a key.
func TestReferenceHasEveryKey(t *testing.T) {
	text := commented.ReplaceAllString(reference(t), "$1$2")
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i], _, _ = strings.Cut(l, " # ")
	}
	text = strings.Join(lines, "\n")
	for _, key := range keysOf(reflect.TypeFor[Config](), nil) {
		if !regexp.MustCompile(`(?m)(^|[ {])` + key + `:`).MatchString(text) {
			t.Errorf("key %q is not in %s", key, referenceFile)
		}
	}
}

// keysOf lists the yaml keys of a type and of what is in it; every field must have one.
func keysOf(t reflect.Type, keys []string) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return keysOf(t.Elem(), keys)
	case reflect.Struct:
		if !strings.HasSuffix(t.PkgPath(), "internal/config") || t == reflect.TypeFor[Rate]() {
			return keys
		}
		for i := range t.NumField() {
			keys = append(keys, t.Field(i).Tag.Get("yaml"))
			keys = keysOf(t.Field(i).Type, keys)
		}
	}
	return keys
}

// What the reference marks [restart] is what a reload refuses to change, and the other way round.
func TestReferenceMarksWhatNeedsARestart(t *testing.T) {
	text := reference(t)
	marks := map[string]bool{} // key -> restart
	section := regexp.MustCompile(`(?s)((?:^#[^\n]*\n)+)([a-z]+):`)
	for _, block := range strings.Split(text, "\n\n") {
		if m := section.FindStringSubmatch(block + "\n"); m != nil {
			marks[m[2]] = strings.Contains(m[1], "[restart]")
		}
	}
	want := map[string]bool{}
	restarts(reflect.TypeFor[Config](), "", want)
	for key := range want {
		if !marks[key] {
			t.Errorf("%s needs a restart, but the reference does not say so", key)
		}
	}
	for key, restart := range marks {
		if restart && !want[key] {
			t.Errorf("the reference says that %s needs a restart", key)
		}
	}
}

// restarts finds the fields that are tagged reload:"no".
func restarts(t reflect.Type, path string, out map[string]bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := join(path, f.Tag.Get("yaml"))
		if f.Tag.Get("reload") == "no" {
			out[key] = true
		} else if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[Rate]() {
			restarts(f.Type, key, out)
		}
	}
}

// A change of any tagged key is named, and of no other.
func TestNeedsRestartNamesTheTaggedKeys(t *testing.T) {
	next := Default()
	next.Loops, next.State, next.Admin.Group, next.HTTP.Address = 3, "/x", "irc", ""
	next.Log, next.Moves = Log{"debug", "json"}, Moves{}
	next.Pools = map[string]Pool{"x": {}}
	want := map[string]bool{}
	restarts(reflect.TypeFor[Config](), "", want)
	got := NeedsRestart(Default(), next)
	for _, key := range got {
		if !want[key] {
			t.Errorf("%s is named, but has no tag", key)
		}
		delete(want, key)
	}
	for key := range want {
		t.Errorf("%s is not named", key)
	}
	if same := NeedsRestart(next, next); same != nil {
		t.Errorf("the same configuration needs a restart for %v", same)
	}
}
