package admin

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/ircferry/ircferry/handoff"
)

// API.md is what others program against: it names every path, every key of every document and every code.
func TestAPIDocumentIsComplete(t *testing.T) {
	b, err := os.ReadFile("API.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, r := range New(Options{}).routes() {
		if !strings.Contains(text, "`"+r.method+" "+r.path) {
			t.Errorf("%s %s is not there", r.method, r.path)
		}
	}
	for _, c := range []Code{CodeBadRequest, CodeNotFound, CodeRefused, CodeTooLarge, CodeBusy, CodeUnsupported, CodeFailed} {
		if !strings.Contains(text, "`"+string(c)+"`") {
			t.Errorf("code %s is not there", c)
		}
	}
	keys := map[string]bool{}
	for _, document := range []any{Status{}, Session{}, SessionPage{}, Move{}, Event{}, Done{}, Error{}, handoff.Plan{}, Reloaded{}, Certificate{}, Proxies{}, KeysRequest{},
		DrainRequest{}, HoldRequest{}, ReleaseRequest{}, PauseRequest{}, BackendRequest{}, CancelRequest{}} {
		collectKeys(reflect.TypeOf(document), keys, map[reflect.Type]bool{})
	}
	for k := range keys {
		if !strings.Contains(text, `"`+k+`"`) {
			t.Errorf("key %q is not there", k)
		}
	}
	for _, m := range regexp.MustCompile(`"([a-z0-9_]+)":`).FindAllStringSubmatch(text, -1) {
		if word := m[1]; !keys[word] && word != "limit_per_ip" && word != "relay" && word != "waiting" {
			t.Errorf("key %q is documented and does not exist", word)
		}
	}
}

func collectKeys(t reflect.Type, keys map[string]bool, seen map[reflect.Type]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] || t.PkgPath() == "time" {
		return
	}
	seen[t] = true
	for f := range t.NumField() {
		field := t.Field(f)
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			keys[name] = true
		}
		collectKeys(field.Type, keys, seen)
	}
}
