package protocol

import "strings"

// words are the keys whose values are one word of the lines in which clients are shown them: a space in it would be a word of somebody
// else's choice. Parameters of modes are too.
var words = map[string][]string{
	VerbChan: {"n", "tby"},
	VerbList: {"c", "m", "mask", "by"},
	VerbUser: {"nick", "ident", "rhost", "dhost", "account", "tls"},
	VerbMemb: {"c", "m"},

	VerbLink:   {"n", "sid", "last"},
	VerbBurst:  {"l"},
	VerbRemote: {"l", "id", "c"},
}

// validateText reports values that would break the lines in which clients are shown them. x. keys are their software's to check; rq and
// sq are no text.
func validateText(m Message) error {
	for _, f := range m.Fields {
		if f.Key == "rq" || f.Key == "sq" || strings.HasPrefix(f.Key, "x.") {
			continue
		}
		if strings.ContainsAny(f.Value, "\x00\r\n") {
			return badRecord(m, m.Verb+" "+f.Key+": not one line")
		}
		if strings.HasPrefix(f.Key, "m.") && !isWord(f.Value) {
			return badRecord(m, m.Verb+" "+f.Key+": not one word")
		}
	}
	for _, key := range words[m.Verb] {
		value := m.Get(key)
		if key == "rhost" || key == "dhost" {
			value = strings.TrimLeft(value, ":") // of an IPv6 address
		}
		if !isWord(value) {
			return badRecord(m, m.Verb+" "+key+": not one word")
		}
	}
	if m.Verb == VerbUser && !isFingerprint(m.Get("certfp")) {
		return badRecord(m, "USER certfp: not lower-case hex")
	}
	return nil
}

// isWord reports whether a value can stand in the middle of a line; nothing at all is none to be checked.
func isWord(s string) bool { return !strings.HasPrefix(s, ":") && !strings.ContainsAny(s, " \x00\r\n") }

// isFingerprint is for what can be one, whatever the hash; "" is none.
func isFingerprint(s string) bool { return len(s) <= 128 && strings.Trim(s, "0123456789abcdef") == "" }
