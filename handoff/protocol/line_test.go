package protocol

import (
	"strings"
	"testing"
)

// What was read goes on as it was, but for the coordinator's keys, and is written anew as soon as anything of it is changed.
func TestRecordsGoOnAsTheyCame(t *testing.T) {
	const in = `USER u=i.1  nick=a\sb in=1 x.in=7 out=2 m.invisible rq=PRIVMSG\s\r\n real=in=5 sq=`
	read := func() Message {
		m, err := Parse([]byte(in))
		noError(t, err)
		m.line = in
		return m
	}
	write := func(m Message) string {
		var tally Tally
		b, err := AppendRecord(nil, m, 0, &tally)
		noError(t, err)
		var came Tally
		came.Add(m.Verb, b)
		if came != tally {
			t.Errorf("the sum of %q is not that of its bytes", b)
		}
		return string(b)
	}
	m := read()
	if got := write(m); got != in+"\n" {
		t.Errorf("unchanged: %q", got)
	}
	m.Del("in", "out", "rq", "sq")
	const stripped = `USER u=i.1 nick=a\sb x.in=7 m.invisible real=in=5` + "\n"
	if got := write(m); got != stripped {
		t.Errorf("stripped: %q", got)
	}
	slow := read()
	slow.line = ""
	slow.Del("in", "out", "rq", "sq")
	if got := write(slow); got != stripped {
		t.Errorf("the other way: %q", got)
	}
	for name, change := range map[string]func(*Message){
		"Set":     func(m *Message) { m.Set("nick", "c") },
		"Add":     func(m *Message) { m.Add("away", "c") },
		"SetBare": func(m *Message) { m.SetBare("c") },
	} {
		m := read().Clone()
		change(&m)
		if got := write(m); !strings.Contains(got, "c") || m.line != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := write(read()); got != in+"\n" {
		t.Errorf("a changed copy has changed the first: %q", got)
	}
}
