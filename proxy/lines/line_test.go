package lines

import "testing"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in                   string
		tagged               bool
		source, verb, params string
	}{
		{"PING a b\r\n", false, "", "PING", "a b"},
		{"PING\n", false, "", "PING", ""},
		{"  PING   a\r", false, "", "PING", "a"},
		{":irc 001 ann :hello\r\n", false, "irc", "001", "ann :hello"},
		{"@a=b;c :irc  PING\r\n", true, "irc", "PING", ""},
		{"@a=b PING\r\n", true, "", "PING", ""},
		{"@a", true, "", "", ""},
		{":irc", false, "irc", "", ""},
		{"", false, "", "", ""},
	} {
		l := Parse([]byte(c.in))
		if l.Tagged != c.tagged || string(l.Source) != c.source || string(l.Verb) != c.verb || string(l.Params) != c.params {
			t.Errorf("%q: tagged %v, source %q, verb %q, params %q", c.in, l.Tagged, l.Source, l.Verb, l.Params)
		}
		if (l.Source != nil) != (c.source != "") {
			t.Errorf("%q: source %v", c.in, l.Source)
		}
	}
}

func TestParam(t *testing.T) {
	for _, c := range []struct{ in, first, rest string }{
		{"ann #x :hello you", "ann", "#x :hello you"},
		{"ann   #x", "ann", "#x"},
		{"ann", "ann", ""},
		{":hello you", "hello you", ""},
		{":", "", ""},
		{"", "", ""},
	} {
		if first, rest := Param([]byte(c.in)); string(first) != c.first || string(rest) != c.rest {
			t.Errorf("%q: %q, %q", c.in, first, rest)
		}
	}
}

func TestVerbInAnyCase(t *testing.T) {
	for verb, want := range map[string]bool{"QUIT": true, "quit": true, "QuIt": true, "QUID": false, "AUIT": false, "QUITS": false, "QUI": false, "": false, "qui\x54": true, "1uit": false} {
		if got := Parse([]byte(verb + " x\r\n")).Is("QUIT"); got != want {
			t.Errorf("%q is QUIT: %v", verb, got)
		}
	}
}

// Suspect is right where there is STARTTLS, and quiet for what clients say all day.
func TestSuspect(t *testing.T) {
	for in, want := range map[string]bool{
		"PRIVMSG #x :STARTTLS\r\nPING a\r\n": false,
		"PRIVMSG #x :a\nPING a\n":            false,
		"starttls\n":                         true,
		"PING a\r\n STARTTLS\r\n":            true,
		"@a=b :x starttls\r\n":               true,
		"SILENCE\r\n@a PING\r\n":             false,
		"PING a\rSTARTTLS\r\n":               true,
		"PING a\r\nSTART":                    false, // may come to be one; looked at then
		"PING a\r\nPING b\r":                 false, // its LF is still to come
		"PING a\r\n\r":                       false,
		"\n\n":                               false,
		"\r\n\r\n":                           false,
		"STARTTLS":                           false,
		"":                                   false,
	} {
		if got := Suspect([]byte(in)); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}
