package admit

import "testing"

func TestHeaderSpotted(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Verdict
	}{
		{"PROXY TCP4 192.0.2.1 192.0.2.2 12345 6667\r\n", HeaderBad},
		{headerV2(0x21, 0x11, v4Payload), HeaderBad},
		{"PROXYING\r\n", HeaderNone},
		{"PASS x\r\n", HeaderNone},
		{"\r\n\r\nNICK a\r\n", HeaderNone},
		{"PROX", HeaderMore},
		{"", HeaderMore},
	} {
		for step := 1; step <= 13; step++ {
			var s Spotter
			got := HeaderMore
			for p := []byte(c.in); len(p) > 0 && got == HeaderMore; p = p[min(step, len(p)):] {
				got = s.See(p[:min(step, len(p))])
			}
			if got != c.want {
				t.Errorf("%q in pieces of %d: %d, want %d", c.in, step, got, c.want)
			}
		}
	}
}

func TestBeginningOfAHeader(t *testing.T) {
	for in, want := range map[string]bool{
		"PROXY": true, "PROXY TCP4 192.0.2.1": true, headerV2(0x21, 0x11, v4Payload): true, headerV2(0x31, 0x11, v4Payload)[:13]: true, "\r\n\r\n\x00": true,
		"PROX": false, "PROXIES": false, "\r\n\r\n": false, "\r\n\r\nNICK a\r\n": false, "\x16\x03\x01\x02\x00": false, "NICK a\r\n": false,
	} {
		if got := BeginsHeader([]byte(in)); got != want {
			t.Errorf("%.20q: %v, want %v", in, got, want)
		}
	}
}
