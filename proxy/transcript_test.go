package proxy

import (
	"bytes"
	"strings"
	"testing"
)

func TestTranscriptReopenable(t *testing.T) {
	long := strings.Repeat("x", 500) + "\r\n"
	for _, c := range []struct {
		name  string
		said  []string
		heard []string
		want  bool
	}{
		{"nothing yet", nil, nil, true},
		{"lines, no answer", []string{"PASS secret\r\nNICK a\r\n", "USER a 0 * :a\r\n"}, nil, true},
		{"notices and CAP", []string{"CAP LS 302\r\n"}, []string{":irc.a NOTICE * :*** Looking up\r\n", "@time=1 :irc.a CAP * LS :sasl\r\n", "notice * :x\n", "\r\n"}, true},
		{"PING", nil, []string{"PING :cookie\r\n"}, true},
		{"numeric", nil, []string{":irc.a 433 * a :in use\r\n"}, true},
		{"AUTHENTICATE", nil, []string{"AUTHENTICATE +\r\n"}, true},
		{"ERROR", nil, []string{"ERROR :no\r\n"}, false},
		{"8 KiB of lines", []string{strings.Repeat(long, 16)}, nil, true},
		{"over 8 KiB of lines", []string{strings.Repeat(long, 16), strings.Repeat(long, 1)}, nil, false},
		{"over 8 KiB of answers", nil, []string{"NOTICE * :" + strings.Repeat("x", 5000) + "\n", "NOTICE * :" + strings.Repeat("x", 5000) + "\n"}, false},
	} {
		var tr transcript
		for _, p := range c.said {
			tr.said([]byte(p))
		}
		for _, l := range c.heard {
			tr.heard([]byte(l))
		}
		if tr.reopenable() != c.want {
			t.Errorf("%s: reopenable %v", c.name, !c.want)
		}
		if want := strings.Join(c.said, ""); c.want && string(tr.lines) != want {
			t.Errorf("%s: lines %q, want %q", c.name, tr.lines, want)
		}
		if !c.want && (tr.lines != nil || tr.answers != nil) {
			t.Errorf("%s: keeps what is of no use", c.name)
		}
	}
}

func TestTranscriptIsZeroed(t *testing.T) {
	var tr transcript
	var arrays [][]byte
	for range 200 {
		tr.said([]byte("PASS secret\r\n"))
		tr.heard([]byte("NOTICE a :secret\r\n"))
		arrays = append(arrays, tr.lines[:cap(tr.lines)], tr.answers[:cap(tr.answers)])
	}
	tr.wipe()
	for _, a := range arrays {
		if bytes.Contains(a, []byte("secret")) {
			t.Fatal("a password is left in an array that was used")
		}
	}
}
