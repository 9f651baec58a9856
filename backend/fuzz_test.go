package backend

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ircferry/ircferry/internal/config"
)

// FuzzWebIRCUser: whatever a client says as its user name, the line is one line of five words, and the password is where it belongs.
func FuzzWebIRCUser(f *testing.F) {
	for _, s := range []string{"", "bob", "~bob", ":x", "a b", "a\r\nQUIT", "\x00", "ü", strings.Repeat("x", 600), "\t", "a\tb"} {
		f.Add(s)
	}
	b := &Backend{plan: plan{conf: config.Backend{}, password: "pass"}}
	f.Fuzz(func(t *testing.T, user string) {
		line := string(b.WebIRC(alice, user))
		words := strings.Split(strings.TrimSuffix(line, "\r\n"), " ")
		if len(words) != 5 || words[1] != "pass" || words[2][0] != '~' || words[3] != "198.51.100.7" || words[4] != "198.51.100.7" ||
			strings.ContainsAny(words[2], "\r\n\x00") || !strings.HasSuffix(line, "\r\n") || len(line) > 512 {
			t.Errorf("user %q: %q", user, line)
		}
	})
}

// FuzzAnswer: whatever an ircd answers to a check, it is judged without a panic, and what goes into a log is short and tame.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{":a CAP * LS :x y=z", ":a CAP * LS * :x", "ERROR :x", ":a ERROR", ":", ": ", "", "\r\n", "CAP * LS", "\x1b[2J\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, c := range capsOf(parseSaid(line)) {
			if c == "" && !strings.Contains(line, "=") || strings.ContainsAny(c, " =") {
				t.Errorf("%q: capability %q", line, c)
			}
		}
		out := parseSaid(line).words()
		if utf8.RuneCountInString(out) > 120 || strings.ContainsFunc(out, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%q: printed as %q", line, out)
		}
	})
}
